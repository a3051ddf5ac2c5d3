"""What is asked of an API server to know a namespace: few lists, few at a time, and nothing that it would not take."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from builders_api import WHERE, a_policy, pod_object
from builders_core import a_pod, m
from checkpointheal_operator.api.base import Json
from checkpointheal_operator.core.injection_settings import INJECT
from checkpointheal_operator.plugin.reading import LISTS_AT_ONCE, Reader
from checkpointheal_operator.plugin.seen import Seen
from checkpointheal_operator.plugin.seen import seen as seen_of
from checkpointheal_operator.plugin.standing import page
from checkpointheal_operator.plugin.trouble import Where
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS, HEALS, PODS
from checkpointheal_operator.shell.gather import OPTED_IN
from checkpointheal_operator.shell.kube import Kube, Selection


class Lists(Kube):
    """An API server that answers lists, and counts them. A selector of pods' labels: equality alone."""

    def __init__(self, policies: Iterable[Json], pods: Iterable[Json] = ()) -> None:
        self._policies, self._pods = list(policies), list(pods)
        self.asked: list[Selection] = []
        self._now = self.at_once = 0

    async def all(self, selection: Selection) -> list[Json]:
        self.asked.append(selection)
        self._now += 1
        self.at_once = max(self.at_once, self._now)
        await asyncio.sleep(0)
        self._now -= 1
        found = {CHECKPOINTHEALS: self._policies, HEALS: [], PODS: self._pods}[selection.kind]
        wanted = dict(each.split("=") for each in selection.labels.split(",") if each)
        return [
            each
            for each in found
            if selection.namespace in ("", each["metadata"]["namespace"])
            and wanted.items() <= each["metadata"].get("labels", {}).items()
        ]

    @property
    def of_pods(self) -> list[tuple[str, str]]:
        return [(each.namespace, each.labels) for each in self.asked if each.kind == PODS]


def named(name: str, namespace: str = WHERE, **selector: object) -> Json:
    metadata = {"name": name, "namespace": namespace, "uid": f"{namespace}-{name}", "generation": 1}
    return a_policy(selector=selector or {"matchLabels": {"app": name}}) | {"metadata": metadata}


def a_labelled_pod(app: str, *, opted_in: bool = True) -> Json:
    pod = pod_object(a_pod(m("0/0"), name=f"{app}-0", uid=app))
    pod["metadata"]["labels"] = {"app": app} | ({INJECT: "true"} if opted_in else {})
    return pod


def seen(kube: Lists, namespace: str = "") -> Seen:
    return asyncio.run(Reader(kube, Where("here", "https://here")).seen(namespace))


def names(pods: Iterable[Json]) -> list[str]:
    return [each["metadata"]["name"] for each in pods]


def test_of_a_policy_that_stands_alone_in_its_namespace_its_selector_is_asked():
    kube = Lists([named("a"), named("b", "elsewhere")])
    seen(kube)
    assert sorted(kube.of_pods) == [("", OPTED_IN), ("elsewhere", "app=b"), (WHERE, "app=a")]


def test_where_several_stand_all_pods_are_listed_once_and_each_is_given_its_own():
    pods = [a_labelled_pod(each, opted_in=each != "b") for each in ("a", "b", "c", "d")]
    besides = a_labelled_pod("nobodys", opted_in=False)
    either = {"matchExpressions": [{"key": "app", "operator": "In", "values": ["c", "d"]}]}
    kube = Lists([named("a"), named("b"), named("both", **either)], [*pods, besides])
    found = seen(kube, WHERE)
    assert kube.of_pods == [(WHERE, OPTED_IN), (WHERE, "")]
    assert [names(found.pods_of(each)) for each in found.policies] == [["a-0"], ["b-0"], ["c-0", "d-0"]]
    assert names(found.pods) == ["a-0", "b-0", "c-0", "d-0"], "who did not opt in and is nobody's is nobody's business"


@pytest.mark.parametrize("spaces", [1, 300])
def test_few_lists_are_asked_at_once_however_many_namespaces_there_are(spaces: int):
    kube = Lists([named("a", f"n{each}") for each in range(spaces)])
    seen(kube)
    assert len(kube.asked) == spaces + 3
    assert kube.at_once == min(spaces + 2, LISTS_AT_ONCE)


def test_a_selector_that_the_api_server_would_not_take_is_not_asked_and_hides_no_other_one():
    kube = Lists([named("typo", matchLabels={"team": "ml/vision"}), named("good", "elsewhere")], [a_labelled_pod("a")])
    found = seen(kube)
    assert sorted(kube.of_pods) == [("", OPTED_IN), ("elsewhere", "app=good"), (WHERE, "")]
    assert found.lacking == ()
    assert [names(found.pods_of(each)) for each in found.policies] == [[], []]


def test_a_policy_that_any_label_meets_or_none_is_held_against_every_pod():
    pods = [a_labelled_pod("a"), a_labelled_pod("b")]
    others = {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["a"]}]}
    found = seen(Lists([named("a"), named("others", **others)], pods))
    assert [names(found.pods_of(each)) for each in found.policies] == [["a-0"], ["b-0"]]
    assert [[each.metadata.name for each in found.policies_of(pod)] for pod in pods] == [["a"], ["others"]]


class Counted(dict[str, Any]):
    """A pod that counts how often it is looked at."""

    looks = 0

    def __getitem__(self, key: str) -> Any:
        self.looks += 1
        return super().__getitem__(key)


def looks_at_a_pod(policies: int) -> int:
    pod = Counted(a_labelled_pod("a"))
    found = seen_of([named("a"), *(named(f"other-{each}") for each in range(policies))], (), [pod])
    assert page(found, "", 0.0)
    return pod.looks


def test_a_pod_is_looked_at_no_more_often_where_there_are_more_policies_of_others():
    assert looks_at_a_pod(1) == looks_at_a_pod(40)
