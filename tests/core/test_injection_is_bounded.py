"""However much a pod holds, it is answered soon and briefly: it comes from whoever may make pods, before any check."""

import json
import time
from typing import Any

import pytest

from builders_injection import a_pod, agent_of, annotated, injected, patched, refusal, settings
from checkpointheal_operator.core.annotations import PREFIX
from checkpointheal_operator.core.injected import Injection
from checkpointheal_operator.core.injection import inject
from checkpointheal_operator.core.injection_settings import INJECTED

SOON = 1.0
"""Seconds of this process. The API server waits for two; what is bounded here took from three up to fifteen."""
ROOM = 256 << 10
"""Bytes that the API server lets the annotations of an object have, keys and values together."""


def crowded(count: int) -> dict[str, Any]:
    """A pod with so many annotations that mean nothing."""
    return annotated(a_pod(), **{f"{number:x}": "" for number in range(count)})


def answered(pod: dict[str, Any]) -> Injection:
    began = time.process_time()
    answer = inject(pod, settings())
    assert time.process_time() - began < SOON
    assert isinstance(answer, Injection), answer
    return answer


def used(pod: dict[str, Any]) -> int:
    return sum(len(key) + len(value) for key, value in pod["metadata"]["annotations"].items())


def test_ten_thousand_annotations_that_mean_nothing_cost_as_little_as_ten() -> None:
    notes = answered(crowded(10_000)).report.notes
    assert [each.reason for each in notes] == ["UnknownAnnotation"] * 10 + ["MoreUnknownAnnotations"]
    assert notes[-1].message.startswith("9990 more annotations mean nothing: ")


def test_a_few_annotations_that_mean_nothing_are_all_told() -> None:
    assert [each.reason for each in answered(crowded(10)).report.notes] == ["UnknownAnnotation"] * 10


def test_a_key_without_end_is_shown_by_its_beginning() -> None:
    (note,) = answered(annotated(a_pod(), **{"arena-siz" + "e" * 100_000: ""})).report.notes
    assert len(note.message) < 200
    assert note.message.endswith(f"{PREFIX}arena-size?")


def test_the_mark_on_the_pod_names_a_reason_once() -> None:
    pod = crowded(10_000)
    marker = json.loads(patched(pod, answered(pod))["metadata"]["annotations"][INJECTED])
    assert marker["notes"] == ["UnknownAnnotation", "MoreUnknownAnnotations"]


@pytest.mark.parametrize("left", [0, 1, 60])
def test_a_pod_whose_annotations_are_full_gets_its_agent_and_no_mark_that_would_have_it_refused(left: int) -> None:
    pod = annotated(a_pod(), job="gpt")
    pod["metadata"]["annotations"]["example.com/notes"] = ""
    pod["metadata"]["annotations"]["example.com/notes"] = "x" * (ROOM - left - used(pod))
    after = injected(pod)
    assert agent_of(after)
    assert used(after) == ROOM - left
    assert inject(after, settings()).report.reason == "AlreadyInjected"


def test_a_mark_that_just_fits_is_made() -> None:
    mark = len(INJECTED) + len(injected(a_pod())["metadata"]["annotations"][INJECTED])
    pod = a_pod()
    pod["metadata"]["annotations"] = {"example.com/notes": "ä"}
    pod["metadata"]["annotations"]["example.com/notes"] += "x" * (ROOM - mark - used(pod) - 1)
    assert INJECTED in injected(pod)["metadata"]["annotations"]
    pod["metadata"]["annotations"]["example.com/notes"] += "x"
    assert INJECTED not in injected(pod)["metadata"]["annotations"]


@pytest.mark.parametrize("key", ["arena_size", "agent_memory", "agent_cpu"])
@pytest.mark.parametrize("text", ["9" * 3_000_000, "0." + "0" * 3_000_000 + "1", "9" * 3_000_000 + "Ki"])
def test_an_amount_without_end_is_refused_by_its_beginning(key: str, text: str) -> None:
    began = time.process_time()
    said = refusal(annotated(a_pod(), **{key: text}))
    assert time.process_time() - began < SOON
    assert said.reason == "BadAnnotation"
    assert f" is '{text[:20]}" in said.message
    assert ", not an amount of " in said.message
    assert len(said.message) < 300


@pytest.mark.parametrize("digits", ["9" * 3_000_000, "9" * 3_000_000 + "Ki"])
def test_a_limit_without_end_is_left_to_the_api_server(digits: str) -> None:
    limits = {"cpu": digits, "memory": digits}
    assert answered(a_pod({"resources": {"limits": limits}})).report.guaranteed


@pytest.mark.parametrize("key", ["ranks", "local_ranks", "replica"])
def test_a_number_without_end_is_refused_by_its_beginning(key: str) -> None:
    said = refusal(annotated(a_pod(), **{key: "9" * 100_000}))
    assert said.reason == "BadAnnotation"
    assert len(said.message) < 300
    assert ", not a number" in said.message


@pytest.mark.parametrize(
    "spec",
    [
        {"containers": [{"name": f"c{number}"} for number in range(20_000)]},
        {"containers": [{"name": "x" * 100_000}, {"name": "y" * 100_000}]},
        {"os": {"name": "x" * 100_000}},
        {"volumes": [{"name": "x" * 100_000, "hostPath": {}}, {"path": "no name"}]},
    ],
)
def test_a_refusal_is_a_sentence_whatever_it_quotes(spec: dict[str, Any]) -> None:
    assert len(refusal(a_pod(**spec)).message) <= 1000


@pytest.mark.parametrize(
    ("where", "part"),
    [
        ("containers", {}),
        ("initContainers", {"securityContext": {"runAsUser": -1}}),
        ("volumes", {}),
    ],
)
def test_of_a_pod_that_cannot_be_read_the_first_fault_is_looked_for_and_no_other(where: str, part: Any) -> None:
    pod = a_pod(**{where: [part] * 300_000})
    began = time.process_time()
    said = refusal(pod)
    assert time.process_time() - began < SOON
    assert said.reason == "UnreadablePod"
    assert f"spec.{where}.0." in said.message
