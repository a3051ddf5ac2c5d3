"""`drill`: one annotation is written, and the answer is printed with what it means."""

import time
from collections.abc import Callable, Iterator

import pytest

from builders_api import WHERE, a_policy
from builders_plugin import POLICY, Desktop, a_desktop, a_training_job, replaced
from checkpointheal_operator.api.base import Json, timestamp
from checkpointheal_operator.core.annotations import DRILL
from checkpointheal_operator.plugin import drilling
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS

PLAN = {
    "recipient": {"member": "0/0", "pod": "pod-0-0-1", "podUID": "uid-1"},
    "donor": {"member": "1/0", "pod": "pod-1-0-2", "podUID": "uid-2"},
    "step": 5,
    "schemaDigest": "5" * 32,
    "stateDigest": "6" * 32,
    "channel": "TLS",
    "deadlineSeconds": 30,
}
TRANSFER = {
    "state": "verified",
    "bytes": 3 << 30,
    "total": 3 << 30,
    "holdSeconds": 0.5,
    "transferSeconds": 3.0,
    "verifySeconds": 0.1,
}
PASSED = {
    "plan": PLAN,
    "transfer": TRANSFER,
    "passed": True,
    "reason": "DrillPassed",
    "message": "0/0 was given step 5 by 1/0 and verified it: a heal would work",
}
REFUSED = {"reason": "NotTraining", "message": "a drill needs everyone at work: the trainer of 1/0 is starting"}
FAILED = {"plan": PLAN, "reason": "NoRoomForDrill", "message": "a drill needs 134217728 bytes"}


@pytest.fixture
def desktop(tmp_path, monkeypatch) -> Iterator[Desktop]:
    monkeypatch.setattr(drilling, "LOOK_EVERY", 0.01)
    with a_desktop(tmp_path) as found:
        found.has(a_training_job())
        yield found


def a_drill(request: str, now: float, **changes: object) -> Json:
    known = {"name": "drill-1", "request": request, "beganAt": timestamp(now), "endedAt": timestamp(now)}
    return {key: value for key, value in (known | changes).items() if value is not None}


def answers(desktop: Desktop, *stages: Json) -> None:
    """An operator that takes each request up, and comes to the next stage whenever it is looked at."""
    cluster, left = desktop.stage.cluster, list(stages)

    def status_of(asked: str) -> Json:
        stage = left.pop(0) if len(left) > 1 else left[0]
        return a_drill(asked, desktop.now, **stage)

    real = cluster.get

    async def get(ref):
        found = cluster.objects[ref]
        asked = found["metadata"].get("annotations", {}).get(DRILL)
        if ref == POLICY and asked:
            found["status"]["drill"] = status_of(asked)
        return await real(ref)

    desktop.stage.call(lambda: setattr(cluster, "get", get))


def test_a_drill_that_passed_is_told_with_what_it_took(desktop: Desktop):
    answers(desktop, PASSED)
    ran = desktop.run("drill")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out == (
        "0/0 was given step 5 by 1/0 and verified it: a heal would work\n"
        "  from pod-1-0-2 to pod-0-0-1, over TLS\n"
        "  3.0 GiB in 3.6 s: hold 0.5 s, transfer 3.0 s, verify 0.1 s (1.0 GiB/s)\n"
    )


def test_all_that_is_written_is_one_annotation(desktop: Desktop):
    answers(desktop, PASSED)
    before = desktop.stage.cluster.objects[POLICY]
    desktop.run("drill", "demo")
    after = desktop.stage.cluster.objects[POLICY]
    assert after["spec"] == before["spec"]
    assert list(after["metadata"]["annotations"]) == [DRILL]
    assert after["metadata"]["generation"] == before["metadata"]["generation"]


def test_a_policy_that_cannot_be_read_is_named_and_nothing_is_asked_of_it(desktop: Desktop):
    half = {"matchExpressions": [{"key": "app", "operator": "NotIn"}]}
    desktop.stage.call(lambda: desktop.stage.cluster.objects[POLICY]["spec"].update(selector=half))
    ran = desktop.run("drill")
    assert ran.status == 1
    assert "CheckpointHeal demo cannot be read: spec.selector.matchExpressions.0: " in ran.err
    assert "write the object anew" in ran.err
    assert DRILL not in desktop.stage.cluster.objects[POLICY]["metadata"].get("annotations", {})


def test_each_request_is_a_new_one(desktop: Desktop):
    answers(desktop, PASSED)
    asked = []
    for _ in range(2):
        desktop.run("drill")
        asked.append(desktop.stage.cluster.objects[POLICY]["metadata"]["annotations"][DRILL])
    assert asked[0] != asked[1]


