"""Was a pod without an agent refused one, so that the next one of its template will be too?

Asked of the pod as it stands. Which container is the trainer may be for the installation to say: whoever does not know
its settings cannot be sure of that. Must not know who asks.
"""

from collections.abc import Mapping
from typing import NamedTuple

from pydantic import JsonValue

from checkpointheal_operator.core.injected import NotInjected
from checkpointheal_operator.core.injection import inject
from checkpointheal_operator.core.injection_settings import InjectionSettings
from checkpointheal_operator.core.reasons import Reason

USUAL = InjectionSettings(image="checkpointheal/agent", gateway="https://checkpointheal")


class Refusal(NamedTuple):
    """Why it can have no agent."""

    reason: Reason
    message: str
    sure: bool
    """Not where another installation might tell its trainer."""


def refusal(pod: Mapping[str, JsonValue], settings: InjectionSettings | None = None) -> Refusal | None:
    """None where it could have one, or was not asked to. `settings` are the installation's, where they are known."""
    answer = inject(pod, settings or USUAL)
    if not isinstance(answer, NotInjected) or answer.reason == Reason.NOT_OPTED_IN:
        return None
    return Refusal(answer.reason, answer.message, settings is not None or answer.reason != Reason.TRAINER_AMBIGUOUS)
