"""A drill carries a state as a heal does, from a slot that nobody is kept from, into no arena at all."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

import builders_ends as build_ends
import builders_transfer as build
from checkpointheal import digest, donor, manifest, recipient
from checkpointheal.agent import drill_mover, offers
from checkpointheal.agent.errand import Ended, Failed
from checkpointheal.agent.transfers import Transfers
from checkpointheal.arena import Arena
from checkpointheal.channel import Channel
from checkpointheal.contract.layout import Identity
from checkpointheal.ends import WINDOW
from checkpointheal.ends.loose import LooseSource
from checkpointheal.ends.memory import digest_of
from checkpointheal.ends.scratch import ScratchSink
from checkpointheal.errors import Overtaken, PeerRefused
from checkpointheal.session import Expected
from checkpointheal.wire import found_in


def drilled(transfers: Transfers, home: Path, identity: Identity) -> tuple[build.Side, build.Side]:
    """From arena `a`, for an agent whose arena is `b`."""
    giving = build.an_errand("donor", home / "a", identity, drill=True)
    taking = build.an_errand("recipient", home / "b", identity, drill=True)
    return asyncio.run(build.Stage(transfers).meet(giving, taking))


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir()) if path.is_file()}


def overwrite(directory: Path, mebibytes: int) -> None:
    """As a trainer's next commits do: every slot gets another generation, and a drill keeps none of them."""
    arena, described = Arena.open(directory), manifest.describe(build.a_state(mebibytes, seed=1))
    writings = [arena.begin() for _ in range(arena.slots)]
    for writing in writings:
        assert writing is not None, "a drill holds a slot"
        manifest.write_out(described, writing.prepare(described.schema))
        writing.abandon()


def test_every_byte_crosses_and_is_verified_and_both_arenas_stay_as_they_were(transfers: Transfers, home: Path) -> None:
    identity, _ = build.put(home / "a", build.a_state(40))
    build.put(home / "b", build.a_state(40, seed=1))
    before = contents(home / "a"), contents(home / "b")
    donor, recipient = drilled(transfers, home, identity)
    assert isinstance(recipient.last, Ended), recipient.last
    assert isinstance(donor.last, Ended)
    assert recipient.last.bytes == recipient.last.total == donor.last.bytes >= 40 << 20
    assert (recipient.last.step, recipient.last.state_digest) == (identity.step, identity.state_digest)
    assert recipient.last.transfer_seconds > 0
    assert (contents(home / "a"), contents(home / "b")) == before


def test_a_member_without_an_arena_can_be_drilled_and_still_has_none(transfers: Transfers, home: Path) -> None:
    identity, _ = build.put(home / "a", build.a_state(2))
    _, recipient = drilled(transfers, home, identity)
    assert isinstance(recipient.last, Ended)
    assert not (home / "b").exists()


def test_the_donor_gives_the_newest_that_it_holds(transfers: Transfers, home: Path) -> None:
    named, _ = build.put(home / "a", build.a_state(2))
    newest, _ = build.put(home / "a", build.a_state(2, seed=1), step=build.STEP + 1)
    _, recipient = drilled(transfers, home, named)
    assert isinstance(recipient.last, Ended)
    assert (recipient.last.step, recipient.last.state_digest) == (newest.step, newest.state_digest)


def test_other_bytes_for_the_same_step_are_refused(transfers: Transfers, home: Path) -> None:
    identity, _ = build.put(home / "a", build.a_state(2))
    _, recipient = drilled(transfers, home, identity.model_copy(update={"state_digest": "0" * 32}))
    assert recipient.outcome == "BytesDiffer"


def test_a_state_of_another_schema_or_an_older_step_is_refused(transfers: Transfers, home: Path) -> None:
    identity, _ = build.put(home / "a", build.a_state(2))
    for other in ({"schema_digest": "0" * 32}, {"step": identity.step + 1}):
        _, recipient = drilled(transfers, home, identity.model_copy(update=other))
        assert recipient.outcome == "BytesDiffer"


def test_a_donor_that_holds_nothing_says_so(transfers: Transfers, home: Path) -> None:
    identity, slot = build.put(home / "a", build.a_state(2))
    Arena.open(home / "a").discard(slot)
    donor, recipient = drilled(transfers, home, identity)
    assert (donor.outcome, recipient.outcome) == ("NotSealed", "NotSealed")
    assert isinstance(recipient.last, Failed)
    assert recipient.last.message == "no sealed generation lies here at this moment"


