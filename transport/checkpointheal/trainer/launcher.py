"""Will the launcher's ranks meet again once a pod is lost?

torchrun's agents share one store with their ranks, unless told otherwise. An agent keeps that store's address for as
long as it lives: when the pod that held it is replaced, the others' ranks go where nobody is, and wait.

Must not know torch. Source: torch/distributed/elastic/rendezvous/dynamic_rendezvous.py; pytorch#135712.
"""

from collections.abc import Mapping

OPT_OUT = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
_SHARED = "TORCHELASTIC_USE_AGENT_STORE"
_PODS = "GROUP_WORLD_SIZE"


def never_meets_again(environment: Mapping[str, str]) -> str | None:
    """What is wrong with the environment of a rank, and its remedy; None where nothing is."""
    if environment.get(_SHARED) != "True" or environment.get(_PODS, "1") == "1":
        return None
    if environment.get(OPT_OUT) == "1":  # with a static rendezvous it changes nothing
        return None
    return (
        f"torchrun shares a store of its own with its ranks: if the pod that holds it is replaced, the other pods' "
        f"ranks wait for one that is gone; set {OPT_OUT}=1 where torchrun is started"
    )
