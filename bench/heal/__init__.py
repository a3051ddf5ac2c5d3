"""How long does a heal of 64 MiB take? `python -m bench.heal [--count N] [--cluster CONTEXT] [--keep]`."""
