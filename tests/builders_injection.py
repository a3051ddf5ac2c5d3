"""An installation's settings, pods to inject, and a patch applied by somebody else's hand."""

import copy
from typing import Any

import jsonpatch

from checkpointheal_operator.core.injected import Injection, NotInjected
from checkpointheal_operator.core.injection import inject
from checkpointheal_operator.core.injection_settings import INJECT, InjectionSettings

ROOT = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def settings(**changes: object) -> InjectionSettings:
    known = {
        "build": "0.1.0",
        "image": "checkpointheal/agent:dev",
        "gateway": "https://checkpointheal.checkpointheal-system.svc:8443",
        "gateway_root": ROOT,
    }
    return InjectionSettings.model_validate(known | changes)


def a_pod(container: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """Of a StatefulSet, opted in, with one container; `container` and `spec` say what is different."""
    trainer = {"name": "trainer", "image": "gpt:1", **(container or {})}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "trainer-1",
            "labels": {INJECT: "true", "apps.kubernetes.io/pod-index": "1"},
            "ownerReferences": [{"kind": "StatefulSet", "name": "trainer", "controller": True}],
        },
        "spec": {"containers": [trainer], **spec},
    }


def annotated(pod: dict[str, Any], **annotations: str) -> dict[str, Any]:
    """The pod with annotations of ours: `arena_size="2Gi"` is `checkpointheal.dev/arena-size: 2Gi`."""
    marked = copy.deepcopy(pod)
    named = {f"checkpointheal.dev/{key.replace('_', '-')}": text for key, text in annotations.items()}
    marked["metadata"]["annotations"] = marked["metadata"].get("annotations", {}) | named
    return marked


def patched(pod: dict[str, Any], injection: Injection) -> dict[str, Any]:
    """The pod after the patch, as another library applies it."""
    changed: dict[str, Any] = jsonpatch.apply_patch(pod, [step.model_dump(mode="json") for step in injection.patch])
    return changed


def injected(pod: dict[str, Any], **changes: object) -> dict[str, Any]:
    """The pod after injection; it must not have been refused."""
    injection = inject(pod, settings(**changes))
    assert isinstance(injection, Injection), injection
    return patched(pod, injection)


def refusal(pod: dict[str, Any]) -> NotInjected:
    """Why it was not injected; it must not have been."""
    answer = inject(pod, settings())
    assert isinstance(answer, NotInjected), answer
    return answer


def agent_of(pod: dict[str, Any]) -> dict[str, Any]:
    """The agent's container."""
    found: dict[str, Any] = next(c for c in pod["spec"]["initContainers"] if c["name"] == "checkpointheal-agent")
    return found
