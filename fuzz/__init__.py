"""What may a hostile peer, or a damaged file, do to us? Nothing but make us raise an error of our own.

`python -m fuzz` looks for an input that does more, guided by which lines it reaches. Must not be needed by anything.
"""