class Disturbed(LooseSource):
    """Training takes every slot before the third chunk is read."""

    def parts(self, index: int) -> Sequence[torch.Tensor]:
        if index == 2:
            overwrite(Path(self._reading._folder.path), 40)
        return super().parts(index)


@pytest.mark.parametrize("pair", build_ends.CHANNELS.values(), ids=build_ends.CHANNELS.keys())
def test_training_takes_every_slot_in_the_middle_of_a_drill_and_the_recipient_hears_it(
    home: Path, pair: Callable[[], tuple[Channel, Channel]]
) -> None:
    identity, slot = build.put(home / "a", build.a_state(40))
    giving, taking = pair()
    with Arena.open(home / "a").read(slot, pin=False) as reading:
        source = Disturbed(reading, whole=True)
        errand = build.an_errand("donor", home / "a", identity)
        offer = offers.offer(errand, identity, source.manifest, source.chunks)
        _, refused = build_ends.side_by_side(
            lambda: donor.give(giving, source, offer, build_ends.terms()),
            lambda: recipient.take(taking, ScratchSink(identity), Expected("heal", 1, None), build_ends.terms()),
        )
    assert isinstance(refused, PeerRefused), refused
    assert refused.refusal == "Overtaken"
    assert f"training wrote over step {identity.step} while it was read" in str(refused)


def test_a_chunk_is_sent_only_if_its_slot_was_sealed_after_it_was_copied(home: Path) -> None:
    identity, slot = build.put(home / "a", build.a_state(56))
    with Arena.open(home / "a").read(slot, pin=False) as reading:
        source = LooseSource(reading, whole=False)
        assert source.identity == identity
        overwrite(home / "a", 56)
        for index in range(WINDOW):
            assert digest_of(source.parts(index)) == source.chunks[index], "it was copied before it was offered"
        refused = found_in(torch.cat(list(source.parts(WINDOW))).numpy().tobytes())
        assert refused is not None
        assert refused.reason == "Overtaken"
        assert sum(part.numel() for part in source.parts(WINDOW + 1)) < build.CHUNK


def test_what_is_asked_for_again_is_read_again(home: Path) -> None:
    _, slot = build.put(home / "a", build.a_state(56))
    with Arena.open(home / "a").read(slot, pin=False) as reading:
        source = LooseSource(reading, whole=False)
        for index in (*range(len(source.chunks)), 0, 3, 6):
            assert digest_of(source.parts(index)) == source.chunks[index]


def test_a_state_that_is_written_over_while_it_is_read_through_is_not_offered(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, slot = build.put(home / "a", build.a_state(40))
    real = digest.chunk_digests

    def meanwhile(*what: object) -> tuple[str, ...]:
        found = real(*what)  # type: ignore[arg-type]
        overwrite(home / "a", 40)
        return found

    monkeypatch.setattr(digest, "chunk_digests", meanwhile)
    with Arena.open(home / "a").read(slot, pin=False) as reading, pytest.raises(Overtaken):
        LooseSource(reading, whole=False)


def test_a_donor_that_is_overtaken_while_it_reads_takes_the_next_one(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build.put(home / "a", build.a_state(1))
    newer, _ = build.put(home / "a", build.a_state(1), step=build.STEP + 1)
    real, reads = drill_mover.LooseSource, list[int]()

    def overtaken_at_first(*what: object, **how: object) -> LooseSource:
        reads.append(1)
        if len(reads) < drill_mover.READS:
            raise Overtaken("training was faster")
        return real(*what, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(drill_mover, "LooseSource", overtaken_at_first)
    with contextlib.ExitStack() as stack:
        assert drill_mover._newest(build.an_errand("donor", home / "a", newer), stack).identity == newer
    reads[:] = []
    monkeypatch.setattr(drill_mover, "READS", 0)
    monkeypatch.setattr(drill_mover, "LooseSource", lambda *_what, **_how: (_ for _ in ()).throw(Overtaken("again")))
    with contextlib.ExitStack() as stack, pytest.raises(Overtaken):
        drill_mover._newest(build.an_errand("donor", home / "a", newer), stack)


def test_memory_for_a_few_chunks_is_all_that_a_drill_takes(home: Path) -> None:
    _, slot = build.put(home / "a", build.a_state(56))
    with Arena.open(home / "a").read(slot, pin=False) as reading:
        source = LooseSource(reading, whole=False)
        where = {source.parts(index)[0].data_ptr() for index in range(len(source.chunks))}
    assert len(where) == WINDOW < len(source.chunks)
