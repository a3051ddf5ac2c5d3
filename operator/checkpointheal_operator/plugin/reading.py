"""What does a verb need to know of the cluster? The plugin's only reader.

What cannot be read becomes a Trouble that names the missing verb; where the rest is worth telling, it is kept with it.
Must not know what is read for.
"""

import asyncio
from collections.abc import Awaitable, Iterable, Iterator
from dataclasses import replace
from itertools import groupby
from typing import TypeVar

from checkpointheal_operator.api.base import Json
from checkpointheal_operator.api.checkpointheal import CheckpointHeal
from checkpointheal_operator.plugin.explaining import nearest
from checkpointheal_operator.plugin.pod_words import opted_in
from checkpointheal_operator.plugin.seen import Seen, seen, written
from checkpointheal_operator.plugin.trouble import AMISS, Request, Trouble, Where, trouble_of
from checkpointheal_operator.plugin.words import listed
from checkpointheal_operator.shell.cluster import (
    CHECKPOINTHEALS,
    EVENTS,
    HEALS,
    NAMESPACES,
    PODS,
    ClusterError,
    NotThere,
    Ref,
)
from checkpointheal_operator.shell.gather import OPTED_IN
from checkpointheal_operator.shell.kube import Kube, Selection

Answer = TypeVar("Answer")

LISTS_AT_ONCE = 8
"""Asked of an API server by one who looks: it has others to answer."""


class Reader:
    """Asks one API server. Every method raises Trouble. An empty namespace: all of them."""

    def __init__(self, kube: Kube, where: Where) -> None:
        self.kube, self.where = kube, where

    async def all(self, selection: Selection) -> list[Json]:
        """All that is selected."""
        asked = Request("list", selection.kind, selection.namespace)
        return await self.answered(self.kube.all(selection), asked)

    async def one(self, ref: Ref) -> Json:
        """One object."""
        return await self.answered(self.kube.get(ref), Request("get", *ref))

    async def log(self, pod: Ref, query: dict[str, str]) -> str:
        """What a container wrote."""
        return await self.answered(self.kube.log(pod, query), Request("get", *pod, part="log"))

    async def answered(self, question: Awaitable[Answer], asked: Request) -> Answer:
        """The answer."""
        try:
            return await question
        except ClusterError as error:
            raise trouble_of(error, asked, self.where) from error

    async def seen(self, namespace: str) -> Seen:
        """Policies, heals, and the pods that are opted in or selected. Without policies nothing can be told."""
        policies = await self.all(Selection(CHECKPOINTHEALS, namespace=namespace))
        found = seen(policies, (), ())
        selections = [
            Selection(HEALS, namespace=namespace),
            Selection(PODS, OPTED_IN, namespace),
            *_pods_of(found.policies),
        ]
        turns = asyncio.Semaphore(LISTS_AT_ONCE)
        answers = await asyncio.gather(*(self._in_turn(turns, each) for each in selections), return_exceptions=True)
        lists, lacking = [], {}
        for answer in answers:
            if isinstance(answer, Trouble):
                lacking[answer.sentence] = answer
            elif isinstance(answer, BaseException):
                raise answer
            lists.append([] if isinstance(answer, BaseException) else answer)
        pods = [pod for each in lists[1:] for pod in each if opted_in(pod) or found.policies_of(pod)]
        return replace(seen(policies, lists[0], pods), lacking=tuple(lacking.values()))

    async def _in_turn(self, turns: asyncio.Semaphore, selection: Selection) -> list[Json]:
        async with turns:
            return await self.all(selection)

    async def pod(self, namespace: str, name: str) -> Json:
        """The pod; where there is none of that name, names that are like it."""
        try:
            return await self.kube.get(Ref(PODS, namespace, name))
        except NotThere as error:
            raise await self._no_pod(namespace, name) from error
        except ClusterError as error:
            raise trouble_of(error, Request("get", PODS, namespace, name), self.where) from error

    async def events(self, namespace: str, pod: str) -> list[Json]:
        """What was said about the pod; nothing where that may not be read."""
        about = f"involvedObject.kind=Pod,involvedObject.name={pod}"
        try:
            found = await self.all(Selection(EVENTS, namespace=namespace, fields=about))
        except Trouble:
            return []
        return [each for each in found if each.get("involvedObject", {}).get("name") == pod]

    async def expect_namespace(self, name: str) -> None:
        """Raises Trouble where there surely is no such namespace; whoever may not look is believed."""
        try:
            await self.kube.get(Ref(NAMESPACES, "", name))
        except NotThere as error:
            raise await self._no_namespace(name) from error
        except ClusterError:
            return

    async def _no_pod(self, namespace: str, name: str) -> Trouble:
        here = await self._names(Selection(PODS, namespace=namespace))
        elsewhere = [each for each in await self._places(name) if each != namespace]
        hints = [f"did you mean {listed(near)}?"] if (near := nearest(name, here)) else []
        hints += [f"there is one in namespace {elsewhere[0]}: add -n {elsewhere[0]}"] if elsewhere else []
        hints.append(f"`kubectl checkpointheal history --pod {name}` tells what became of one that is gone")
        return Trouble(f"there is no pod {name} in namespace {namespace}", "\n".join(hints), AMISS)

    async def _no_namespace(self, name: str) -> Trouble:
        near = nearest(name, await self._names(Selection(NAMESPACES)))
        hint = f"did you mean {listed(near)}?" if near else "name another one with -n, or all with -A"
        return Trouble(f"there is no namespace {name} in the cluster of context {self.where.context!r}", hint)

    async def _names(self, selection: Selection) -> list[str]:
        try:
            return [each["metadata"]["name"] for each in await self.all(selection)]
        except Trouble:
            return []

    async def _places(self, name: str) -> list[str]:
        try:
            found = await self.all(Selection(PODS, fields=f"metadata.name={name}"))
        except Trouble:
            return []
        return [each["metadata"]["namespace"] for each in found if each["metadata"]["name"] == name]


def _pods_of(policies: Iterable[CheckpointHeal]) -> Iterator[Selection]:
    """Those that a policy selects, which stands alone in its namespace; else all of the namespace, once.

    All of it, too, for a selector that the API server would not take.
    """
    for namespace, those in groupby(policies, lambda each: each.metadata.namespace):
        first, *others = those
        is_asked = not others and not first.spec.selector.flaw
        yield Selection(PODS, written(first.spec.selector) if is_asked else "", namespace)
