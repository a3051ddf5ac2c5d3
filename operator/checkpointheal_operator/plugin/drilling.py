"""How does a user ask for a drill, and hear how it went?

The one thing that the plugin writes: an annotation on a CheckpointHeal, whose new value is the request. The operator
answers in the status. Must not know how a drill is carried out.
"""

import asyncio
import uuid

from checkpointheal.contract.base import shown
from checkpointheal_operator.api.checkpointheal import CheckpointHeal
from checkpointheal_operator.api.job_status import DrillStatus
from checkpointheal_operator.core.annotations import DRILL
from checkpointheal_operator.plugin import drill_words
from checkpointheal_operator.plugin.printing import write
from checkpointheal_operator.plugin.reading import Reader
from checkpointheal_operator.plugin.seen import WRITE_ANEW, seen
from checkpointheal_operator.plugin.trouble import AMISS, FINE, LOOK_AT_OPERATOR, Request, Trouble
from checkpointheal_operator.plugin.verbs import Desk
from checkpointheal_operator.plugin.words import listed
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS, Ref
from checkpointheal_operator.shell.kube import Selection

LOOK_EVERY = 1.0


async def drill(desk: Desk, name: str, patience: float) -> int:
    """Ask, wait for so many seconds, and tell. Raises Trouble."""
    ref = Ref(CHECKPOINTHEALS, desk.namespace, name or await _only(desk.reader, desk.namespace))
    await _policy(desk.reader, ref)
    request = uuid.uuid4().hex[:12]
    body = {"metadata": {"annotations": {DRILL: request}}}
    await desk.reader.answered(desk.reader.kube.patch(ref, body), Request("patch", *ref))
    taken_up: list[DrillStatus] = []
    try:
        async with asyncio.timeout(patience):
            outcome = await _outcome(desk, ref, request, taken_up)
    except TimeoutError as error:
        raise _too_late(ref, patience, taken_up) from error
    write(desk.console(), drill_words.page(outcome))
    return FINE if outcome.passed else AMISS


async def _only(reader: Reader, namespace: str) -> str:
    found = await reader.all(Selection(CHECKPOINTHEALS, namespace=namespace))
    names = sorted(each["metadata"]["name"] for each in found)
    if len(names) == 1:
        return str(names[0])
    if not names:
        raise Trouble(f"there is no CheckpointHeal in namespace {namespace}", code=AMISS)
    raise Trouble(f"which one of {listed(names)}?", "name it: kubectl checkpointheal drill NAME")


async def _policy(reader: Reader, ref: Ref) -> CheckpointHeal:
    found = seen((await reader.one(ref),), (), ())
    if found.unreadable:
        raise Trouble(found.unreadable[0], WRITE_ANEW, AMISS)
    return found.policies[0]


async def _outcome(desk: Desk, ref: Ref, request: str, taken_up: list[DrillStatus]) -> DrillStatus:
    while True:
        found = (await _policy(desk.reader, ref)).status.drill
        if found is not None and found.request == request:
            if found.ended_at is not None:
                return found
            if not taken_up:
                desk.out.write(f"{shown(found.message)}\n")
                desk.out.flush()
            taken_up.append(found)
        await asyncio.sleep(LOOK_EVERY)


def _too_late(ref: Ref, patience: float, taken_up: list[DrillStatus]) -> Trouble:
    where = f"{ref.namespace}/{ref.name}"
    if taken_up:
        fix = f"it goes on: kubectl get checkpointheal {ref.name} -n {ref.namespace} -o yaml tells its end"
        return Trouble(f"the drill of {where} did not end within {patience:g} s", fix, AMISS)
    return Trouble(f"the drill of {where} was not taken up within {patience:g} s", LOOK_AT_OPERATOR, AMISS)
