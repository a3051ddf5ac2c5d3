"""A scene says what should come of it, and notices when something else did."""

from typing import Any

import pytest

from checkpointheal.contract.identity import Endpoint, MemberId
from checkpointheal.contract.orders import Assignment, Peer
from checkpointheal.contract.report import TransferFacts
from checkpointheal_operator.core.heal_record import HealRecord
from checkpointheal_operator.core.phases import SeenHeal
from checkpointheal_operator.core.reasons import Cause, Rung
from checkpointheal_operator.demo.plain import Restarted
from checkpointheal_operator.demo.proof import Verdict
from checkpointheal_operator.demo.result import conclude
from checkpointheal_operator.demo.scenes import SCENES, HealRow, SceneResult

TRAINER_KILLED, POD_DELETED, DONOR_DELETED = SCENES


def a_peer(replica: int) -> Peer:
    endpoint = Endpoint(host="127.0.0.1", port=1)
    return Peer(member=MemberId(replica=replica), pod=f"trainer-{replica}", pod_uid=f"uid-{replica}", endpoint=endpoint)


def an_assignment(donor: int, attempt: int = 1) -> Assignment:
    return Assignment(
        heal="heal-1",
        attempt=attempt,
        recipient=a_peer(0),
        donors=(a_peer(donor),),
        step=7,
        schema_digest="a" * 32,
        state_digest="b" * 32,
        deadline=30,
    )


def a_transfer(crossed: int) -> TransferFacts:
    return TransferFacts(heal="heal-1", attempt=1, state="verified", donor="trainer-1", bytes=crossed, total=100)


def a_heal(**facts: Any) -> tuple[SeenHeal, ...]:
    record = HealRecord(
        name="heal-1",
        recipient=MemberId(replica=0),
        pod_uid="uid-0",
        agent="a",
        request=1,
        incarnation="t",
        cause=Cause.REPLACED,
        noticed_at=1,
        opened_at=2,
        healed=True,
        rung=Rung.PEER,
    )
    return (SeenHeal(record.model_copy(update=facts)),)


GOOD = {
    "trainer": (TRAINER_KILLED, {"cause": Cause.CRASHED, "rung": Rung.OWN_MEMORY}),
    "pod": (POD_DELETED, {"assignment": an_assignment(1), "transfer": a_transfer(100)}),
    "donor": (
        DONOR_DELETED,
        {"assignment": an_assignment(2, 2), "transfer": a_transfer(60), "failed": ("uid-1",)},
    ),
}
BAD = {
    "from a peer though its memory held it": ("trainer", {"rung": Rung.PEER}),
    "bytes crossed all the same": ("trainer", {"transfer": a_transfer(100)}),
    "another cause": ("trainer", {"cause": Cause.STOPPED}),
    "not from a peer": ("pod", {"rung": Rung.CHECKPOINT}),
    "only a part of it crossed": ("pod", {"transfer": a_transfer(60)}),
    "nothing crossed": ("pod", {"transfer": None}),
    "the first donor was not killed": ("donor", {"failed": ()}),
    "everything crossed again": ("donor", {"transfer": a_transfer(100)}),
    "nothing was left to cross": ("donor", {"transfer": a_transfer(0)}),
    "the killed donor healed it": ("donor", {"failed": ("uid-2",)}),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_a_scene_expects_satisfies_it(name: str) -> None:
    scene, facts = GOOD[name]
    assert list(scene.expects(a_heal(**facts))) == []


@pytest.mark.parametrize("name", GOOD)
def test_no_heal_at_all_satisfies_no_scene(name: str) -> None:
    assert list(GOOD[name][0].expects(()))


@pytest.mark.parametrize("case", BAD)
def test_anything_else_is_told(case: str) -> None:
    name, change = BAD[case]
    scene, facts = GOOD[name]
    assert list(scene.expects(a_heal(**(facts | change))))


def a_scene(*missed: str) -> SceneResult:
    row = HealRow(
        recipient="2/0", donor="0/0", cause="Replaced", rung="Peer", step=7, bytes=9, attempt=1, phases={"detect": 0.1}
    )
    return SceneResult("a scene", 7, 1.5, (row,), missed)


@pytest.mark.parametrize(
    ("scenes", "verdict", "holds"),
    [
        ((a_scene(),), Verdict(("model",), ()), True),
        ((a_scene("late"),), Verdict(("model",), ()), False),
        ((a_scene(),), Verdict(("model",), ("data",)), False),
        ((a_scene(),), Verdict((), ()), False),
        ((), Verdict(("model",), ()), False),
    ],
    ids=["all as told", "a scene missed", "a part differs", "nothing compared", "nothing healed"],
)
def test_the_demo_holds_only_if_everything_did(scenes: tuple[SceneResult, ...], verdict: Verdict, holds: bool) -> None:
    result = conclude(scenes, verdict, Restarted(9.0, 12), steps_lost=0)
    assert result.holds is holds
    assert (result.restart_seconds, result.steps_lost, result.restart_steps_lost) == (9.0, 0, 12)
