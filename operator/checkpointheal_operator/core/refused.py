"""Was a pod without an agent refused one, so that the next one of its template will be too?

Asked of the pod as it stands; the answer does not depend on the installation. Must not know who asks.
"""

from collections.abc import Mapping

from pydantic import JsonValue

from checkpointheal_operator.core.injected import NotInjected
from checkpointheal_operator.core.injection import inject
from checkpointheal_operator.core.injection_settings import InjectionSettings
from checkpointheal_operator.core.reasons import Reason

ANY = InjectionSettings(image="checkpointheal/agent", gateway="https://checkpointheal")


def refusal(pod: Mapping[str, JsonValue]) -> NotInjected | None:
    """Why it can have no agent; None where it could, or was not asked to."""
    answer = inject(pod, ANY)
    return answer if isinstance(answer, NotInjected) and answer.reason != Reason.NOT_OPTED_IN else None
