"""`kubectl checkpointheal deadlines`: which deadlines follow from one number, without a cluster.

Those of the policy, and those that only the trainer's own script can be told: they have to cover what the others allow.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from checkpointheal.contract.base import MOST
from checkpointheal_operator.api.policy import policy_of
from checkpointheal_operator.api.spec import CheckpointHealSpec, Deadlines, Donors, Selector
from checkpointheal_operator.core.deadlines import FIFTHS, PATIENCE
from checkpointheal_operator.core.policy import Policy
from checkpointheal_operator.core.quantities import whole

CALLED = "kubectl checkpointheal deadlines"
POD_SECONDS, LONGEST_START = 120, 604_800
ATTEMPTS = 2
"""A heal whose first donor dies shall still be in time."""


class Wanted(NamedTuple):
    """What is known of the job."""

    patience: int
    state: int
    rate: int | None
    pod_seconds: int


class Row(NamedTuple):
    """A deadline, how long it is, and whence that follows."""

    name: str
    seconds: float
    why: str


def main(argv: Sequence[str]) -> int:
    """Print them; exit status 2 where what was asked makes no sense."""
    asked = parser().parse_args(argv)
    wanted = Wanted(asked.patience, asked.state, asked.rate, asked.pod_seconds)
    sys.stdout.write(page(wanted))
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog=CALLED, description=(__doc__ or "").partition(": ")[2])
    found.add_argument(
        "--patience", type=_patience, default=PATIENCE, metavar="SECONDS", help="spec.deadlines.patienceSeconds (5)"
    )
    found.add_argument("--state", type=_bytes, default=0, metavar="SIZE", help="of one member, as in 40Gi (none)")
    found.add_argument("--rate", type=_rate, metavar="SIZE", help="bytes per second that the network surely gives")
    found.add_argument(
        "--pod-seconds",
        type=_pod_seconds,
        default=POD_SECONDS,
        metavar="SECONDS",
        help="from the loss of a pod until its successor's trainer runs (%(default)s)",
    )
    return found


def page(wanted: Wanted) -> str:
    """What to write where, and why it is that long."""
    rows = [*rows_of(wanted)]
    width = max(len(each.name) for each in rows)
    lines = [f"{each.name:{width}}  {each.seconds:6g} s  {each.why}" for each in rows]
    donors = f"  donors: {{floorBytesPerSecond: {wanted.rate}}}\n" if wanted.rate else ""
    spec = f"spec:\n  deadlines: {{patienceSeconds: {wanted.patience}}}\n{donors}"
    return "\n".join(lines) + "\n\nIn the CheckpointHeal:\n\n" + spec


def rows_of(wanted: Wanted) -> Iterator[Row]:
    """In the order in which they come into play."""
    policy = _policy(wanted)
    named = {
        "stopped_trainer": policy.stopped_grace,
        "agent_silence": policy.agent_silence,
        "report": policy.report_deadline,
        "epoch_end": policy.epoch_end_deadline,
        "go_on_without": policy.go_on_without,
        "transfer": policy.patience(0),
    }
    for name, seconds in named.items():
        yield Row(f"{_camel(name)}Seconds", seconds, f"{FIFTHS[name] / 5:g} x patienceSeconds")
    transfer = policy.patience(wanted.state)
    yield Row(
        "a transfer",
        transfer,
        f"the longer of transferSeconds and state / {policy.transfer_floor_bytes_per_second} B/s",
    )
    yield Row(
        "restoreBudgetSeconds", policy.restore_budget, "36 x patienceSeconds: must cover how long your script loads it"
    )
    waits = policy.report_deadline + policy.epoch_end_deadline + wanted.pod_seconds + ATTEMPTS * transfer
    yield Row(
        "CHECKPOINTHEAL_RESTORE_BUDGET", waits, f"a new pod, and {ATTEMPTS} attempts: in the trainer's environment"
    )
    meets = waits + policy.restore_budget
    yield Row("init_process_group(timeout=)", meets, "level 1: who is healed first waits for the last to have loaded")
    yield Row("level 2: the word", policy.word_within, "what a lost collective waits to hear; nothing to set")


def _policy(wanted: Wanted) -> Policy:
    spec = CheckpointHealSpec(
        selector=Selector(match_labels={"app": "any"}),
        deadlines=Deadlines(patience_seconds=wanted.patience),
        donors=Donors(floor_bytes_per_second=wanted.rate),
    )
    return policy_of(spec, [])


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(each.capitalize() for each in rest)


def _patience(text: str) -> int:
    return _seconds(text, 4, 2_400)


def _pod_seconds(text: str) -> int:
    return _seconds(text, 0, LONGEST_START)


def _seconds(text: str, least: int, most: int) -> int:
    if not text.isdecimal() or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"{text} is not between {least} and {most} whole seconds")
    return int(text)


def _bytes(text: str) -> int:
    try:
        return whole(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _rate(text: str) -> int:
    found = _bytes(text)
    if not 1 <= found <= MOST:
        raise argparse.ArgumentTypeError(f"{text} is not between 1 and {MOST} bytes per second")
    return found
