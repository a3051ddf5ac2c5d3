"""What the offline rendering makes of workloads, and what the pods of a template will find in themselves."""

import contextlib
import copy
import io
import itertools
import json
import re
from pathlib import Path
from typing import Any

import jsonpatch
import pytest
import yaml

from builders_injection import ROOT, a_pod, agent_of, annotated, injected, settings
from checkpointheal.contract.seats import MEMBER, Seats
from checkpointheal_operator.core.injected import Injection, NotInjected
from checkpointheal_operator.core.injection import inject
from checkpointheal_operator.core.injection_settings import INJECT, InjectionSettings
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.webhook import inject_command
from checkpointheal_operator.webhook.render import apply, render


def a_template(**annotations: str) -> dict[str, Any]:
    template = {"metadata": {"labels": {INJECT: "true"}}, "spec": {"containers": [{"name": "trainer", "image": "g"}]}}
    return annotated(template, **annotations) if annotations else template


def workload(api: str, kind: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": "gpt"}, "spec": spec}


def stateful_set(**annotations: str) -> dict[str, Any]:
    return workload("apps/v1", "StatefulSet", template=a_template(**annotations))


def job(mode: str = "Indexed") -> dict[str, Any]:
    return workload("batch/v1", "Job", completionMode=mode, template=a_template())


def jobset(replicas: int, completions: int, **annotations: str) -> dict[str, Any]:
    of_job = {"spec": {"completions": completions, "template": a_template(**annotations)}}
    jobs = [{"name": "workers", "replicas": replicas, "template": of_job}]
    return workload("jobset.x-k8s.io/v1alpha2", "JobSet", replicatedJobs=jobs)


def lws(replicas: int = 2, size: int = 4, **annotations: str) -> dict[str, Any]:
    of_group = {"size": size, "leaderTemplate": a_template(**annotations), "workerTemplate": a_template(**annotations)}
    return workload("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", replicas=replicas, leaderWorkerTemplate=of_group)


def pytorch_job() -> dict[str, Any]:
    specs = {"Master": {"template": a_template()}, "Worker": {"replicas": 2, "template": a_template()}}
    return workload("kubeflow.org/v1", "PyTorchJob", pytorchReplicaSpecs=specs)


def volcano() -> dict[str, Any]:
    return workload("batch.volcano.sh/v1alpha1", "Job", tasks=[{"name": "worker", "template": a_template()}])


def answers(document: dict[str, Any]) -> list[Injection | NotInjected]:
    return [each.answer for each in render([document], settings()).said]


def member(answer: Injection | NotInjected, marks: dict[str, str]) -> str:
    """What a pod with these marks reads in CHECKPOINTHEAL_MEMBER: the kubelet expands what stands before it."""
    assert isinstance(answer, Injection), answer
    trainer: Any = next(step.value for step in answer.patch if step.path.endswith("/env"))
    known: dict[str, str] = {}
    for variable in trainer:
        if "valueFrom" in variable:
            key = re.search(r"\['(.*)'\]", variable["valueFrom"]["fieldRef"]["fieldPath"])
            assert key is not None
            known[variable["name"]] = marks.get(key[1], "")
        else:
            said = variable["value"]
            known[variable["name"]] = re.sub(r"\$\((\w+)\)", lambda m: known.get(m[1], m[0]), said)
    return known["CHECKPOINTHEAL_MEMBER"]


COMPLETION = "batch.kubernetes.io/job-completion-index"
LWS, JOBSET = "leaderworkerset.sigs.k8s.io/", "jobset.sigs.k8s.io/"


@pytest.mark.parametrize(
    ("document", "marks", "expected"),
    [
        (stateful_set(), {"apps.kubernetes.io/pod-index": "3"}, ["3/0"]),
        (job(), {COMPLETION: "3"}, ["3/0"]),
        (jobset(1, 4), {COMPLETION: "3", JOBSET + "job-index": "0"}, ["3/0"]),
        (jobset(2, 4, ranks="4"), {COMPLETION: "3", JOBSET + "job-index": "1"}, ["1/3"]),
        (lws(ranks="4"), {LWS + "group-index": "1", LWS + "worker-index": "2"}, ["1/2", "1/2"]),
        (volcano(), {"volcano.sh/task-index": "5"}, ["5/0"]),
        (stateful_set(replica="2", rank="1"), {}, ["2/1"]),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) and "kind" in value else "",
)
def test_a_templates_pods_find_their_place_in_themselves(
    document: dict[str, Any], marks: dict[str, str], expected: list[str]
) -> None:
    found = answers(document)
    assert [member(each, marks) for each in found] == expected
    assert all(isinstance(each, Injection) and each.report.job == "gpt" for each in found)


@pytest.mark.parametrize(
    ("document", "reasons"),
    [
        (stateful_set(ranks="2"), ["NotInTemplate"]),
        (jobset(2, 4), ["NotInTemplate"]),
        (jobset(2, 4, ranks="2"), ["NotInTemplate"]),
        (lws(), ["NotInTemplate", "NotInTemplate"]),
        (pytorch_job(), ["Injected", "NotInTemplate"]),
        (job("NonIndexed"), ["NoPlace"]),
        (workload("apps/v1", "Deployment", template=a_template()), ["NoPlace"]),
        (stateful_set(ranks="two"), ["BadAnnotation"]),
        (workload("ray.io/v1", "RayCluster", workerGroupSpecs=[{"template": a_template()}]), ["KindUnknown"]),
    ],
)
def test_a_layout_that_would_need_calculating_is_left_to_the_webhook(
    document: dict[str, Any], reasons: list[str]
) -> None:
    found = [each.report.reason if isinstance(each, Injection) else each.reason for each in answers(document)]
    assert found == reasons


@pytest.mark.parametrize(
    ("document", "marks", "seats"),
    [
        (stateful_set(local_ranks="2"), {"apps.kubernetes.io/pod-index": "3"}, ["6/0", "7/0"]),
        (stateful_set(local_ranks="2", ranks="2"), {"apps.kubernetes.io/pod-index": "3"}, ["3/0", "3/1"]),
        (stateful_set(local_ranks="2", replica="3"), {}, ["6/0", "7/0"]),
        (jobset(2, 2, local_ranks="2", ranks="4"), {JOBSET + "job-index": "1", COMPLETION: "1"}, ["1/2", "1/3"]),
        (lws(local_ranks="2", ranks="8"), {LWS + "group-index": "1", LWS + "worker-index": "3"}, ["1/6", "1/7"]),
    ],
)
def test_a_templates_pods_find_all_their_seats_in_themselves(
    document: dict[str, Any], marks: dict[str, str], seats: list[str]
) -> None:
    answer = answers(document)[-1]
    assert isinstance(answer, Injection)
    variables: Any = next(step.value for step in answer.patch if step.path.endswith("/env"))
    told = {each["name"]: each.get("value", "") for each in variables} | {MEMBER: member(answer, marks)}
    assert [str(each) for each in Seats.told(told).members] == seats


def generated(document: dict[str, Any]) -> dict[str, Any]:
    return document | {"metadata": {"generateName": "gpt-"}}


@pytest.mark.parametrize("document", [stateful_set(), job(), jobset(1, 4), lws(ranks="4"), volcano(), pytorch_job()])
def test_a_workload_without_a_name_is_refused_for_its_pods_would_be_of_no_job(document: dict[str, Any]) -> None:
    for each in render([generated(document)], settings()).said:
        assert isinstance(each.answer, NotInjected)
        assert each.answer.reason == "NoJob"
        assert each.answer.message.endswith("annotate checkpointheal.dev/job, or give the manifest a name of its own")
        assert each.name.startswith(f"{document['kind']}/gpt-/spec/")


def test_a_workload_without_a_name_whose_template_names_the_job_is_rendered() -> None:
    (answer,) = answers(generated(stateful_set(job="gpt")))
    assert isinstance(answer, Injection)
    assert answer.report.job == "gpt"


def members_of(document: dict[str, Any], groups: int, size: int) -> list[tuple[dict[str, Any], dict[str, str]]]:
    """The pods of a JobSet's or a LeaderWorkerSet's template as its controller makes them, with their marks."""
    pods = []
    for group, index in itertools.product(range(groups), range(size)):
        if document["kind"] == "JobSet":
            template = document["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]
            marks = {JOBSET + "jobset-name": "gpt", JOBSET + "job-index": str(group), COMPLETION: str(index)}
            marks[JOBSET + "replicatedjob-replicas"] = str(groups)
        else:
            template = document["spec"]["leaderWorkerTemplate"]["workerTemplate"]
            marks = {LWS + "name": "gpt", LWS + "group-index": str(group), LWS + "worker-index": str(index)}
            marks[LWS + "size"] = str(size)
        pod = copy.deepcopy(template)
        pod["metadata"] |= {"name": f"gpt-{group}-{index}"}
        pod["metadata"]["labels"] |= marks
        pods.append((pod, marks))
    return pods


LAYOUTS = list(itertools.product((1, 2, 4), (1, 2, 4), (1, 2, 4, 8), (1, 2, 8), (None, 1, 2)))


@pytest.mark.parametrize("make", [jobset, lws])
def test_what_is_promised_to_a_template_is_what_everybody_finds_on_its_pods(make: Any) -> None:
    promised = 0
    for groups, size, ranks, local_ranks, group_size in LAYOUTS:
        asked = {"ranks": ranks, "local_ranks": local_ranks, "group_size": group_size}
        document = make(groups, size, **{key: str(said) for key, said in asked.items() if said is not None})
        rendering = render([document], settings())
        answer = rendering.said[-1].answer
        if isinstance(answer, NotInjected):
            continue
        promised += 1
        for pod, marks in members_of(rendering.documents[0], groups, size):
            again = inject(pod, settings())
            assert isinstance(again, Injection), (again, asked)
            assert (again.patch, again.report.member) == ((), member(answer, marks)), asked
    assert promised > len(LAYOUTS) // 20


def test_a_leader_worker_set_of_one_group_is_rendered_as_one_that_may_get_more() -> None:
    marks = {LWS + "group-index": "1", LWS + "worker-index": "2"}
    assert [member(each, marks) for each in answers(lws(1, ranks="4"))] == ["1/2", "1/2"]
    assert [each.reason for each in answers(lws(1)) if isinstance(each, NotInjected)] == ["NotInTemplate"] * 2


def test_a_group_whose_size_its_pods_do_not_tell_is_told_by_the_template() -> None:
    once = render([jobset(4, 1)], settings()).documents
    template = once[0]["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]
    assert template["metadata"]["annotations"]["checkpointheal.dev/group-size"] == "1"
    assert render(once, settings()).documents == once
    annotated_already = render([jobset(4, 1, arena_size="2Gi")], settings()).documents[0]
    template = annotated_already["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]
    assert template["metadata"]["annotations"]["checkpointheal.dev/group-size"] == "1"


def test_the_webhook_leaves_a_rendered_templates_pod_as_it_is() -> None:
    rendered = render([stateful_set()], settings()).documents[0]["spec"]["template"]
    pod = copy.deepcopy(rendered)
    pod["metadata"] |= {"ownerReferences": [{"kind": "StatefulSet", "name": "gpt", "controller": True}]}
    pod["metadata"]["labels"] |= {"apps.kubernetes.io/pod-index": "3"}
    again = inject(pod, settings())
    assert isinstance(again, Injection)
    assert (again.patch, again.report.reason) == ((), "AlreadyInjected")


def test_rendering_twice_is_rendering_once() -> None:
    once = render([stateful_set(), lws(ranks="4")], settings()).documents
    assert render(once, settings()).documents == once


def test_what_is_no_workload_comes_back_as_it_went_in() -> None:
    others = [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "gpt"}, "spec": {"template": 1}},
        {"apiVersion": "apps/v1", "kind": "StatefulSet"},
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": None, "spec": {"template": None}},
        {"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "spec": {"replicatedJobs": [None, 1]}},
        {"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "spec": {"pytorchReplicaSpecs": {"Worker": None}}},
        {"kind": "List", "items": None},
        {},
    ]
    rendering = render(others, settings())
    assert (list(rendering.documents), rendering.said) == (others, ())


def nested(kind: str, *path: str) -> dict[str, Any]:
    """A kind that nobody knows, with an opted-in template at that path."""
    part: Any = a_template()
    for key in reversed(path):
        part = [part] if key == "[]" else {key: part}
    return {"apiVersion": "example.com/v1", "kind": kind, "metadata": {"name": "gpt"}, **part}


@pytest.mark.parametrize(
    ("document", "where"),
    [
        (nested("RayCluster", "spec", "workerGroupSpecs", "[]", "template"), "spec/workerGroupSpecs/0/template"),
        (nested("CronJob", "spec", "jobTemplate", "spec", "template"), "spec/jobTemplate/spec/template"),
        (nested("MPIJob", "spec", "mpiReplicaSpecs", "Worker", "template"), "spec/mpiReplicaSpecs/Worker/template"),
        (nested("PodTemplate", "template"), "template"),
    ],
)
def test_a_template_that_opted_in_is_named_where_its_kind_is_not_known(
    document: dict[str, Any], where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inject_command.main(["-f", written(tmp_path, document)]) == inject_command.REFUSED
    out, err = capsys.readouterr()
    assert yaml.safe_load(out) == document
    kind = document["kind"]
    assert err == f"{kind}/gpt/{where}: KindUnknown: {Reason.KIND_UNKNOWN.tell(kind=kind)}\n"


def test_a_template_of_a_known_kind_is_told_of_once_and_another_one_in_it_too() -> None:
    document = stateful_set()
    document["spec"]["elsewhere"] = a_template()
    said = [(each.name, isinstance(each.answer, Injection)) for each in render([document], settings()).said]
    assert said == [("StatefulSet/gpt/spec/template", True), ("StatefulSet/gpt/spec/elsewhere", False)]


def test_pods_in_a_list_are_rendered_and_nothing_given_is_written_to() -> None:
    given = {"apiVersion": "v1", "kind": "List", "items": [a_pod(), a_pod()]}
    before = copy.deepcopy(given)
    rendered = render([given], settings()).documents[0]
    assert rendered["items"] == [injected(a_pod())] * 2
    assert given == before


def test_a_patch_does_the_same_in_our_hands_as_in_anybodys() -> None:
    pod = a_pod({"env": [{"name": "A"}]}, initContainers=[{"name": "first"}], volumes=[])
    answer = inject(pod, settings())
    assert isinstance(answer, Injection)
    changed = copy.deepcopy(pod)
    apply(changed, answer.patch)
    assert changed == jsonpatch.apply_patch(pod, [step.model_dump(mode="json") for step in answer.patch])


def written(folder: Path, *documents: dict[str, Any]) -> str:
    path = folder / "manifests.yaml"
    path.write_text(yaml.safe_dump_all(documents))
    return str(path)


def test_the_command_writes_manifests_and_says_what_became_of_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "settings.json").write_text(settings().model_dump_json())
    file = written(tmp_path, stateful_set(), {"kind": "Service"})
    assert inject_command.main(["-f", file, "--settings", str(tmp_path / "settings.json")]) == 0
    out, err = capsys.readouterr()
    first, second = yaml.safe_load_all(out)
    assert agent_of(first["spec"]["template"])["image"] == settings().image
    assert second == {"kind": "Service"}
    assert err.startswith("StatefulSet/gpt/spec/template: Injected: ")
    assert "value: |\n" in out
    assert "&id" not in out


class Terminal(io.StringIO):
    """Somebody looks at it."""

    def isatty(self) -> bool:
        return True


def test_an_agent_that_could_believe_no_gateway_is_not_written_where_it_could_be_applied(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inject_command.main(["-f", written(tmp_path, stateful_set())]) == inject_command.REFUSED
    out, err = capsys.readouterr()
    assert out == ""
    assert f"checkpointheal inject: nothing is written: {inject_command.ROOTLESS}" in err


def test_an_agent_that_could_believe_no_gateway_is_shown_to_whoever_looks_at_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.redirect_stdout(Terminal()) as terminal:
        assert inject_command.main(["-f", written(tmp_path, stateful_set())]) == 0
    assert agent_of(yaml.safe_load(terminal.getvalue())["spec"]["template"])
    assert f"checkpointheal inject: {inject_command.ROOTLESS}" in capsys.readouterr().err


def test_an_agent_that_is_given_a_root_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "root.pem"
    root.write_text(ROOT)
    assert inject_command.main(["-f", written(tmp_path, stateful_set()), "--gateway-root", str(root)]) == 0
    out, err = capsys.readouterr()
    assert inject_command.ROOTLESS not in err
    agent = agent_of(yaml.safe_load(out)["spec"]["template"])
    assert {"name": "CHECKPOINTHEAL_GATEWAY_ROOT", "value": ROOT} in agent["env"]


@pytest.mark.parametrize(
    ("pod", "said"),
    [
        pytest.param(injected(a_pod()), None, id="one that has it already"),
        pytest.param(a_pod(), settings(gateway="http://gateway:8080", gateway_root=""), id="a gateway without TLS"),
        pytest.param({"kind": "Service"}, None, id="no pod at all"),
    ],
)
def test_nobody_asks_for_a_root_that_nothing_needs(
    pod: dict[str, Any], said: InjectionSettings | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, told = written(tmp_path, pod), tmp_path / "settings.json"
    told.write_text(said.model_dump_json() if said else "")
    assert inject_command.main(["-f", file, *(["--settings", str(told)] if said else [])]) == 0
    out, err = capsys.readouterr()
    assert yaml.safe_load(out)
    assert inject_command.ROOTLESS not in err


def test_the_command_tells_by_its_status_that_something_was_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inject_command.main(["-f", written(tmp_path, job("NonIndexed"))]) == inject_command.REFUSED
    assert "NoPlace" in capsys.readouterr().err


def test_a_pod_that_did_not_opt_in_is_no_refusal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pod = a_pod()
    del pod["metadata"]["labels"][INJECT]
    assert inject_command.main(["-f", written(tmp_path, pod)]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == pod


@pytest.mark.parametrize("text", ["a: [", "\x00", json.dumps({"a": 1}) + "}"])
def test_a_file_that_cannot_be_read_is_one_line(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    assert inject_command.main(["-f", str(tmp_path / "bad.yaml")]) == inject_command.USAGE_ERROR
    said = capsys.readouterr().err
    assert said.startswith("checkpointheal inject: ")
    assert said.count("\n") == 1


def test_a_file_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert inject_command.main(["-f", "/nowhere/at-all.yaml"]) == inject_command.USAGE_ERROR
    assert "/nowhere/at-all.yaml" in capsys.readouterr().err
