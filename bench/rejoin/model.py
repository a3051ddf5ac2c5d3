"""What is trained: the demo's GPT, three layers of width 392, 64.8 MiB of weights and moments."""

import argparse

MODEL = argparse.Namespace(steps=1_000_000, layers=3, width=392, heads=8, batch=1, length=64)
PACE = 0.1
"""Seconds that each update takes longer."""
