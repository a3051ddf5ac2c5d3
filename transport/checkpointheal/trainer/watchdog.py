"""Will NCCL's own watchdog let this process be when a peer is lost, or late?

As torch is set unless told otherwise, it ends every process whose collective was aborted or timed out: survivors are
aborted on purpose here, and go on. Nor may it abort by itself: what is queued behind that runs on incomplete data, and
no gate knows. Must not know groups. Meanings: torch's page of NCCL environment variables.
"""

from collections.abc import Mapping

from checkpointheal.errors import WatchdogKills

HANDLING = "TORCH_NCCL_ASYNC_ERROR_HANDLING"
CALM = "0"
"""It looks on: only our own abort ends a kernel, and the word that the epoch is over comes before that."""
_ABORTS_ONLY = "2"
_OLD_NAME = "NCCL_ASYNC_ERROR_HANDLING"
"""torch still reads it where the new one is not set."""
_QUIET = {"TORCH_NCCL_ENABLE_MONITORING": "0", "TORCH_NCCL_DUMP_ON_TIMEOUT": "0"}
"""The watchdog's own watcher may end the process, or be waited for longer than a survivor may take to leave."""


def calmed(environment: Mapping[str, str]) -> dict[str, str]:
    """What is to be set before a group is made, where nobody says otherwise. Raises WatchdogKills where it is wrong."""
    missing = {name: value for name, value in _QUIET.items() if name not in environment}
    for name in (HANDLING, _OLD_NAME):
        if (said := environment.get(name)) is not None:
            if said != CALM:
                raise WatchdogKills(f"{name} is {said}: {_harm(said)}; set it to {CALM}, or leave it unset")
            return missing
    return {HANDLING: CALM, **missing}


def _harm(said: str) -> str:
    if said == _ABORTS_ONLY:
        return "NCCL's watchdog would abort a collective by itself, and updates be made of what it left incomplete"
    return "NCCL's watchdog would end survivors with the peer that is lost"
