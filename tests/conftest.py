"""What every test of ours runs under."""

from hypothesis import settings

# A slow machine is no failure: nothing here is asked how long it took.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
