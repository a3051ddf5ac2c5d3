"""What does the API server get to hear about one pod?

An AdmissionReview of `admission.k8s.io/v1` to its answer. The answer is always `allowed`: a pod that cannot be injected
is made as it is, and a warning says why. Nothing has an effect, so a dry run is answered like any other. Must not know
HTTP.
"""

import base64
import json
from dataclasses import dataclass
from typing import Literal, get_args

from pydantic import ConfigDict, Field, JsonValue
from pydantic.alias_generators import to_camel

from checkpointheal.contract.base import Message
from checkpointheal_operator.core.identity import LONGEST_NAME
from checkpointheal_operator.core.injected import Injection, NotInjected
from checkpointheal_operator.core.injection import inject
from checkpointheal_operator.core.injection_settings import InjectionSettings
from checkpointheal_operator.core.reasons import Reason

API_VERSION = "admission.k8s.io/v1"
OUR_FAULT = "checkpointheal: not injected: the webhook failed on this pod, its log says why"
_SILENT = (Reason.NOT_OPTED_IN, Reason.MIRROR_POD)

Outcome = Literal["injected", "mended", "unchanged", "refused", "ignored", "foreign", "failed"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
_BY_REASON: dict[Reason, Outcome] = {
    Reason.INJECTED: "injected",
    Reason.INJECTION_MENDED: "mended",
    Reason.ALREADY_INJECTED: "unchanged",
}


class _Asked(Message):
    model_config = Message.model_config | ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Resource(_Asked):
    """What kind of object it is about."""

    group: str = ""
    version: str
    resource: str


class AdmissionRequest(_Asked):
    """What is asked."""

    uid: str = Field(min_length=1)
    resource: Resource
    namespace: str = ""
    sub_resource: str = ""
    operation: str
    object: dict[str, JsonValue] | None = Field(default=None, description="None where one is deleted.")

    @property
    def pod(self) -> str:
        """What the pod is or will be called, as far as that is known; for people."""
        metadata = (self.object or {}).get("metadata")
        found = metadata if isinstance(metadata, dict) else {}
        return str(found.get("name") or found.get("generateName") or "")[:LONGEST_NAME]

    @property
    def is_new_pod(self) -> bool:
        """Whether this is the only thing that we answer to: a pod that is about to be made."""
        found = (self.resource.group, self.resource.version, self.resource.resource, self.sub_resource, self.operation)
        return found == ("", "v1", "pods", "", "CREATE")


class AdmissionReview(_Asked):
    """The envelope."""

    api_version: Literal["admission.k8s.io/v1"]
    kind: Literal["AdmissionReview"]
    request: AdmissionRequest


@dataclass(frozen=True)
class Answer:
    """The envelope that goes back, and one word for the counters."""

    outcome: Outcome
    body: dict[str, JsonValue]
    refusal: NotInjected | None = None


def read(body: bytes) -> AdmissionRequest:
    """Open the envelope; raises ValidationError where it is none."""
    return AdmissionReview.model_validate_json(body).request


def review(asked: AdmissionRequest, settings: InjectionSettings) -> Answer:
    """Decide about one request."""
    if not asked.is_new_pod or asked.object is None:
        return _answer(asked, "foreign")
    decided = inject(asked.object, settings)
    if isinstance(decided, NotInjected):
        return _answer(asked, "ignored" if decided.reason in _SILENT else "refused", decided)
    return _answer(asked, _BY_REASON[decided.report.reason], decided)


def spare(asked: AdmissionRequest) -> Answer:
    """Let the pod be, because of a fault of ours."""
    return Answer("failed", _reviewed(_allowed(asked) | {"warnings": [OUR_FAULT]}))


def _answer(asked: AdmissionRequest, outcome: Outcome, decided: Injection | NotInjected | None = None) -> Answer:
    response = _allowed(asked)
    if isinstance(decided, Injection) and decided.patch:
        patch = json.dumps([step.model_dump(mode="json") for step in decided.patch]).encode()
        response |= {"patchType": "JSONPatch", "patch": base64.b64encode(patch).decode()}
    if decided is not None and decided.warnings:
        response["warnings"] = [*decided.warnings]
    refusal = decided if isinstance(decided, NotInjected) and outcome == "refused" else None
    return Answer(outcome, _reviewed(response), refusal)


def _allowed(asked: AdmissionRequest) -> dict[str, JsonValue]:
    return {"uid": asked.uid, "allowed": True}


def _reviewed(response: dict[str, JsonValue]) -> dict[str, JsonValue]:
    return {"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response}
