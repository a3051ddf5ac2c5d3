"""Two agents' children carry a generation from one arena to another, whatever happens to either of them."""

import asyncio
import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path

import pytest

import builders_transfer as build
from checkpointheal.agent.errand import Ended, ErrandSays, Failed, Meeting, Progress
from checkpointheal.agent.mover import NICE
from checkpointheal.agent.transfers import Transfers
from checkpointheal.arena import Arena

MIB = 1 << 20
SLOW = 24 * MIB
"""Bytes per second at which a transfer of 40 MiB can be met in its middle."""


def run(
    transfers: Transfers,
    giving: build.Errand,
    taking: build.Errand,
    on_donor: Callable[[build.Side, ErrandSays], None] | None = None,
    on_recipient: Callable[[build.Side, ErrandSays], None] | None = None,
) -> tuple[build.Side, build.Side]:
    return asyncio.run(build.Stage(transfers).meet(giving, taking, on_donor, on_recipient))


def once_bytes_cross(act: Callable[[build.Side], None]) -> Callable[[build.Side, ErrandSays], None]:
    """Act on a side once its second chunk has gone, so that the first one has landed; and once only."""
    acted: list[int] = []

    def on_word(side: build.Side, word: ErrandSays) -> None:
        if isinstance(word, Progress) and word.bytes > build.CHUNK and not acted:
            acted.append(1)
            act(side)

    return on_word


def signalled(number: signal.Signals) -> Callable[[build.Side], None]:
    return lambda side: os.kill(side.pid, number)


@pytest.mark.parametrize("stands_back", [False, True])
def test_a_side_that_stands_back_takes_what_others_leave_of_a_processor(
    transfers: Transfers, home: Path, stands_back: bool
) -> None:
    identity, slot = build.put(home / "a", build.a_state(40))
    found: list[int] = []
    run(
        transfers,
        build.an_errand("donor", home / "a", identity, slot=slot, bytes_per_second=SLOW, stands_back=stands_back),
        build.an_errand("recipient", home / "b", identity),
        once_bytes_cross(lambda side: found.append(os.getpriority(os.PRIO_PROCESS, side.pid))),
    )
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    assert found == [min(ours + NICE, 19) if stands_back else ours]


def test_an_empty_arena_receives_the_whole_state(transfers: Transfers, home: Path) -> None:
    identity, slot = build.put(home / "a", build.a_state(40))
    donor, recipient = run(
        transfers,
        build.an_errand("donor", home / "a", identity, slot=slot),
        build.an_errand("recipient", home / "b", identity),
    )
    assert isinstance(donor.last, Ended)
    assert isinstance(recipient.last, Ended)
    assert recipient.last.bytes == recipient.last.total == donor.last.bytes == 40 * MIB
    seals = Arena.open(home / "b").seals()
    assert build.data_of(home / "b", 0) == build.data_of(home / "a", slot)
    assert (seals[0].step, seals[0].state_digest, seals[0].incarnation) == (7, identity.state_digest, "heal/1")
    assert (seals[0].epoch, seals[0].values) == (3, Arena.open(home / "a").seals()[slot].values)


def test_an_older_generation_receives_only_the_chunks_that_changed(transfers: Transfers, home: Path) -> None:
    state = build.a_state(40)
    build.put(home / "b", state, step=6)
    changed = dict(state["model"])  # type: ignore[call-overload]
    changed["w20"] = changed["w20"] + 1
    identity, slot = build.put(home / "a", {**state, "model": changed})
    # The arena's other slot is unsealed, so the older generation is the one to lose only where there is no other.
    shutil.copy(home / "b" / "slot-0.safetensors", home / "b" / "slot-1.safetensors")
    _, recipient = run(
        transfers,
        build.an_errand("donor", home / "a", identity, slot=slot),
        build.an_errand("recipient", home / "b", identity),
    )
    assert isinstance(recipient.last, Ended)
    assert recipient.last.bytes == build.CHUNK
    assert build.data_of(home / "b", 1) == build.data_of(home / "a", slot)


def test_a_sealed_generation_of_the_very_step_is_never_overwritten(transfers: Transfers, home: Path) -> None:
    identity, slot = build.put(home / "a", build.a_state(8))
    other, kept = build.put(home / "b", build.a_state(8, seed=1))
    build.put(home / "b", build.a_state(8, seed=2), step=9)
    _, recipient = run(
        transfers,
        build.an_errand("donor", home / "a", identity, slot=slot),
        build.an_errand("recipient", home / "b", identity),
    )
    assert recipient.outcome == "ended"
    assert {seal.step for seal in Arena.open(home / "b").seals().values()} == {7}
    assert Arena.open(home / "b").seals()[kept].schema_digest == other.schema_digest


