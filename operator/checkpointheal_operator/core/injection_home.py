"""Whose agent is it that stands in a pod already: does it know this installation's gateway, and whom to believe?

A template that was rendered elsewhere may bear an agent that knows no root, or another installation's. The root is what
counts: a gateway has several names. Must not know how it is put right.
"""

from checkpointheal_operator.core.injection_parts import GATEWAY, GATEWAY_ROOT
from checkpointheal_operator.core.injection_settings import InjectionSettings
from checkpointheal_operator.core.pod_manifest import Container

_BEGINS = "-----BEGIN CERTIFICATE-----"


def is_astray(agent: Container, settings: InjectionSettings) -> bool:
    """Whether it finds no gateway, or would believe none of this installation's."""
    if not settings.gateway_root:
        return False
    return not _says(agent, GATEWAY) or not _believes(agent, settings.gateway_root)


def is_rootless(agent: Container) -> bool:
    """Whether it ends at once: its gateway shows a certificate, and it has no root to check that by."""
    gateways = [each.value for each in agent.env or () if each.name == GATEWAY]
    return any(each.startswith("https:") for each in gateways) and not _says(agent, GATEWAY_ROOT)


def _says(agent: Container, name: str) -> bool:
    return any(each.name == name and each.said != "" for each in agent.env or ())


def _believes(agent: Container, root: str) -> bool:
    """One certificate in common is enough: a new root comes beside the one before it."""
    said = [each.said for each in agent.env or () if each.name == GATEWAY_ROOT]
    if not said:
        return False
    return said[-1] is None or "$" in said[-1] or not _certificates(said[-1]).isdisjoint(_certificates(root))


def _certificates(pem: str) -> frozenset[str]:
    return frozenset("".join(each.split()) for each in pem.split(_BEGINS)[1:])
