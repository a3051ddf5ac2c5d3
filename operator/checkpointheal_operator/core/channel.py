"""By which channel does a state cross: the one that the policy names, or the one that stands in for it?

gloo and its store promise nothing to another version of torch; our stream is versioned. Must not know who is chosen.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from checkpointheal.contract.report import AgentReport
from checkpointheal_operator.core.policy import Policy
from checkpointheal_operator.core.reasons import Reason


@dataclass(frozen=True)
class Crossing:
    """A channel, and why it is not the policy's; empty where it is."""

    channel: Literal["tls", "gloo"]
    why: str = ""


def crossing(policy: Policy, recipient: AgentReport | None, donors: Iterable[AgentReport | None]) -> Crossing:
    """One channel for all `donors`: whoever takes over goes on where the first one died."""
    if policy.channel == "gloo" and recipient is not None and recipient.certified:
        for donor in donors:
            if donor is not None and _are_of_two_versions(donor.torch, recipient.torch):
                return Crossing("tls", _told(recipient, donor))
    return Crossing(policy.channel)


def _are_of_two_versions(one: str, other: str) -> bool:
    """An older build does not say its version: nothing tells that it differs."""
    return bool(one and other) and _release(one) != _release(other)


def _release(version: str) -> tuple[str, ...]:
    """Without what a patch or another way of building changes: `2.15` of `2.15.1+cpu`."""
    return tuple(version.split(".")[:2])


def _told(recipient: AgentReport, donor: AgentReport) -> str:
    return Reason.CHANNEL_VERSION_DIFFERS.tell(
        donor=donor.member, theirs=donor.torch, member=recipient.member, own=recipient.torch
    )
