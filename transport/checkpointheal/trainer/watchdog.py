"""Will NCCL's own watchdog let this process live when a peer is lost?

As torch is set unless told otherwise, it ends every process whose collective was aborted or timed out: survivors are
aborted on purpose here, and go on. Must not know groups. Meanings: torch's page of NCCL environment variables.
"""

from collections.abc import Mapping

from checkpointheal.errors import WatchdogKills

HANDLING = "TORCH_NCCL_ASYNC_ERROR_HANDLING"
ABORTS_ONLY = "2"
"""The communicator is aborted; the process goes on."""
_CALM = ("0", ABORTS_ONLY)
_OLD_NAME = "NCCL_ASYNC_ERROR_HANDLING"
"""torch still reads it where the new one is not set."""


def calmed(environment: Mapping[str, str]) -> dict[str, str]:
    """What is to be set before a group is made; nothing where it is right. Raises WatchdogKills where it is wrong."""
    for name in (HANDLING, _OLD_NAME):
        if (said := environment.get(name)) is not None:
            if said not in _CALM:
                raise WatchdogKills(
                    f"{name} is {said}: NCCL's watchdog would end survivors with the peer that is lost; set it to "
                    f"{ABORTS_ONLY}, or leave it unset"
                )
            return {}
    return {HANDLING: ABORTS_ONLY}
