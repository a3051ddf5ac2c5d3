"""What the API server hears about one pod."""

import base64
import json
from typing import Any

import jsonpatch
import pytest
from pydantic import ValidationError

from builders_injection import a_pod, annotated, injected, settings
from checkpointheal_operator.webhook.review import AdmissionRequest, read, review, spare

PODS = {"group": "", "version": "v1", "resource": "pods"}


def asked(pod: dict[str, Any] | None, **changes: Any) -> AdmissionRequest:
    """As an API server asks, with what it says besides."""
    request = {
        "uid": "705ab4f5",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": PODS,
        "requestResource": PODS,
        "operation": "CREATE",
        "namespace": "research",
        "userInfo": {"username": "system:serviceaccount:kube-system:statefulset-controller"},
        "object": pod,
        "oldObject": None,
        "dryRun": False,
        "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"},
        **changes,
    }
    envelope = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    return read(json.dumps(envelope).encode())


def response(request: AdmissionRequest) -> tuple[str, dict[str, Any]]:
    answer = review(request, settings())
    assert (answer.body["apiVersion"], answer.body["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    told: Any = answer.body["response"]
    assert (told["uid"], told["allowed"]) == ("705ab4f5", True)
    return answer.outcome, told


@pytest.mark.parametrize("dry_run", [True, False])
def test_an_opted_in_pod_gets_a_patch_that_makes_it_the_injected_one(dry_run: bool) -> None:
    outcome, told = response(asked(a_pod(), dryRun=dry_run))
    assert (outcome, told["patchType"]) == ("injected", "JSONPatch")
    patch = json.loads(base64.b64decode(told["patch"]))
    assert jsonpatch.apply_patch(a_pod(), patch) == injected(a_pod())


def test_a_second_invocation_has_no_patch() -> None:
    outcome, told = response(asked(injected(a_pod())))
    assert outcome == "unchanged"
    assert set(told) == {"uid", "allowed"}


def test_a_pod_that_lost_a_part_of_ours_gets_it_back() -> None:
    pod = injected(a_pod())
    del pod["spec"]["initContainers"][0]["restartPolicy"]
    outcome, told = response(asked(pod))
    patch = json.loads(base64.b64decode(told["patch"]))
    assert outcome == "mended"
    assert [step["path"] for step in patch] == ["/spec/initContainers/0/restartPolicy"]


@pytest.mark.parametrize("labels", [{}, {"checkpointheal.dev/inject": "false"}, {"app": "web"}])
def test_a_pod_that_did_not_opt_in_is_not_even_spoken_of(labels: dict[str, str]) -> None:
    pod = a_pod()
    pod["metadata"]["labels"] = labels
    assert response(asked(pod)) == ("ignored", {"uid": "705ab4f5", "allowed": True})


def test_a_refusal_is_a_warning_to_whoever_makes_the_pod() -> None:
    outcome, told = response(asked(annotated(a_pod(), arena_size="2GB")))
    assert outcome == "refused"
    assert "patch" not in told
    sentence = "checkpointheal.dev/arena-size is '2GB', not an amount of memory of at least 1Mi, as in 2Gi"
    assert told["warnings"] == [f"checkpointheal: not injected: BadAnnotation: {sentence}"]


def test_a_note_is_a_warning_beside_the_patch() -> None:
    _, told = response(asked(a_pod(hostNetwork=True)))
    assert "patch" in told
    assert told["warnings"][0].startswith("checkpointheal: PortNotFixed: ")


@pytest.mark.parametrize(
    "changes",
    [
        {"resource": PODS | {"resource": "services"}},
        {"resource": PODS | {"group": "apps", "resource": "deployments"}},
        {"resource": PODS | {"version": "v2"}},
        {"subResource": "ephemeralcontainers"},
        {"subResource": "binding"},
        {"operation": "UPDATE"},
        {"operation": "DELETE", "object": None},
        {"object": None},
    ],
)
def test_whatever_is_no_new_pod_is_let_through_untouched(changes: dict[str, Any]) -> None:
    assert response(asked(a_pod(), **changes)) == ("foreign", {"uid": "705ab4f5", "allowed": True})


@pytest.mark.parametrize("pod", [{}, {"metadata": {}}, {"spec": {"containers": []}}, {"metadata": 1, "spec": []}])
def test_a_pod_that_cannot_be_read_is_let_through(pod: dict[str, Any]) -> None:
    outcome, told = response(asked(pod))
    assert outcome == "refused"
    assert "UnreadablePod" in told["warnings"][0]


def test_a_pod_is_spared_a_fault_of_ours_with_a_warning() -> None:
    answer = spare(asked(a_pod()))
    told: Any = answer.body["response"]
    assert (answer.outcome, told["allowed"], "patch" in told) == ("failed", True, False)
    assert told["warnings"][0].startswith("checkpointheal: not injected")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"{}",
        b"[]",
        b"[" * 100_000,
        b'{"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview", "request": {"uid": "1"}}',
        b'{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}',
        b'{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": ""}}',
    ],
)
def test_an_envelope_that_is_none_is_not_opened(body: bytes) -> None:
    with pytest.raises(ValidationError):
        read(body)