@pytest.mark.parametrize(
    "error", [EOFError("unexpected EOF"), OSError(errno.ENOMEM, "no memory")], ids=["its server died", "no memory"]
)
def test_a_child_that_cannot_be_started_is_a_transfer_that_died(
    transfers: Transfers, home: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def connect_to_new_process(_fds: object) -> None:
        raise error

    async def words() -> list[ErrandSays]:
        return [said async for said in transfers.run(build.an_errand("recipient", home / "b", identity))]

    identity, _ = build.put(home / "a", build.a_state(1))
    monkeypatch.setattr(forkserver, "connect_to_new_process", connect_to_new_process)
    (said,) = asyncio.run(words())
    assert isinstance(said, Failed)
    assert said.reason == "TransferDied"
    assert said.message == f"the transfer's process could not be started: {type(error).__name__}: {error}"


@pytest.mark.parametrize("round_", range(4))
def test_a_killed_donor_is_noticed_and_the_next_one_sends_only_the_rest(
    transfers: Transfers, home: Path, round_: int
) -> None:
    identity, slot = build.put(home / "a", build.a_state(64, seed=round_))
    giving = build.an_errand("donor", home / "a", identity, slot=slot, bytes_per_second=SLOW)
    taking = build.an_errand("recipient", home / "b", identity)
    killed_at: list[float] = []

    def kill(side: build.Side) -> None:
        killed_at.append(time.monotonic())
        os.kill(side.pid, signal.SIGKILL)

    donor, recipient = run(transfers, giving, taking, on_donor=once_bytes_cross(kill))
    assert donor.outcome == "TransferDied"
    assert recipient.outcome == "PeerLost"
    assert recipient.ended_at - killed_at[0] < taking.stall, "it does not wait for a clock"
    assert Arena.open(home / "b").seals() == {}
    _, second = run(
        transfers,
        giving.model_copy(update={"attempt": 2, "prefix": "heal/2", "bytes_per_second": None}),
        taking.model_copy(update={"attempt": 2, "prefix": "heal/2"}),
    )
    assert isinstance(second.last, Ended)
    assert 0 < second.last.bytes < second.last.total
    assert build.data_of(home / "b", 0) == build.data_of(home / "a", slot)


def test_a_stopped_donor_is_overdue(transfers: Transfers, home: Path) -> None:
    identity, slot = build.put(home / "a", build.a_state(40))
    donors: list[build.Side] = []

    def stop(side: build.Side) -> None:
        donors.append(side)
        os.kill(side.pid, signal.SIGSTOP)

    def end_the_donor(_side: build.Side, word: ErrandSays) -> None:
        if isinstance(word, Failed):
            os.kill(donors[0].pid, signal.SIGKILL)

    _, recipient = run(
        transfers,
        build.an_errand("donor", home / "a", identity, slot=slot, bytes_per_second=SLOW),
        build.an_errand("recipient", home / "b", identity, stall=1),
        on_donor=once_bytes_cross(stop),
        on_recipient=end_the_donor,
    )
    assert recipient.outcome == "Overdue"


def test_a_killed_recipient_frees_its_donor(transfers: Transfers, home: Path) -> None:
    identity, slot = build.put(home / "a", build.a_state(64))
    donor, recipient = run(
        transfers,
        build.an_errand("donor", home / "a", identity, slot=slot, bytes_per_second=SLOW),
        build.an_errand("recipient", home / "b", identity),
        on_recipient=once_bytes_cross(signalled(signal.SIGKILL)),
    )
    assert (donor.outcome, recipient.outcome) == ("PeerLost", "TransferDied")
    arena = Arena.open(home / "a")
    assert arena.begin(keep=[1 - slot]) is not None, "the slot is not pinned any more"


def test_a_capped_donor_outlasts_the_stall(transfers: Transfers, home: Path) -> None:
    """A chunk takes two seconds under this cap; silence is overdue after one."""
    identity, slot = build.put(home / "a", build.a_state(16))
    _, recipient = run(
        transfers,
        build.an_errand("donor", home / "a", identity, slot=slot, bytes_per_second=4 * MIB, stall=1),
        build.an_errand("recipient", home / "b", identity, stall=1),
    )
    assert recipient.outcome == "ended"


def test_the_deadline_ends_both_sides(transfers: Transfers, home: Path) -> None:
    identity, slot = build.put(home / "a", build.a_state(16))
    donor, recipient = run(
        transfers,
        build.an_errand("donor", home / "a", identity, slot=slot, bytes_per_second=MIB, deadline=2),
        build.an_errand("recipient", home / "b", identity, deadline=2),
    )
    assert {donor.outcome, recipient.outcome} <= {"Overdue", "PeerLost"}
    assert Arena.open(home / "b").seals() == {}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"attempt": 2}, "PeerRefused"), ({"heal": "another"}, "PeerRefused")],
    ids=["another attempt", "another heal"],
)
def test_a_recipient_of_another_attempt_receives_nothing(
    transfers: Transfers, home: Path, changes: dict[str, object], reason: str
) -> None:
    identity, slot = build.put(home / "a", build.a_state(8))
    donor, recipient = run(
        transfers,
        build.an_errand("donor", home / "a", identity, slot=slot),
        build.an_errand("recipient", home / "b", identity, **changes),
    )
    assert (donor.outcome, recipient.outcome) == ("Abandoned", reason)
    assert recipient.crossed == 0


