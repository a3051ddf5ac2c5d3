"""What a pod's marks say of its place: every source, alone and above the ones below it."""

import itertools

import pytest

from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.seats import Seats, seat_name
from checkpointheal_operator.core import identity
from checkpointheal_operator.core.identity import RANKS, Placed, Unplaced, place
from checkpointheal_operator.core.pod_manifest import Metadata, Owner
from checkpointheal_operator.core.policy import Policy
from checkpointheal_operator.core.reasons import quoted

JOBSET = {
    "jobset.sigs.k8s.io/jobset-name": "gpt",
    "jobset.sigs.k8s.io/job-index": "1",
    "jobset.sigs.k8s.io/replicatedjob-replicas": "2",
    "batch.kubernetes.io/job-completion-index": "3",
    "batch.kubernetes.io/job-name": "gpt-node-1",
}
LWS = {
    "leaderworkerset.sigs.k8s.io/name": "gpt",
    "leaderworkerset.sigs.k8s.io/group-index": "1",
    "leaderworkerset.sigs.k8s.io/worker-index": "3",
    "leaderworkerset.sigs.k8s.io/size": "4",
}
KUBEFLOW = {
    "training.kubeflow.org/job-name": "gpt",
    "training.kubeflow.org/replica-type": "worker",
    "training.kubeflow.org/replica-index": "6",
}
VOLCANO = {"volcano.sh/job-name": "gpt", "volcano.sh/task-spec": "worker", "volcano.sh/task-index": "7"}
RAY = {
    "ray.io/cluster": "gpt",
    "ray.io/worker-group-replica-index": "1",
    "ray.io/replica-host-index": "3",
    "checkpointheal.dev/group-size": "4",
}
STATEFUL_SET = {"apps.kubernetes.io/pod-index": "7", "checkpointheal.dev/job": "gpt"}
JOB = {"batch.kubernetes.io/job-completion-index": "7", "batch.kubernetes.io/job-name": "gpt"}
EXPLICIT = {"checkpointheal.dev/replica": "7", "checkpointheal.dev/job": "gpt"}
SEVENTH = {
    "annotations": EXPLICIT,
    "LeaderWorkerSet": LWS,
    "PyTorchJob": KUBEFLOW,
    "Volcano": VOLCANO,
    "RayCluster": RAY,
    "StatefulSet": STATEFUL_SET,
    "Job": JOB,
}


def marked(labels: dict[str, str], **known: object) -> Metadata:
    return Metadata.model_validate({"labels": labels, **known})


def placed(marks: dict[str, str], ranks: int | None = None) -> tuple[str, str, str]:
    found = place(marked(marks if ranks is None else marks | {RANKS: str(ranks)}))
    assert isinstance(found, Placed), found
    return found.job, str(found.member), found.source


def refused(marks: dict[str, str], ranks: int | None = None, **known: object) -> str:
    found = place(marked(marks if ranks is None else marks | {RANKS: str(ranks)}, **known))
    assert isinstance(found, Unplaced), found
    return found.reason


@pytest.mark.parametrize("source", SEVENTH)
def test_every_source_tells_the_job_and_the_place(source: str) -> None:
    assert placed(SEVENTH[source]) == ("gpt", "7/0", source)


@pytest.mark.parametrize("source", SEVENTH)
def test_the_same_facts_as_annotations_are_as_good(source: str) -> None:
    found = place(Metadata(annotations=SEVENTH[source]))
    assert found == place(marked(SEVENTH[source]))


@pytest.mark.parametrize("source", [name for name in SEVENTH if name != "annotations"])
@pytest.mark.parametrize("ranks", [1, 2, 4, 8])
def test_ordinals_fill_replica_after_replica(source: str, ranks: int) -> None:
    assert placed(SEVENTH[source], ranks)[1] == f"{7 // ranks}/{7 % ranks}"


@pytest.mark.parametrize(("above", "below"), list(itertools.combinations(SEVENTH, 2)))
def test_of_two_sources_the_one_further_up_speaks(above: str, below: str) -> None:
    assert placed(SEVENTH[below] | SEVENTH[above])[2] == above


def test_ranks_are_what_the_annotation_says() -> None:
    assert placed(STATEFUL_SET | {RANKS: "2"})[1] == "3/1"
    assert placed(STATEFUL_SET)[1] == "7/0"


def test_a_jobset_of_one_job_counts_its_completions() -> None:
    assert placed(JOBSET | {"jobset.sigs.k8s.io/replicatedjob-replicas": "1"}) == ("gpt", "3/0", "JobSet")


def test_a_jobset_of_several_jobs_has_a_replica_per_job_where_replicas_have_ranks() -> None:
    assert placed(JOBSET, ranks=4)[1] == "1/3"


