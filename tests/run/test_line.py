"""What `run` could not tell the agent that was there, the next one hears."""

import asyncio
from pathlib import Path

from checkpointheal.agent.trainer_door import TrainerDoor
from checkpointheal.contract.trainer import Exited, Hello, TrainerSays
from checkpointheal.run.line import AgentLine

FIRST, SECOND = (Hello(role="run", incarnation=name, pid=1) for name in ("first", "second"))
KILLED = Exited(incarnation="first", signal=9)
STOPPED = Exited(incarnation="second", stopped=True)


def test_an_end_that_no_agent_was_there_for_is_told_to_the_next_one_behind_who_speaks(tmp_path: Path) -> None:
    heard: list[TrainerSays] = []
    all_came = asyncio.Event()

    async def hear(_hello: Hello, said: TrainerSays) -> None:
        heard.append(said)
        if len(heard) == 3:
            all_came.set()

    async def story() -> None:
        line, door = AgentLine(tmp_path), TrainerDoor(tmp_path, hear, lambda _hello: None)
        line.say_started(FIRST)
        line.say_exited(KILLED)
        line.say_started(SECOND)
        line.say_exited(STOPPED)
        await door.open()
        line.connect(0.0)
        async with asyncio.timeout(30):
            await all_came.wait()
        line.close()
        await door.close()

    asyncio.run(story())
    assert heard == [SECOND, KILLED, STOPPED]
