"""What does a spec come to: which rules for the core, and which pods?

Every field of the spec but the history's limit is read here. Must not know status.
"""

from collections.abc import Collection, Mapping
from typing import Literal

from checkpointheal.contract.base import Frozen
from checkpointheal.contract.identity import MemberId
from checkpointheal_operator.api.base import CHANNELS
from checkpointheal_operator.api.spec import CheckpointHealSpec, Donors, Expression, Selector
from checkpointheal_operator.api.spec import Deadlines as DeadlinesSpec
from checkpointheal_operator.core.deadlines import FIFTHS, Deadlines, derive
from checkpointheal_operator.core.policy import Policy

FLOOR = 50_000_000
"""Bytes per second."""


def policy_of(spec: CheckpointHealSpec, seen: Collection[MemberId], ranks: int = 1) -> Policy:
    """The policy as the core knows it.

    Where the spec does not say, the members that were ever seen count, and `ranks` that the pods were made with.
    """
    deadlines = deadlines_of(spec.deadlines)
    return Policy(
        replicas=spec.layout.replicas or max((each.replica for each in seen), default=0) + 1,
        ranks=spec.layout.ranks or max(ranks, *(each.rank + 1 for each in seen), 1),
        min_replicas=spec.layout.min_replicas,
        donor_limit=spec.donors.limit,
        report_deadline=deadlines.report,
        agent_silence=deadlines.agent_silence,
        stopped_grace=deadlines.stopped_trainer,
        transfer_floor_bytes_per_second=floor_of(spec.donors),
        transfer_seconds_at_least=deadlines.transfer,
        bytes_per_second=spec.donors.bytes_per_second,
        channel=CHANNELS[spec.channel],
        epoch_end_deadline=deadlines.epoch_end,
        go_on_without=deadlines.go_on_without,
        restore_budget=deadlines.restore_budget,
        buddies=spec.private_state.buddies,
        private_behind=spec.private_state.behind,
        max_attempts=spec.attempts.limit,
        retry_pause=spec.attempts.pause_seconds,
        fallback=spec.fallback,
        same_step_crashes=spec.attempts.crashes_at_one_step,
        probation_steps=spec.probation.steps,
        drill_every=spec.drill.every_seconds,
    )


def deadlines_of(said: DeadlinesSpec) -> Deadlines:
    """What is said, and for the rest what follows from the patience."""
    own = {name: getattr(said, f"{name}_seconds") for name in FIFTHS}
    return derive(said.patience_seconds).but(**{k: v for k, v in own.items() if v is not None})


def floor_of(donors: Donors) -> int:
    """Bytes per second: who is held to less than the usual floor is not overdue for that."""
    if donors.floor_bytes_per_second is not None:
        return donors.floor_bytes_per_second
    cap = donors.bytes_per_second
    return FLOOR if cap is None else max(1, min(FLOOR, cap // 2))


class Requirement(Frozen):
    """One requirement on a label, as any part of a cluster says it: not bounded as those of a spec are."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[str, ...] = ()


def matches(selector: Selector, labels: dict[str, str]) -> bool:
    """Whether a pod with these labels is selected, as the API server would say."""
    equal = selector.match_labels.items() <= labels.items()
    return equal and all(holds(each, labels) for each in selector.match_expressions)


def holds(wanted: Expression | Requirement, labels: Mapping[str, str]) -> bool:
    """Whether these labels meet it."""
    match wanted.operator:
        case "In":
            return labels.get(wanted.key) in wanted.values
        case "NotIn":
            return labels.get(wanted.key) not in wanted.values
        case "Exists":
            return wanted.key in labels
        case "DoesNotExist":
            return wanted.key not in labels
