"""Is this donor still there, now that it is to be assigned?

A word of the last second tells. An older one may be a dead agent's last: then a question stands in its orders, which
its open poll brings at once, and its next report answers it. Who does not answer soon is passed over. Must not know
who is asked for what.
"""

from checkpointheal_operator.core.heal_record import HealRecord
from checkpointheal_operator.core.moment import Moment

RECENT = 1.0
"""Seconds for which a report stands for its agent without a question."""
ANSWERS_WITHIN = 1.0
"""Seconds more for which an answer is waited for where others could give."""


def question(heal: HealRecord) -> str:
    """Another one for each attempt."""
    return f"{heal.name}/{heal.tries}"


def is_there(moment: Moment, heal: HealRecord, pod_uid: str) -> bool:
    """Whether its agent spoke just now, or has answered. One of an older build does not answer, and is not asked."""
    heard = moment.heard.get(pod_uid)
    if heard is None or heard.report.answered is None:
        return True
    return moment.age(heard) < RECENT or heard.report.answered == question(heal)


def passed_over_at(moment: Moment, pod_uid: str) -> float:
    """Until when the answer of an agent that was heard is waited for."""
    return moment.heard[pod_uid].at + RECENT + ANSWERS_WITHIN
