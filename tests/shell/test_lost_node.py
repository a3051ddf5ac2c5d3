"""The node of a pod dies, and the pod's object stays: that is named, nothing is ended for it, and what helps heals."""

from builders_core import m
from checkpointheal_operator.plugin.remedies import remedy
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS
from cluster_simulation import ClusterSimulation

MEMBER, OTHERS = m("1/0"), (m("0/0"), m("2/0"))


def told(job: ClusterSimulation) -> dict[str, tuple[str, str]]:
    (policy,) = job.cluster.all(CHECKPOINTHEALS)
    return {each["type"]: (each["status"], each["reason"]) for each in policy["status"]["conditions"]}


def that_lost_a_node() -> ClusterSimulation:
    """An agent is silent; after five minutes its pod is asked to end, which nobody hears."""
    job = ClusterSimulation(3, 1)
    job.go_on()
    job.train_to(5)
    job.pods[MEMBER].silent = True
    for seconds in (300, 60):
        job.pods[MEMBER].terminating = seconds == 60
        job.now += seconds
        job.go_round()
    return job


def test_a_lost_node_is_named_and_ends_nothing_for_its_pod_may_train_on():
    job = that_lost_a_node()
    assert told(job) == {
        "Training": ("True", "FirstStart"),
        "Protected": ("False", "HeldByLostNode"),
        "Degraded": ("True", "HeldByLostNode"),
        "Done": ("False", "NotYet"),
    }
    for helps in ("kubectl delete node", "node.kubernetes.io/out-of-service", "--force"):
        assert helps in remedy("HeldByLostNode")
    job.train_to(8)
    assert job.steps == {8}, "its kubelet alone was cut off"


def test_once_its_peers_have_given_it_up_the_job_names_it_and_heals_as_soon_as_its_object_is_gone():
    job = that_lost_a_node()
    job.pods[MEMBER].trainer = job.pods[MEMBER].agent = None
    for member in OTHERS:
        job.kill_trainer(member, None, code=1)  # a collective's timeout
    for _ in range(6):
        job.pods[MEMBER].agent = None
        job.go_round()
    assert told(job)["Training"][0] == "False"
    assert told(job)["Degraded"] == ("True", "HeldByLostNode")
    job.replace_pod(MEMBER)
    job.go_on()
    assert job.is_training
    assert {str(each.spec.recipient.member): each.status.rung for each in job.heals}["1/0"] == "Peer"