def test_a_drill_that_takes_a_while_says_once_that_it_is_under_way(desktop: Desktop):
    going: Json = {"plan": PLAN, "endedAt": None, "reason": "Drilling", "message": "0/0 is given step 5 by 1/0"}
    answers(desktop, going, going, going, PASSED)
    assert desktop.run("drill").out.splitlines()[:2] == ["0/0 is given step 5 by 1/0", PASSED["message"]]


def test_what_a_drill_says_of_itself_moves_no_cursor(desktop: Desktop):
    going: Json = {"plan": PLAN, "endedAt": None, "reason": "Drilling", "message": "under way\x1b[2J"}
    answers(desktop, going, PASSED | {"message": "passed\x1b[2J"})
    assert desktop.run("drill").out.splitlines()[:2] == [r"under way\x1b[2J", r"passed\x1b[2J"]


@pytest.mark.parametrize(
    ("stage", "lines"),
    [
        (
            REFUSED,
            [
                "! NotTraining: a drill needs everyone at work: the trainer of 1/0 is starting",
                "  -> ask again once everyone trains; `kubectl checkpointheal status` tells",
            ],
        ),
        (
            FAILED,
            [
                "! NoRoomForDrill: a drill needs 134217728 bytes",
                "  from pod-1-0-2 to pod-0-0-1, over TLS",
                "  -> give the agent more memory: checkpointheal.dev/agent-memory on the pod template",
            ],
        ),
    ],
    ids=["refused", "failed"],
)
def test_a_drill_that_did_not_pass_ends_with_1_and_says_what_helps(desktop: Desktop, stage: Json, lines: list[str]):
    answers(desktop, stage)
    ran = desktop.run("drill")
    assert ran.status == 1
    assert ran.out.splitlines() == lines


def test_an_operator_that_does_not_answer_is_named_and_the_wait_ends(desktop: Desktop):
    began = time.monotonic()
    ran = desktop.run("drill", "--timeout", "0.2")
    assert (ran.status, ran.out) == (1, "")
    assert f"the drill of {WHERE}/demo was not taken up within 0.2 s" in ran.err
    assert "look at the operator" in ran.err
    assert time.monotonic() - began < 20


def test_a_drill_that_does_not_end_in_time_goes_on(desktop: Desktop):
    answers(desktop, {"plan": PLAN, "endedAt": None, "reason": "Drilling", "message": "0/0 is given step 5 by 1/0"})
    ran = desktop.run("drill", "--timeout", "0.3")
    assert ran.status == 1
    assert f"the drill of {WHERE}/demo did not end within 0.3 s" in ran.err
    assert "it goes on" in ran.err


def test_where_there_are_many_policies_one_must_be_named(desktop: Desktop):
    other = a_policy()
    other["metadata"]["name"] = "another"
    desktop.put(CHECKPOINTHEALS, other)
    ran = desktop.run("drill")
    assert ran.status == 2
    assert "which one of another and demo?" in ran.err
    answers(desktop, PASSED)
    assert desktop.run("drill", "demo").status == 0


def without_policies(desktop: Desktop) -> None:
    desktop.stage.call(lambda: desktop.stage.cluster.objects.pop(POLICY))


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (("drill",), f"there is no CheckpointHeal in namespace {WHERE}"),
        (("drill", "demo"), f"there is no CheckpointHeal {WHERE}/demo"),
    ],
)
def test_a_policy_that_is_not_there_is_named(desktop: Desktop, argv: tuple[str, ...], sentence: str):
    without_policies(desktop)
    ran = desktop.run(*argv)
    assert ran.status == 1
    assert sentence in ran.err


STATUS: dict[str, tuple[Callable[[float], Json], str]] = {
    "passed": (
        lambda now: a_drill("one", now - 7200, **PASSED),
        "Drill      passed 2h0m ago: 0/0 was given step 5 by 1/0 and verified it: a heal would work",
    ),
    "refused": (
        lambda now: a_drill("one", now - 30, **REFUSED),
        "Drill      not passed 30s ago: NotTraining: a drill needs everyone at work: the trainer of 1/0 is starting",
    ),
    "under way": (
        lambda now: a_drill("one", now - 5, plan=PLAN, endedAt=None, reason="Drilling", message="0/0 is given step 5"),
        "Drill      under way for 5s: 0/0 is given step 5",
    ),
}


@pytest.mark.parametrize("how", STATUS)
def test_status_tells_the_latest_drill_of_each_job(desktop: Desktop, how: str):
    drill, line = STATUS[how]
    desktop.stage.cluster.objects[POLICY]["status"]["drill"] = drill(desktop.now)
    assert f"  {line}\n" in desktop.run("status").out


def test_a_job_that_is_being_healed_is_told_as_before(tmp_path):
    with a_desktop(tmp_path) as desktop:
        desktop.has(replaced(a_training_job()))
        assert "Drill " not in desktop.run("status").out
