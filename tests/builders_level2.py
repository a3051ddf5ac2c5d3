"""Which wrappers level 2 can be tried with under this torch."""

import pytest
from torch.distributed.fsdp import FSDPModule

with_fsdp2 = pytest.mark.skipif(
    not hasattr(FSDPModule, "reset_iter_state"), reason="this torch is too old for FSDP2 on level 2"
)
