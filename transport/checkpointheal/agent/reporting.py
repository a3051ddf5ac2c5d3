"""What does the agent tell the operator of itself?

The whole truth, each time anew, out of what every room knows. Must not know when it is told, nor what follows from it.
"""

import time
import uuid
from dataclasses import dataclass, field

from checkpointheal.agent.drilling import Drilling
from checkpointheal.agent.giving import Giving
from checkpointheal.agent.installed import torch_version
from checkpointheal.agent.keep import Keep
from checkpointheal.agent.passed import PassedSteps
from checkpointheal.agent.remembered import Remembered
from checkpointheal.agent.settings import AgentSettings
from checkpointheal.agent.shelf import Shelf
from checkpointheal.agent.taking import Taking
from checkpointheal.agent.trainer_seen import TrainerSeen
from checkpointheal.agent.unprotected import Unprotected
from checkpointheal.agent.upkeep import Upkeep
from checkpointheal.contract.identity import Endpoint
from checkpointheal.contract.report import MANY, AgentReport


@dataclass
class Reporting:
    """One start of an agent, and the rooms that its reports are made of."""

    settings: AgentSettings
    seen: TrainerSeen
    remembered: Remembered
    shelf: Shelf
    upkeep: Upkeep
    keep: Keep
    passed: PassedSteps
    taking: Taking
    giving: Giving
    drilling: Drilling
    unprotected: Unprotected
    endpoint: Endpoint | None = None
    """Where peers reach it: known once its door is open."""
    answered: str = ""
    """The operator's latest question."""
    _start: str = field(default_factory=lambda: uuid.uuid4().hex)
    _started: float = field(default_factory=time.time)
    _sequence: int = 0

    def report(self) -> AgentReport:
        """The whole truth, now."""
        if self.endpoint is None:
            raise RuntimeError("the peer door is opened before the first report")
        self._sequence += 1
        private_steps = self.upkeep.private_steps
        flaws = self.unprotected.flaws()
        return AgentReport(
            job=self.settings.job,
            member=self.settings.member,
            pod=self.settings.pod,
            pod_uid=self.settings.pod_uid,
            local_ranks=self.settings.local_ranks,
            agent=self._start,
            started=self._started,
            sequence=self._sequence,
            endpoint=self.endpoint,
            build=self.seen.build,
            torch=torch_version(),
            certified=self.settings.certified,
            trainer=self.seen.facts,
            generations=self.shelf.generations(private_steps),
            passed=self.passed.steps,
            private_held=self.keep.held(),
            private_own=tuple(sorted(private_steps)[-MANY:]),
            behind=self.seen.behind,
            transfer=self.taking.facts,
            drills=True,
            drill=self.drilling.facts,
            serving=self.giving.serving,
            attempt_seen=self.remembered.numbers.attempt,
            epoch_seen=self.remembered.numbers.epoch_answered,
            answered=self.answered,
            conditions=tuple(flaw.reason for flaw in flaws),
            flaws=flaws,
        )
