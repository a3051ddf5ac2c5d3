"""What computed this state? Only equal builds must agree on a digest: another torch or processor may round otherwise.

Must not touch a device: asking CUDA for its name would make a context.
"""

import functools
import platform

import torch


@functools.cache
def of_this_process() -> str:
    """The same for as long as the process lives, and equal wherever the same bytes must come out."""
    cuda = torch.version.cuda
    words = (
        f"torch {torch.__version__}",
        platform.machine(),
        torch.backends.cpu.get_cpu_capability(),
        f"CUDA {cuda}" if cuda else "",
    )
    return ", ".join(filter(None, words))
