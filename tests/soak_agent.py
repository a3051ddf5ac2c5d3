"""An agent, made up, whose pod may be replaced for hours: the next one is empty until it has received its state."""

from collections.abc import Iterator
from dataclasses import dataclass

from bench.scale.agents import SIZE, STEP, Agent

from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.orders import Orders
from checkpointheal.contract.report import AgentReport, Generation, PrivateHeld, TransferFacts


@dataclass
class SoakAgent(Agent):
    """`life` counts the pods that came before."""

    life: int = 0
    transfer: TransferFacts | None = None
    question: str = ""

    @property
    def uid(self) -> str:
        return f"uid-of-pod-{self.number}" + (f"-{self.life}" if self.life else "")

    @property
    def token(self) -> str:
        return f"{self.crowd.namespace(self.crowd.job(self.number))}/pod-{self.number}/{self.uid}"

    def report(self) -> AgentReport:
        others = [MemberId(replica=each) for each in range(self.crowd.replicas) if each != self.member.replica]
        held = tuple(PrivateHeld(member=each, steps=(STEP, STEP - 1)) for each in others) if self._has_state else ()
        told = {"private_held": held, "transfer": self.transfer, "answered": self.question}
        return super().report().model_copy(update=told)

    def be_replaced(self) -> None:
        self.life, self.epoch, self.request, self.sequence = self.life + 1, 0, 0, 0
        self.transfer, self.exit, self.state, self.question = None, None, "absent", ""
        self.said = {}
        self._wait()

    def take(self, orders: Orders) -> None:
        wanted = orders.assignment
        if wanted is not None and (self.transfer is None or self.transfer.attempt < wanted.attempt):
            done = {"heal": wanted.heal, "attempt": wanted.attempt, "donor": wanted.donors[0].pod}
            self.transfer = TransferFacts(**done, state="verified", bytes=SIZE, total=SIZE)
            self.changed.set()
        if orders.question != self.question:
            self.question = orders.question
            self.changed.set()
        super().take(orders)

    @property
    def _has_state(self) -> bool:
        return self.epoch > 0 or (self.transfer is not None and self.state == "waiting")

    def _generations(self) -> Iterator[Generation]:
        if not self._has_state:
            return
        epoch, self.epoch = self.epoch, max(1, self.epoch)
        yield from super()._generations()
        self.epoch = epoch
