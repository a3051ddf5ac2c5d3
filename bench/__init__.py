"""What a commit and a heal cost on this machine, as ratios of runs side by side: `python -m bench [NAME …]`.

One module a bench, with `rows() -> list[Row]`. Only ratios of what was measured in the same run are compared with a
target: absolute times belong to the machine.
"""
