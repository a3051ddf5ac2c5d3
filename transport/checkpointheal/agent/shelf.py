"""Which sealed generations lie in the arena, and what are their digests?

A generation is a donor, and a source for its own trainer, only once it was read through. That happens here: after the
seal, on one thread of low priority, and it counts only if the slot was still sealed the same at the end.
"""

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from checkpointheal import digest
from checkpointheal.agent.flaws import Flaws, flaw_of
from checkpointheal.arena import Arena
from checkpointheal.contract.layout import Identity
from checkpointheal.contract.report import Flaw, Generation
from checkpointheal.contract.seal import Seal
from checkpointheal.errors import BytesDiffer, NotSealed, SlotDamaged

log = logging.getLogger("checkpointheal.agent")

_NICE = 10


class Shelf:
    """The arena's generations, as the report and the duties need them."""

    def __init__(self, arena: Arena, changed: Callable[[], None], flaws: Flaws) -> None:
        self._arena, self._changed, self._flaws = arena, changed, flaws
        self._seals: dict[int, Seal] = {}
        self._digests: dict[int, tuple[Seal, str]] = {}
        self._doubted: dict[int, tuple[Seal, str]] = {}
        self._wanted = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="digest", initializer=_lower_priority)
        self.look()
        self._doubted = {slot: (seal, seal.state_digest) for slot, seal in self._seals.items() if seal.state_digest}

    def look(self) -> None:
        """Read the seals again; call after anything that may have sealed or broken a slot."""
        self._read_seals()
        self._wanted.set()

    def doubt(self) -> None:
        """Have every generation read once more before it counts again; call before a trainer is to use one.

        Memory may have changed since it was digested. What is not the same any more is discarded; a peer may have it.
        """
        self._doubted |= self._digests
        self._digests = {}
        self._wanted.set()

    async def digest_forever(self) -> None:
        """Digest each new generation, the newest first."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while (slot := self._undigested()) is not None:
                await self._digest(slot, self._seals[slot])
                self._changed()

    async def _digest(self, slot: int, seal: Seal) -> None:
        doubted_seal, promised = self._doubted.pop(slot, (None, None))
        promised = promised if doubted_seal == seal else None
        found = None if promised else seal.state_digest
        if found is None:
            found = await asyncio.get_running_loop().run_in_executor(self._thread, self._read, slot, seal)
        if found is not None and promised not in (None, found):
            message = f"slot {slot} holds other bytes for step {seal.step} than when it was sealed: discarded"
            log.error("%s", message)
            self._flaws.found(f"bytes {slot}", Flaw(reason=BytesDiffer.__name__, message=message))
            self._arena.discard(slot)
            found = None
        if found is not None:
            self._digests[slot] = (seal, found)
            self._flaws.over(f"bytes {slot}")
            return
        self._read_seals()
        if self._seals.get(slot) == seal:
            message = f"slot {slot} cannot be read through, though it is sealed for step {seal.step}"
            self._flaws.found(f"bytes {slot}", Flaw(reason=SlotDamaged.__name__, message=message))
            del self._seals[slot]

    def _read_seals(self) -> None:
        self._seals, damaged = self._arena.seals(), self._arena.damaged()
        for slot in range(self._arena.slots):
            if slot in damaged:
                self._flaws.found(f"seal {slot}", flaw_of(damaged[slot]))
            else:
                self._flaws.over(f"seal {slot}")

    def identities(self, sealed_since: int = 0) -> dict[int, Identity]:
        """The digested generations, by slot: those that were sealed in this epoch or a later one."""
        found = {}
        for slot, seal in self._seals.items():
            if seal.epoch >= sealed_since and (state_digest := self._digest_of(slot)) is not None:
                found[slot] = Identity(step=seal.step, schema_digest=seal.schema_digest, state_digest=state_digest)
        return found

    def generations(self, private_steps: frozenset[int]) -> tuple[Generation, ...]:
        """All of them, for the report; highest step first."""
        return tuple(
            Generation(
                step=seal.step,
                schema_digest=seal.schema_digest,
                state_digest=self._digest_of(slot),
                bytes=seal.data_bytes,
                private=seal.step in private_steps,
                epoch=seal.epoch,
            )
            for slot, seal in sorted(self._seals.items(), key=lambda item: -item[1].step)
        )

    def slot_of(self, identity: Identity) -> int | None:
        """The slot that holds exactly this state."""
        return next((slot for slot, found in self.identities().items() if found == identity), None)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _digest_of(self, slot: int) -> str | None:
        seal, state_digest = self._digests.get(slot, (None, None))
        return state_digest if seal == self._seals.get(slot) else None

    def _undigested(self) -> int | None:
        missing = [slot for slot in self._seals if self._digest_of(slot) is None]
        return max(missing, key=lambda slot: self._seals[slot].step, default=None)

    def _read(self, slot: int, seal: Seal) -> str | None:
        with contextlib.suppress(SlotDamaged, NotSealed, OSError), self._arena.read(slot, pin=False) as reading:
            chunk_digests = [digest.digest_bytes(chunk) for chunk in reading.chunks(digest.CHUNK_BYTES)]
            found = digest.state_digest(seal.schema_digest, seal.values, chunk_digests)
            return found if reading.seal == seal and reading.still_sealed() else None
        return None


def _lower_priority() -> None:
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
