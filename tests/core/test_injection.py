"""What injection adds, for every combination of what it depends on. Whole pods are in `tests/injection`."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from builders_injection import ROOT, a_pod, agent_of, annotated, injected, patched, refusal, settings
from checkpointheal_operator.core.annotations import PREFIX
from checkpointheal_operator.core.identity import SOURCES
from checkpointheal_operator.core.injected import Injection
from checkpointheal_operator.core.injection import inject
from checkpointheal_operator.core.injection_settings import ANNOTATIONS, INJECT, INJECTED, InjectionSettings
from checkpointheal_operator.core.quantities import amount, whole

USERS: list[int | None] = [None, 0, 1000, 2000]


def report_of(pod: dict[str, Any], **changes: object) -> Any:
    answer = inject(pod, settings(**changes))
    assert isinstance(answer, Injection), answer
    return answer.report


@pytest.mark.parametrize(("of_pod", "of_container"), list(itertools.product(USERS, USERS)))
def test_the_agent_is_the_trainers_user_unless_that_is_root_or_not_named(
    of_pod: int | None, of_container: int | None
) -> None:
    pod = a_pod(
        {} if of_container is None else {"securityContext": {"runAsUser": of_container}},
        **({} if of_pod is None else {"securityContext": {"runAsUser": of_pod}}),
    )
    effective = of_pod if of_container is None else of_container
    security = agent_of(injected(pod))["securityContext"]
    assert security["runAsUser"] == (effective or 65532)
    assert ("runAsGroup" in security) == (not effective)


@pytest.mark.parametrize("how", [{"shareProcessNamespace": True}, {"hostPID": True}])
@pytest.mark.parametrize(
    ("of_pod", "of_container", "agents"), [(1000, None, 1001), (None, 1000, 1001), (2000, 1000, 1001)]
)
def test_where_processes_are_shared_the_agent_is_a_user_that_nobody_else_is(
    how: dict[str, Any], of_pod: int | None, of_container: int | None, agents: int
) -> None:
    container = {} if of_container is None else {"securityContext": {"runAsUser": of_container}}
    pod = a_pod(container, **how, **({} if of_pod is None else {"securityContext": {"runAsUser": of_pod}}))
    assert agent_of(injected(pod))["securityContext"]["runAsUser"] == agents
    assert report_of(pod).notes == ()
    assert inject(injected(pod), settings()).report.user == agents


def test_where_processes_are_shared_the_users_of_all_containers_count() -> None:
    others = [{"name": "first", "securityContext": {"runAsUser": 1001}}]
    pod = a_pod(shareProcessNamespace=True, securityContext={"runAsUser": 1000}, initContainers=others)
    assert agent_of(injected(pod))["securityContext"]["runAsUser"] == 1002


@pytest.mark.parametrize(("user", "agents"), [(None, 65532), (0, 65532), ((1 << 31) - 1, 65532)])
def test_where_processes_are_shared_and_no_user_can_be_reckoned_the_installation_says(
    user: int | None, agents: int
) -> None:
    pod = a_pod({"securityContext": {"runAsUser": user}}, shareProcessNamespace=True)
    assert agent_of(injected(pod))["securityContext"]["runAsUser"] == agents
    assert [each.reason for each in report_of(pod).notes] == ([] if user else ["ProcessesShared"])


def test_of_containers_that_see_the_agent_those_that_may_be_anybody_are_named() -> None:
    beside = [{"name": "proxy"}, {"name": "root", "securityContext": {"runAsUser": 0}}]
    pod = a_pod({"securityContext": {"runAsUser": 1000}}, shareProcessNamespace=True, initContainers=beside)
    (note,) = report_of(pod).notes
    assert "and proxy, root may run as root" in note.message
    assert inject(injected(pod), settings()).report.notes == (note,)


def test_the_containers_group_and_selinux_labels_are_the_agents_too() -> None:
    own = {"runAsUser": 1000, "runAsGroup": 3000, "seLinuxOptions": {"level": "s0:c1,c2"}}
    security = agent_of(injected(a_pod({"securityContext": own})))["securityContext"]
    assert {key: security[key] for key in own} == own


@pytest.mark.parametrize("none", ["0", 0, "0Gi", 0.0])
def test_who_asks_for_no_accelerator_by_a_zero_is_not_the_trainer_for_it(none: str | float) -> None:
    zero, one = ({"resources": {"limits": {"nvidia.com/gpu": each}}} for each in (none, "8"))
    pod = a_pod()
    pod["spec"]["containers"] = [{"name": "logger", **zero}, {"name": "trainer", **one}]
    assert report_of(pod).trainer == "trainer"
    pod["spec"]["containers"] = [{"name": "logger", **zero}, {"name": "trainer"}]
    assert refusal(pod).reason == "TrainerAmbiguous"


CPU = [None, ("1", "1"), ("1", "2"), ("1", "1000m"), (None, "2"), ("1", None)]
MEMORY = [None, ("1Gi", "1Gi"), ("1Gi", "2Gi"), (None, "1024Mi"), ("1Gi", None)]


def bounded(cpu: tuple[str | None, str | None] | None, memory: tuple[str | None, str | None] | None) -> dict[str, Any]:
    """Resources of a container: of each, what is requested and what it is limited to."""
    resources: dict[str, Any] = {"requests": {}, "limits": {}}
    for name, pair in (("cpu", cpu), ("memory", memory)):
        for kind, text in zip(("requests", "limits"), pair or (None, None), strict=True):
            if text is not None:
                resources[kind][name] = text
    return resources


def quality(pod: dict[str, Any]) -> str:
    """The class that the kubelet derives, by the rule as Kubernetes documents it, written down once more."""
    found, any_said = True, False
    for container in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]:
        limits = container.get("resources", {}).get("limits", {})
        requests = limits | container.get("resources", {}).get("requests", {})
        any_said = any_said or bool(requests)
        for name in ("cpu", "memory"):
            if name not in limits or amount(limits[name]) != amount(requests[name]):
                found = False
    if found:
        return "Guaranteed"
    return "Burstable" if any_said else "BestEffort"


@pytest.mark.parametrize(("cpu", "memory", "beside"), list(itertools.product(CPU, MEMORY, [None, "free", "fixed"])))
def test_a_guaranteed_pod_stays_guaranteed_and_no_other_becomes_it(cpu: Any, memory: Any, beside: str | None) -> None:
    others = {"free": {}, "fixed": bounded(("1", "1"), ("1Gi", "1Gi"))}
    init = {} if beside is None else {"initContainers": [{"name": "first", "resources": others[beside]}]}
    pod = a_pod({"resources": bounded(cpu, memory)}, **init)
    after = injected(pod)
    assert (quality(after) == "Guaranteed") == (quality(pod) == "Guaranteed") == report_of(pod).guaranteed


@pytest.mark.parametrize(("cpu", "memory"), list(itertools.product(CPU, MEMORY)))
def test_where_every_container_has_a_limit_the_agent_has_one(cpu: Any, memory: Any) -> None:
    """A quota over limits refuses a pod with a container that has none."""
    pod = a_pod({"resources": bounded(cpu, memory)})
    limits = agent_of(injected(pod))["resources"]["limits"]
    assert "memory" in limits
    assert ("cpu" in limits) == ("cpu" in pod["spec"]["containers"][0]["resources"]["limits"])


@pytest.mark.parametrize("beside", [True, False])
def test_where_every_container_is_limited_in_its_disk_the_agent_is(beside: bool) -> None:
    limited = {"resources": {"limits": {"ephemeral-storage": "10Gi"}}}
    pod = a_pod(limited, initContainers=[{"name": "first", **(limited if beside else {})}])
    resources = agent_of(injected(pod))["resources"]
    assert ("ephemeral-storage" in resources["limits"]) == ("ephemeral-storage" in resources["requests"]) == beside


@pytest.mark.parametrize("asked", [{}, {"agent_cpu": "2"}, {"agent_cpu": "250m"}])
@pytest.mark.parametrize(("cpu", "memory"), list(itertools.product(CPU, MEMORY)))
def test_no_agent_is_promised_more_than_it_may_use(asked: dict[str, str], cpu: Any, memory: Any) -> None:
    resources = agent_of(injected(annotated(a_pod({"resources": bounded(cpu, memory)}), **asked)))["resources"]
    for name, limit in resources["limits"].items():
        assert amount(resources["requests"][name]) <= amount(limit)


@pytest.mark.parametrize("arena", ["1Mi", "1500M", "6Gi"])
@pytest.mark.parametrize("memory", ["1Mi", "768Mi"])
def test_memory_is_the_arena_and_what_the_agent_needs_besides(arena: str, memory: str) -> None:
    pod = injected(annotated(a_pod(), arena_size=arena, agent_memory=memory))
    promised = agent_of(pod)["resources"]["requests"]["memory"]
    assert whole(promised) == whole(arena) + whole(memory)
    volume = next(each for each in pod["spec"]["volumes"] if each["name"] == "checkpointheal-arena")
    assert volume["emptyDir"] == {"medium": "Memory", "sizeLimit": arena}


@pytest.mark.parametrize(
    ("key", "text"),
    [
        *(("arena_size", text) for text in ("", "0", "1", "-1Gi", "2GB", "1023Ki", "2Ei", "lots")),
        *(("agent_memory", text) for text in ("", "0", "512mi")),
        *(("agent_cpu", text) for text in ("", "0", "one", "-1")),
        *(("agent_image", text) for text in ("", " ", "a b", "a\nb")),
        *(("job", text) for text in ("trainer\n", " trainer")),
    ],
)
def test_a_bad_annotation_is_refused_by_name_and_shown(key: str, text: str) -> None:
    said = refusal(annotated(a_pod(), **{key: text}))
    assert said.reason == "BadAnnotation"
    assert said.message.startswith(f"{PREFIX}{key.replace('_', '-')} is {text!r}, not ")


@pytest.mark.parametrize("host_network", [True, False])
@pytest.mark.parametrize("taken", [True, False])
@pytest.mark.parametrize("by", ["trainer", "init"])
def test_the_port_is_fixed_where_nobody_else_can_have_it(host_network: bool, taken: bool, by: str) -> None:
    ports = {"ports": [{"containerPort": 7460 if taken else 29500}]}
    pod = a_pod(ports if by == "trainer" else {}, hostNetwork=host_network, dnsPolicy="ClusterFirstWithHostNet")
    if by == "init":
        pod["spec"]["initContainers"] = [{"name": "proxy", "restartPolicy": "Always", **ports}]
    agent, report = agent_of(injected(pod)), report_of(pod)
    free = not host_network and not taken
    assert report.port == (7460 if free else 0)
    assert {"name": "CHECKPOINTHEAL_PORT", "value": str(report.port)} in agent["env"]
    assert ("ports" in agent) == free
    assert [note.reason for note in report.notes] == ([] if free else ["PortNotFixed"])


@pytest.mark.parametrize("host_network", [True, False])
@pytest.mark.parametrize("names", ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"])
def test_a_pod_that_cannot_find_the_gateway_is_told(host_network: bool, names: str) -> None:
    report = report_of(a_pod(hostNetwork=host_network, dnsPolicy=names))
    lost = names in ("Default", "None") or (host_network and names == "ClusterFirst")
    assert ("GatewayNotFound" in [note.reason for note in report.notes]) == lost


def test_a_pod_with_servers_of_its_own_finds_the_gateway_by_what_it_says_to_search() -> None:
    report = report_of(a_pod(dnsPolicy="None", dnsConfig={"searches": ["cluster.local"]}))
    assert "GatewayNotFound" not in [note.reason for note in report.notes]


@pytest.mark.parametrize("log", ["text", "json"])
def test_an_agent_is_told_to_log_for_machines_only_where_the_installation_does(log: str) -> None:
    agent = agent_of(injected(a_pod(), log=log))
    assert ({"name": "CHECKPOINTHEAL_LOG", "value": "json"} in agent["env"]) == (log == "json")


def test_under_host_network_nothing_is_said_twice_on_the_second_pass() -> None:
    pod = injected(a_pod(hostNetwork=True))
    assert inject(pod, settings()) == inject(injected(pod), settings())


@pytest.mark.parametrize("value", [None, "", "false", "True", "TRUE", "yes", "1", " true"])
def test_only_true_is_yes(value: str | None) -> None:
    pod = a_pod()
    del pod["metadata"]["labels"][INJECT]
    if value is not None:
        pod["metadata"]["labels"][INJECT] = value
    said = refusal(pod)
    assert (said.reason, said.warnings) == ("NotOptedIn", ())


def test_an_annotation_is_no_opting_in() -> None:
    pod = a_pod()
    pod["metadata"]["annotations"] = {INJECT: pod["metadata"]["labels"].pop(INJECT)}
    assert refusal(pod).reason == "NotOptedIn"


PLAIN, GPU, MESH = {}, {"resources": {"limits": {"nvidia.com/gpu": "1"}}}, None
"""A container, one that asks for an accelerator, one that a mesh put there."""


@pytest.mark.parametrize("kinds", [k for n in (1, 2, 3) for k in itertools.product((PLAIN, GPU, MESH), repeat=n)])
@pytest.mark.parametrize("named", [None, "c0", "c1", "nobody"])
def test_the_trainer_is_the_named_one_else_the_first_accelerated_else_the_only_one(
    kinds: tuple[dict[str, Any] | None, ...], named: str | None
) -> None:
    names = [f"c{i}" if kind is not None else f"mesh-{i}" for i, kind in enumerate(kinds)]
    pod = a_pod()
    pod["spec"]["containers"] = [{"name": name, **(kind or {})} for name, kind in zip(names, kinds, strict=True)]
    if named is not None:
        pod = annotated(pod, trainer_container=named)
    own = [name for name in names if not name.startswith("mesh")]
    accelerated = [name for name, kind in zip(names, kinds, strict=True) if kind is GPU]
    expected = named if named in names else None if named else accelerated[0] if accelerated else None
    if expected is None and named is None and len(own) == 1:
        expected = own[0]
    answer = inject(pod, settings(bystanders=tuple(f"mesh-{i}" for i in range(3))))
    if isinstance(answer, Injection):
        assert answer.report.trainer == expected
    else:
        assert (answer.reason, expected) == ("TrainerNotFound" if named else "TrainerAmbiguous", None)


NEVER_WRITTEN = ("configMap", "downwardAPI", "projected", "secret")


def mounting(path: str, volume: dict[str, Any] | None = None, **mount: object) -> dict[str, Any]:
    """A trainer with a volume of its own there."""
    mounts = [{"name": "own", "mountPath": path} | mount]
    return a_pod({"volumeMounts": mounts}, volumes=[{"name": "own"} | (volume or {})])


@pytest.mark.parametrize(
    "pod",
    [
        mounting("/run"),
        mounting("/run", volume={"emptyDir": {}}, readOnly=False),
        mounting("/run/checkpointheal", volume={"configMap": None}, readOnly=None),
        mounting("/run/check", volume={"secret": {}}, readOnly=True),
        mounting("/run/checkpointheal/arenas", volume={"secret": {}}),
    ],
)
def test_a_mount_that_leaves_room_for_the_arena_stays(pod: dict[str, Any]) -> None:
    own, arena = injected(pod)["spec"]["containers"][0]["volumeMounts"]
    assert own == pod["spec"]["containers"][0]["volumeMounts"][0]
    assert arena["mountPath"] == "/run/checkpointheal/arena"


@pytest.mark.parametrize("field", ["env", "volumeMounts", "resources", "securityContext", "ports"])
def test_null_is_the_same_as_nothing(field: str) -> None:
    trainer = injected(a_pod({field: None}))["spec"]["containers"][0]
    assert {k: v for k, v in trainer.items() if v is not None} == injected(a_pod())["spec"]["containers"][0]


@pytest.mark.parametrize("field", ["initContainers", "volumes", "securityContext"])
def test_null_in_the_pod_is_the_same_as_nothing(field: str) -> None:
    spec = injected(a_pod(**{field: None}))["spec"]
    assert {k: v for k, v in spec.items() if v is not None} == injected(a_pod())["spec"]


@pytest.mark.parametrize(
    ("pod", "what"),
    [
        (a_pod(volumes=[{"name": "checkpointheal-arena"}]), "a volume checkpointheal-arena"),
        (a_pod(volumes=[{"name": "checkpointheal-token"}]), "a volume checkpointheal-token"),
        (a_pod({"name": "checkpointheal-agent"}), "a container checkpointheal-agent"),
        (a_pod({"env": [{"name": "CHECKPOINTHEAL_ARENA"}]}), "a variable CHECKPOINTHEAL_ARENA"),
        (
            a_pod({"volumeMounts": [{"name": "x", "mountPath": "/run/checkpointheal/arena"}]}),
            "a mount at /run/checkpointheal/arena",
        ),
        (mounting("/run/checkpointheal/arena/"), "a mount at /run/checkpointheal/arena/"),
        (mounting("/run/checkpointheal/arena/shared"), "a mount at /run/checkpointheal/arena/shared"),
        (mounting("/run", readOnly=True), "a mount at /run of its own"),
        (mounting("/run/checkpointheal/", readOnly=True), "a mount at /run/checkpointheal/ of its own"),
        *((mounting("/run", volume={kind: {}}), "a mount at /run of its own") for kind in NEVER_WRITTEN),
    ],
)
def test_a_name_of_ours_that_is_somebody_elses_is_refused(pod: dict[str, Any], what: str) -> None:
    said = refusal(pod)
    assert said.reason == "NameTaken"
    assert what in said.message


def test_a_variable_of_the_user_that_is_not_ours_to_set_stays() -> None:
    own = {"name": "CHECKPOINTHEAL_RESTORE_BUDGET", "value": "60"}
    assert injected(a_pod({"env": [own]}))["spec"]["containers"][0]["env"][0] == own


def test_a_container_put_in_later_does_not_make_the_trainer_ambiguous() -> None:
    pod = injected(a_pod())
    pod["spec"]["containers"].insert(0, {"name": "late-proxy"})
    assert report_of(pod).reason == "AlreadyInjected"
    assert report_of(pod).trainer == "trainer"


@pytest.mark.parametrize("key", ANNOTATIONS)
def test_a_misspelt_annotation_gets_the_nearest_one_told(key: str) -> None:
    pod = a_pod()
    pod["metadata"]["annotations"] = {f"{key}x": "1", "example.com/other": "x"}
    notes = report_of(pod).notes
    assert [note.reason for note in notes] == ["UnknownAnnotation"]
    assert notes[0].message.endswith(f"{key}?")


@pytest.mark.parametrize(
    "changes",
    [{"arena": "2GB"}, {"memory": "0"}, {"cpu": "-1"}, {"image": ""}, {"gateway": "gateway"}, {"user": 0}, {"prot": 1}],
)
def test_settings_that_would_spoil_every_pod_are_no_settings(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        InjectionSettings.model_validate(settings().model_dump() | changes)


def test_the_page_tells_every_annotation_and_every_source() -> None:
    told = (Path(__file__).parents[2] / "docs" / "injection.md").read_text()
    assert [key for key in ANNOTATIONS if f"`{key}`" not in told] == []
    assert [key for source in SOURCES for key in (source.index, source.group) if key and f"`{key}`" not in told] == []


@pytest.mark.parametrize("policy", [None, "Never", "IfNotPresent"])
def test_the_image_is_pulled_as_the_settings_say_or_as_kubernetes_does(policy: str | None) -> None:
    agent = agent_of(injected(a_pod(), image_pull_policy=policy))
    assert agent.get("imagePullPolicy") == policy


@pytest.mark.parametrize("limit", ["a lot", "1x"])
def test_a_quantity_that_cannot_be_read_is_left_to_the_api_server(limit: str) -> None:
    pod = a_pod({"resources": {"limits": {"cpu": limit, "memory": "1Gi"}}})
    assert agent_of(injected(pod))["name"]
    assert report_of(pod).guaranteed == report_of(a_pod({"resources": bounded((None, "2"), (None, "1Gi"))})).guaranteed


@pytest.mark.parametrize("user", [-1, 1 << 31, 1 << 64])
def test_a_user_that_no_pod_can_have_makes_the_pod_unreadable(user: int) -> None:
    answer = refusal(a_pod({"securityContext": {"runAsUser": user}}))
    assert answer.reason == "UnreadablePod"
    assert "runAsUser" in answer.message


def test_memory_is_given_for_each_local_rank_and_processors_for_the_pod():
    pod = injected(annotated(a_pod(), local_ranks="8", arena_size="24Gi", agent_memory="1Gi", agent_cpu="2"))
    resources, volumes = agent_of(pod)["resources"], {each["name"]: each for each in pod["spec"]["volumes"]}
    assert volumes["checkpointheal-arena"]["emptyDir"]["sizeLimit"] == "192Gi"
    assert resources == {"requests": {"cpu": "2", "memory": "200Gi"}, "limits": {"memory": "200Gi"}}


def test_one_local_rank_is_injected_as_if_nobody_had_spoken_of_it():
    said, unsaid = injected(annotated(a_pod(), local_ranks="1")), injected(a_pod())
    del said["metadata"]["annotations"]["checkpointheal.dev/local-ranks"]
    assert said == unsaid


@pytest.mark.parametrize("taken", [7460, 7463])
def test_a_port_of_any_local_rank_that_is_taken_leaves_all_to_chance(taken: int):
    answer = inject(annotated(a_pod({"ports": [{"containerPort": taken}]}), local_ranks="4"), settings())
    assert isinstance(answer, Injection)
    (note,) = answer.report.notes
    assert (answer.report.port, note.reason) == (0, "PortNotFixed")
    assert f"another container of the pod listens on {taken}" in note.message


def test_ports_beyond_the_last_one_are_left_to_chance():
    answer = inject(annotated(a_pod(), local_ranks="4"), settings(port=65533))
    assert isinstance(answer, Injection)
    assert [each.message for each in answer.report.notes] == [
        "the agent listens on any free port, because there is no port 65536 for its last local rank"
    ]
    assert inject(annotated(a_pod(), local_ranks="3"), settings(port=65533)).report.port == 65533


def test_a_mesh_is_to_let_go_of_the_ports_of_all_local_ranks():
    pod = annotated(a_pod(initContainers=[{"name": "linkerd-proxy"}]), local_ranks="2")
    (note,) = inject(pod, settings()).report.notes
    assert "carries the agent's port 7460-7461" in note.message


MESHES = {
    "istio-proxy": "traffic.sidecar.istio.io/excludeInboundPorts",
    "linkerd-proxy": "config.linkerd.io/skip-inbound-ports",
}


@pytest.mark.parametrize(("proxy", "key"), MESHES.items())
def test_a_mesh_that_comes_after_us_is_noted_on_the_pod_when_we_are_asked_again(proxy: str, key: str) -> None:
    pod = injected(a_pod())
    pod["spec"]["initContainers"].append({"name": proxy, "restartPolicy": "Always"})
    answer = inject(pod, settings())
    assert isinstance(answer, Injection)
    assert [each.path for each in answer.patch] == ["/metadata/annotations/checkpointheal.dev~1injected"]
    after = patched(pod, answer)
    assert json.loads(after["metadata"]["annotations"][INJECTED])["notes"] == ["MeshInTheWay"]
    assert f"by the annotation {key} of the pod template" in answer.report.notes[0].message
    assert inject(after, settings()).patch == ()


@pytest.mark.parametrize(
    "written", ['{"build": "0.0.9", "notes": [], "trainer": "trainer"}', "by hand", "[" * 9999, "[]"]
)
def test_a_mark_that_another_build_or_a_person_made_stays(written: str) -> None:
    pod = injected(a_pod())
    pod["metadata"]["annotations"][INJECTED] = written
    pod["spec"]["initContainers"].append({"name": "istio-proxy", "restartPolicy": "Always"})
    assert inject(pod, settings()).patch == ()


@pytest.mark.parametrize(("proxy", "key"), MESHES.items())
@pytest.mark.parametrize(
    ("said", "is_out"),
    [
        *(("7460,7461", True), ("80, 7460-7467", True), ("7460", False), ("", False), ("746,74600", False)),
        *(("7460:7467", False), ("all", False), ("9" * 9999, False), ("80," * 9999 + "7460-7461", False)),
    ],
)
def test_a_mesh_that_was_told_to_let_go_of_the_ports_is_no_matter(
    proxy: str, key: str, said: str, is_out: bool
) -> None:
    pod = annotated(a_pod(initContainers=[{"name": proxy}]), local_ranks="2")
    pod["metadata"]["annotations"][key] = said
    assert [each.reason for each in report_of(pod).notes] == ([] if is_out else ["MeshInTheWay"])


@pytest.mark.parametrize(
    ("takes", "lets_go", "key"),
    [
        *[("8080", "", None), ("8080,9090", "", None), ("", "", None), ("80,443", "7460,7461", None)],
        *[("8080,7461", "", "includeInboundPorts"), ("7460", "7460,7461", "includeInboundPorts")],
        *[("*", "", "excludeInboundPorts"), (" * ", "7460", "excludeInboundPorts"), ("*", "7460,7461", None)],
        ("80," * 9999 + "80", "", "includeInboundPorts"),
    ],
)
def test_a_mesh_that_carries_only_some_ports_is_in_the_way_where_ours_are_among_them(
    takes: str, lets_go: str, key: str | None
) -> None:
    pod = annotated(a_pod(initContainers=[{"name": "istio-proxy"}]), local_ranks="2")
    said = {"includeInboundPorts": takes, "excludeInboundPorts": lets_go}
    pod["metadata"]["annotations"] |= {f"traffic.sidecar.istio.io/{name}": ports for name, ports in said.items()}
    told = [each.message for each in report_of(pod).notes]
    assert len(told) == (key is not None)
    assert all(f"by the annotation traffic.sidecar.istio.io/{key} of" in each for each in told)


@pytest.mark.parametrize(("protocol", "port"), [("UDP", 7460), ("SCTP", 7460), ("TCP", 0), ("", 0), (None, 0)])
def test_a_port_is_taken_only_by_who_listens_by_tcp(protocol: str | None, port: int) -> None:
    pod = a_pod({"ports": [{"containerPort": 7460, "protocol": protocol}]})
    assert report_of(pod).port == port


GATEWAY, KNOWN_ROOT = "CHECKPOINTHEAL_GATEWAY", "CHECKPOINTHEAL_GATEWAY_ROOT"
OTHER_ROOT = ROOT.replace("MIIB", "MIIC")


def rendered(**changes: object) -> dict[str, Any]:
    """A pod whose template was rendered elsewhere, by such settings."""
    return injected(a_pod(), **changes)


def told(pod: dict[str, Any], name: str) -> list[str]:
    return [each["value"] for each in agent_of(pod)["env"] if each["name"] == name]


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param(rendered(gateway_root=""), id="no root"),
        pytest.param(rendered(gateway_root="", gateway="https://other.svc:8443"), id="no root, another gateway"),
        pytest.param(rendered(gateway_root=OTHER_ROOT, gateway="https://other.svc:8443"), id="another installation's"),
        pytest.param(rendered(gateway_root=OTHER_ROOT), id="a root that is over"),
    ],
)
def test_an_agent_that_was_rendered_elsewhere_gets_the_gateway_and_the_root_of_this_installation(pod) -> None:
    answer = inject(pod, settings())
    assert isinstance(answer, Injection)
    assert answer.report.reason == "InjectionMended"
    after = patched(pod, answer)
    assert (told(after, GATEWAY), told(after, KNOWN_ROOT)) == ([settings().gateway], [ROOT])
    assert inject(after, settings()).patch == ()


@pytest.mark.parametrize("lost", [{GATEWAY}, {KNOWN_ROOT}, {GATEWAY, KNOWN_ROOT}])
def test_an_agent_that_lost_its_gateway_or_root_gets_it_back(lost: set[str]) -> None:
    pod = injected(a_pod())
    agent_of(pod)["env"] = [each for each in agent_of(pod)["env"] if each["name"] not in lost]
    after = patched(pod, inject(pod, settings()))
    assert (told(after, GATEWAY), told(after, KNOWN_ROOT)) == ([settings().gateway], [ROOT])


LOSABLE = [(key, index) for key in ("env", "volumeMounts") for index in range(len(agent_of(injected(a_pod()))[key]))]


@pytest.mark.parametrize(("key", "index"), LOSABLE)
def test_a_variable_or_a_mount_that_the_agent_lost_is_put_back(key: str, index: int) -> None:
    pod = injected(a_pod())
    del agent_of(pod)[key][index]
    answer = inject(pod, settings())
    assert answer.report.reason == "InjectionMended"
    after = patched(pod, answer)
    assert sorted(agent_of(after)[key], key=str) == sorted(agent_of(injected(a_pod()))[key], key=str)
    assert inject(after, settings()).patch == ()


@pytest.mark.parametrize("key", ["env", "volumeMounts"])
def test_an_agent_that_lost_all_its_variables_or_mounts_gets_them_back(key: str) -> None:
    pod = injected(a_pod())
    del agent_of(pod)[key]
    assert patched(pod, inject(pod, settings())) == injected(a_pod())


def test_where_something_else_is_mounted_by_now_nothing_of_ours_is() -> None:
    pod = injected(a_pod())
    for mount in agent_of(pod)["volumeMounts"]:
        if mount["mountPath"].startswith("/var/run/secrets"):
            mount["name"] = "kube-api-access-x"
    assert inject(pod, settings()).patch == ()


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param(rendered(build="0.0.9", image="mirror/agent:9"), id="of another build, from another registry"),
        pytest.param(
            rendered(gateway="https://checkpointheal.checkpointheal-system.svc.cluster.local:8443"), id="name"
        ),
        pytest.param(rendered(gateway_root=OTHER_ROOT + ROOT), id="a root that is over beside the new one"),
        pytest.param(rendered(gateway_root=ROOT.strip()), id="another end of the line"),
    ],
)
def test_an_agent_that_knows_this_installation_stays_as_it_is(pod) -> None:
    assert inject(pod, settings()).patch == ()


def test_a_value_that_is_empty_or_left_out_is_put_right() -> None:
    """The API server leaves an empty one out, which is not the same as one that comes from elsewhere."""
    for lost in ("value left out", "empty value"):
        pod = injected(a_pod())
        for container in (agent_of(pod), pod["spec"]["containers"][0]):
            (job,) = (each for each in container["env"] if each["name"] == "CHECKPOINTHEAL_JOB")
            job.update({"value": ""}) if lost == "empty value" else job.pop("value")
        after = patched(pod, inject(pod, settings()))
        assert after == injected(a_pod()), lost


@pytest.mark.parametrize("name", [GATEWAY, KNOWN_ROOT])
def test_a_gateway_or_root_whose_value_is_left_out_is_put_right(name: str) -> None:
    pod = injected(a_pod())
    (said,) = (each for each in agent_of(pod)["env"] if each["name"] == name)
    del said["value"]
    assert patched(pod, inject(pod, settings())) == injected(a_pod())


def test_a_root_that_is_read_from_elsewhere_is_the_pods_own_matter() -> None:
    pod = injected(a_pod())
    (root,) = (each for each in agent_of(pod)["env"] if each["name"] == KNOWN_ROOT)
    del root["value"]
    root["valueFrom"] = {"configMapKeyRef": {"name": "roots", "key": "root.pem"}}
    assert inject(pod, settings()).patch == ()


def test_whoever_knows_no_root_takes_none_away() -> None:
    assert inject(injected(a_pod()), settings(gateway_root="")).patch == ()
