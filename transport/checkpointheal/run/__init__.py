"""`checkpointheal run -- CMD`: a small PID 1 that starts the trainer again inside its container."""

from checkpointheal.run.command import main

__all__ = ["main"]
