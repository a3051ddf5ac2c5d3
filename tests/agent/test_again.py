"""What fails is looked at again after a moment, once, and told until a look finds all done."""

import asyncio
import errno

import pytest

from checkpointheal.agent import again
from checkpointheal.agent.again import Again
from checkpointheal.agent.flaws import LINGER, Flaws

FULL = OSError(errno.ENOSPC, "No space left on device")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_however_much_fails_at_once_one_look_comes_after_it_and_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(again, "PAUSE", 0.0)
    flaws, looks = Flaws(clock := Clock()), list[str]()

    async def story() -> None:
        coming = Again(lambda: looks.append("again"), flaws)
        for _ in range(3):
            coming.failed(FULL)
        assert looks == []
        while not looks:
            await asyncio.sleep(0)
        assert looks == ["again"]
        assert [each.reason for each in flaws.standing()] == ["ArenaUnusable"]
        coming.done()
        coming.close()

    asyncio.run(story())
    clock.now = LINGER
    assert flaws.standing() == ()
    assert len(caplog.records) == 1


def test_what_fails_in_the_next_look_too_is_looked_at_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(again, "PAUSE", 0.0)
    looks = list[str]()

    async def story() -> None:
        def look() -> None:
            looks.append("again")
            if len(looks) < 3:
                coming.failed(FULL)

        coming = Again(look, Flaws(Clock()))
        coming.failed(FULL)
        async with asyncio.timeout(20):
            while len(looks) < 3:
                await asyncio.sleep(0)

    asyncio.run(story())