def test_a_recipient_of_another_step_refuses_before_it_touches_a_slot(transfers: Transfers, home: Path) -> None:
    identity, slot = build.put(home / "a", build.a_state(8))
    build.put(home / "b", build.a_state(8, seed=1), step=1)
    build.put(home / "b", build.a_state(8, seed=2), step=2)
    before = Arena.open(home / "b").seals()
    donor, recipient = run(
        transfers,
        build.an_errand("donor", home / "a", identity, slot=slot),
        build.an_errand("recipient", home / "b", identity.model_copy(update={"step": 8})),
    )
    assert (donor.outcome, recipient.outcome) == ("PeerRefused", "Abandoned")
    assert Arena.open(home / "b").seals() == before


def test_a_donor_whose_bytes_have_changed_declines(transfers: Transfers, home: Path) -> None:
    identity, slot = build.put(home / "a", build.a_state(8))
    with (home / "a" / f"slot-{slot}.safetensors").open("r+b") as file:
        file.seek(-100, os.SEEK_END)
        file.write(b"flipped")
    donor, recipient = run(
        transfers,
        build.an_errand("donor", home / "a", identity, slot=slot),
        build.an_errand("recipient", home / "b", identity),
    )
    assert (donor.outcome, recipient.outcome) == ("SlotDamaged", "PeerRefused")
    assert isinstance(recipient.last, Failed)
    assert "SlotDamaged" in recipient.last.message


def test_a_donor_whose_slot_holds_another_step_says_so_before_anybody_comes(transfers: Transfers, home: Path) -> None:
    identity, slot = build.put(home / "a", build.a_state(8))
    granted = identity.model_copy(update={"step": 6})
    donor, _ = run(
        transfers,
        build.an_errand("donor", home / "a", granted, slot=slot),
        build.an_errand("recipient", home / "b", granted),
    )
    assert donor.outcome == "SlotDamaged"
    assert not any(isinstance(word, Meeting) for word in donor.said)


def test_a_recipient_that_finds_no_donor_says_so(transfers: Transfers, home: Path) -> None:
    identity, _ = build.put(home / "a", build.a_state(8))
    side = asyncio.run(
        build.Stage(transfers).start(build.an_errand("recipient", home / "b", identity, store_port=1, deadline=2))
    )
    assert side.outcome == "PeerLost"


AGENT = """
import asyncio, sys
from checkpointheal.agent.errand import Errand
from checkpointheal.agent.transfers import Transfers

async def main():
    transfers = Transfers()
    async for said in transfers.run(Errand.model_validate_json(sys.argv[1])):
        print(said.model_dump_json(), *(child.pid for child in transfers._children), flush=True)

if __name__ == "__main__":
    asyncio.run(main())
"""


def test_a_killed_agent_takes_its_transfer_along(home: Path) -> None:
    """The child comes from a fork server that outlives the agent; it must let the slot go all the same."""
    identity, slot = build.put(home / "a", build.a_state(8))
    program = home / "an_agent.py"
    program.write_text(AGENT)
    errand = build.an_errand("donor", home / "a", identity, slot=slot)
    agent = subprocess.Popen(
        [sys.executable, program, errand.model_dump_json()],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert agent.stdout is not None
    child = int(agent.stdout.readline().split()[-1])
    agent.kill()
    agent.wait()
    agent.stdout.close()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{child}").exists()
    assert Arena.open(home / "a").begin(keep=[1 - slot]) is not None
