"""Each write to the API is counted once, by what became of it."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from builders_api import JOB, WHERE, a_policy
from checkpointheal.contract.trust import Issued
from checkpointheal_operator.gateway.authority import Refused
from checkpointheal_operator.gateway.caller import Caller
from checkpointheal_operator.measures.operating import OperatorMetrics
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS, ClusterError, Conflict, Ref, Unreachable
from checkpointheal_operator.shell.counted import Counted, counting_certify
from fake_cluster import FakeCluster

POLICY = Ref(CHECKPOINTHEALS, WHERE, JOB)


def writes(metrics: OperatorMetrics) -> dict[tuple[str, str, str], float]:
    return {
        (each.labels["verb"], each.labels["kind"], each.labels["outcome"]): each.value
        for metric in metrics.registry.collect()
        for each in metric.samples
        if each.name == "checkpointheal_api_writes_total"
    }


async def every_verb(cluster: Counted) -> None:
    stored = await cluster.create(CHECKPOINTHEALS, a_policy())
    await cluster.patch(POLICY, {"spec": {"historyLimit": 3}})
    await cluster.patch(POLICY, {"status": {"job": JOB}}, status=True)
    assert (await cluster.get(POLICY))["spec"]["historyLimit"] == 3
    assert len(await cluster.list(CHECKPOINTHEALS, WHERE)) == 1
    await cluster.delete(POLICY, stored["metadata"]["uid"])


def test_what_is_read_is_not_counted_and_what_is_written_is():
    metrics = OperatorMetrics()
    asyncio.run(every_verb(Counted(FakeCluster(), metrics)))
    verbs = ("create", "patch", "patch status", "delete")
    assert writes(metrics) == {(verb, "CheckpointHeal", "ok"): 1.0 for verb in verbs}


@pytest.mark.parametrize("error", [Conflict("changed"), Unreachable("no answer")])
def test_a_write_that_fails_is_counted_by_its_reason_and_raised(error):
    def fail(_number: int) -> None:
        raise error

    cluster, metrics = FakeCluster(), OperatorMetrics()
    cluster.before = fail
    writing: Coroutine[Any, Any, Any] = Counted(cluster, metrics).create(CHECKPOINTHEALS, a_policy())
    with pytest.raises(ClusterError):
        asyncio.run(writing)
    assert writes(metrics) == {("create", "CheckpointHeal", error.reason): 1.0}


def test_each_certificate_is_counted_and_each_refusal_by_its_reason():
    answers = [Refused("BadRequest", "no PKCS #10"), Issued.model_construct()]
    metrics = OperatorMetrics()
    certify = counting_certify(lambda _caller, _request: answers[-1], metrics)
    for expected in reversed(answers):
        assert certify(Caller("demo", "u1"), "") is expected
        answers.pop()
    found = {
        outcome: metrics.registry.get_sample_value("checkpointheal_certificates_total", {"outcome": outcome})
        for outcome in ("issued", "BadRequest")
    }
    assert found == {"issued": 1.0, "BadRequest": 1.0}