def test_a_group_of_unknown_size_places_nobody_where_a_group_is_no_replica() -> None:
    assert refused(JOBSET) == "GroupSizeUnknown"
    assert refused(JOBSET, ranks=3) == "GroupSizeUnknown"
    assert placed(JOBSET | {"checkpointheal.dev/group-size": "4"})[1] == "7/0"


def test_a_master_stands_before_its_workers() -> None:
    master = KUBEFLOW | {
        "training.kubeflow.org/replica-type": "Master",
        "training.kubeflow.org/replica-index": "0",
    }
    assert placed(master)[1] == "0/0"
    assert placed(KUBEFLOW | {"training.kubeflow.org/replica-index": "0"})[1] == "1/0"


@pytest.mark.parametrize("controller", ["mpi-operator", "mpijob-controller", "jaxjob-controller", "tfjob-controller"])
def test_a_worker_of_another_kind_of_kubeflows_is_no_pytorchjobs(controller: str) -> None:
    assert refused(KUBEFLOW | {"training.kubeflow.org/operator-name": controller}) == "NoPlace"
    assert placed(KUBEFLOW | {"training.kubeflow.org/operator-name": "pytorchjob-controller"})[1] == "7/0"


def test_a_parameter_server_of_kubeflow_has_no_place() -> None:
    assert refused(KUBEFLOW | {"training.kubeflow.org/replica-type": "ps"}) == "NoPlace"


@pytest.mark.parametrize("source", [name for name in SEVENTH if name != "annotations"])
def test_a_source_that_lacks_its_index_is_silent(source: str) -> None:
    for key in {row.index for row in identity.SOURCES if row.name == source}:
        assert refused({k: v for k, v in SEVENTH[source].items() if k != key}) == "NoPlace"
        assert refused(SEVENTH[source] | {key: "x"}) == "NoPlace"


def test_neither_a_name_nor_a_rank_in_the_environment_is_a_place() -> None:
    owner = {"kind": "ReplicaSet", "name": "gpt", "controller": True}
    assert refused({}, name="gpt-7", ownerReferences=[owner]) == "NoPlace"


def test_the_owner_names_the_job_where_no_mark_does() -> None:
    owner = {"kind": "StatefulSet", "name": "gpt", "controller": True}
    found = place(marked({"apps.kubernetes.io/pod-index": "2"}, ownerReferences=[owner]))
    assert found == Placed("gpt", Seats(pod=MemberId(replica=2)), "StatefulSet")


def test_a_pod_that_nobody_controls_must_name_its_job() -> None:
    assert refused({"checkpointheal.dev/replica": "0"}) == "NoJob"


@pytest.mark.parametrize("text", ["", "-1", "1.5", "one", "²", "٣", " 1", "9" * 10, "9" * 5000])
@pytest.mark.parametrize("key", [identity.REPLICA, identity.RANK, identity.RANKS, identity.GROUP_SIZE])
def test_a_number_that_is_none_is_refused_by_name(key: str, text: str) -> None:
    found = place(Metadata(annotations=STATEFUL_SET | {key: text}))
    assert isinstance(found, Unplaced)
    assert found.reason == "BadAnnotation"
    assert found.message.startswith(f"{key} is ")


@pytest.mark.parametrize("key", [identity.RANKS, identity.GROUP_SIZE])
def test_nothing_has_no_members(key: str) -> None:
    assert refused(STATEFUL_SET | {key: "0"}) == "BadAnnotation"


@pytest.mark.parametrize(
    ("marks", "last"),
    [
        (EXPLICIT | {identity.REPLICA: "2048"}, "2048/0 of 1 ranks"),
        (EXPLICIT | {identity.RANK: "256"}, "7/256 of 257 ranks"),
        (EXPLICIT | {identity.REPLICA: "0", RANKS: "2049"}, "0/0 of 2049 ranks"),
        (STATEFUL_SET | {"apps.kubernetes.io/pod-index": "2000000"}, "2000000/0 of 1 ranks"),
        (STATEFUL_SET | {"apps.kubernetes.io/pod-index": "256", identity.LOCAL_RANKS: "8"}, "2055/0 of 1 ranks"),
    ],
)
def test_a_place_in_a_job_that_no_job_can_be_as_large_as_is_none(marks: dict[str, str], last: str) -> None:
    found = place(marked(marks))
    assert isinstance(found, Unplaced)
    assert (found.reason, found.message) == (
        "BadAnnotation",
        (
            f"the pod's place is {last}, not one in a job of 2048 members at most: look at checkpointheal.dev/replica, "
            "checkpointheal.dev/rank and checkpointheal.dev/ranks"
        ),
    )


def test_the_last_place_of_the_largest_job_is_one() -> None:
    assert placed(EXPLICIT | {identity.REPLICA: "2047"})[1] == "2047/0"
    assert placed(EXPLICIT | {identity.REPLICA: "255", identity.RANK: "7"}, ranks=8)[1] == "255/7"


LOCAL = "checkpointheal.dev/local-ranks"


