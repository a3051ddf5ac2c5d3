"""What the policy says holds for the next heal, and a policy that is made anew goes on where the old one was."""

import pytest

from builders_cluster import Job, apply, healed_by, kubectl, one, until


@pytest.mark.parametrize(("policy", "channel"), [({}, "TLS"), ({"channel": "Gloo"}, "Gloo")], ids=["TLS", "Gloo"])
def test_states_cross_over_tls_unless_the_policy_says_gloo(namespace, same, policy, channel):
    job = Job(namespace, policy=policy).start()
    job.until_step(8)
    job.delete_pods(1)
    healed_by(job, 1, "Peer")
    (heal,) = job.heals
    assert heal["spec"]["assignment"]["channel"] == channel
    assert f"over {channel.lower()}" in job.agent_log(1)
    same(job)


def test_a_policy_that_is_made_anew_heals_on_and_attempts_grow(namespace, same):
    job = Job(namespace).start()
    job.until_step(8)
    job.delete_pods(1)
    healed_by(job, 1, "Peer")
    (first,) = job.heals
    epoch = job.policy_status()["epoch"]["number"]
    kubectl("delete", "checkpointheal", "-n", namespace, job.name)
    until(lambda: not job.heals, "its heals go with it", seen=job.look)
    apply(namespace, job.checkpointheal())
    job.delete_pods(2)
    healed_by(job, 2, "Peer")
    (second,) = job.heals_of(2)
    assert second["spec"]["assignment"]["attempt"] > first["spec"]["assignment"]["attempt"], job.look()
    assert (one("checkpointheal", namespace, job.name) or {})["status"]["epoch"]["number"] > epoch
    same(job)
