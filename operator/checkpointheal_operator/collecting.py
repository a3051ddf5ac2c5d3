"""How often does Python look for garbage, in a process that reads long lists and answers quickly?

Its collector walks over everything that was imported again and again while a list of pods is read, hundreds of
thousands of small objects that refer to nothing back: that took four fifths of the time. Must not know what is read.
"""

import gc

NEW_OBJECTS = 10_000
"""After so many the youngest are looked through; Python's own 700 are for small programs."""


def collect_seldom() -> None:
    """From now on, and never again what is there by now: to be called once everything is imported."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS)