def seated(marks: dict[str, str], local_ranks: int, ranks: int | None = None) -> list[str]:
    found = place(marked(marks | {LOCAL: str(local_ranks)} | ({RANKS: str(ranks)} if ranks else {})))
    assert isinstance(found, Placed), found
    assert found.member == found.seats.members[0]
    return [str(each) for each in found.seats.members]


@pytest.mark.parametrize("source", SEVENTH)
def test_every_source_places_the_pod_and_its_seats_follow(source: str) -> None:
    assert seated(SEVENTH[source], 2) == ["14/0", "15/0"]
    assert seated(SEVENTH[source], 2, ranks=2) == ["7/0", "7/1"]
    assert seated(SEVENTH[source], 4, ranks=2) == ["14/0", "14/1", "15/0", "15/1"]


@pytest.mark.parametrize("source", sorted(SEVENTH.keys() - {"annotations"}))
def test_a_pod_that_holds_a_block_of_ranks_is_counted_among_its_replicas_pods(source: str) -> None:
    assert seated(SEVENTH[source], 2, ranks=4) == ["3/2", "3/3"]


def test_explicit_annotations_say_the_pods_replica_and_its_block() -> None:
    rank = {identity.RANK: "1"}
    assert seated(EXPLICIT | rank, 2, ranks=4) == ["7/2", "7/3"]


def test_a_group_that_is_a_replica_needs_no_size() -> None:
    assert seated(JOBSET, 8, ranks=32) == [f"1/{rank}" for rank in range(24, 32)]


@pytest.mark.parametrize(
    ("marks", "reason", "told"),
    [
        ({LOCAL: "3", RANKS: "4"}, "LocalRanksDoNotDivide", f"{LOCAL} 3 and {RANKS} 4 do not divide each other"),
        ({LOCAL: "0"}, "BadAnnotation", "is '0', not a number, 1 or more"),
        ({LOCAL: "65"}, "BadAnnotation", "is '65', not a number, 64 at most"),
        ({LOCAL: "two"}, "BadAnnotation", "is 'two'"),
        ({LOCAL: "2", RANKS: "4", identity.RANK: "2"}, "BadAnnotation", "which are 2 with checkpointheal.dev/ranks 4"),
    ],
)
def test_local_ranks_that_cannot_be_are_refused_by_name(marks: dict[str, str], reason: str, told: str) -> None:
    found = place(marked(EXPLICIT | marks))
    assert isinstance(found, Unplaced)
    assert found.reason == reason
    assert told in found.message


@pytest.mark.parametrize("job", ["trainer\n", " trainer", "trainer ", "a\x1bb", "x" * 254])
def test_a_jobs_name_that_no_report_can_bear_is_refused_by_name(job: str) -> None:
    found = place(Metadata(annotations=EXPLICIT | {identity.JOB: job}))
    assert isinstance(found, Unplaced)
    assert found.reason == "BadAnnotation"
    wanted = "not a name: 253 printable characters at most, without spaces around them"
    assert found.message == f"{identity.JOB} is {quoted(job)}, {wanted}"


@pytest.mark.parametrize("job", ["trainer\n", "a\x1b[2J", "x" * 254])
@pytest.mark.parametrize("by", ["mark", "controller"])
def test_a_name_by_others_that_no_report_can_bear_is_refused_too(job: str, by: str) -> None:
    """Whoever makes a pod by hand writes its owner's name and its controller's marks as they like."""
    marks = {"batch.kubernetes.io/job-name": job} if by == "mark" else {}
    owner = Owner(kind="Job", name=job, controller=True)
    found = place(Metadata(annotations={identity.COMPLETION_INDEX: "0"} | marks, owner_references=(owner,)))
    assert isinstance(found, Unplaced)
    assert found.message.startswith(f"the job's name by the pod's marks or controller is {quoted(job)}, not a name")


def test_a_jobs_name_may_be_as_long_as_any() -> None:
    assert placed(EXPLICIT | {identity.JOB: "my job " + "x" * 246})[0].startswith("my job x")


def test_a_pod_of_several_seats_needs_a_name_that_each_of_them_can_bear() -> None:
    assert refused(EXPLICIT | {LOCAL: "2"}, name="p" * 252) == "BadAnnotation"
    for name, count in (("p" * 253, "1"), ("p" * 251, "2")):
        found = place(marked(EXPLICIT | {LOCAL: count}, name=name))
        assert isinstance(found, Placed)
        assert len(seat_name(name, int(count) - 1, int(count))) == 253


@pytest.mark.parametrize(("replicas", "ranks", "is_too_large"), [(256, 8, False), (2048, 1, False), (2049, 1, True)])
def test_a_job_of_more_members_than_can_be_is_told_by_its_two_numbers(
    replicas: int, ranks: int, is_too_large: bool
) -> None:
    assert Policy(replicas=replicas, ranks=ranks).is_too_large == is_too_large
