"""What the pods of ours may, what they run, and where."""

from typing import Any

import pytest
import yaml

from builders_chart import CHART, NAME, WEBHOOK, all_of, every_mode, needs_helm, pod_specs, rendered, settings_of, the

pytestmark = needs_helm


@every_mode
def test_every_pod_meets_the_restricted_standard(mode):
    specs = pod_specs(all_of(mode))
    assert len(specs) == 3
    for spec in specs:
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 65532
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert all(volume.keys() & {"secret", "configMap"} for volume in spec.get("volumes", ()))
        for each in spec["containers"]:
            assert each["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert each["resources"]["requests"].keys() == {"cpu", "memory"}
            assert "memory" in each["resources"]["limits"]


def test_only_the_operator_has_a_token():
    manifests = all_of()
    accounts = {each["metadata"]["name"]: each for each in manifests if each["kind"] == "ServiceAccount"}
    assert accounts.keys() == {NAME, WEBHOOK}
    assert not any(each["automountServiceAccountToken"] for each in accounts.values())
    tokens = {
        spec["containers"][0]["name"]: (spec.get("serviceAccountName"), spec["automountServiceAccountToken"])
        for spec in pod_specs(manifests)
    }
    assert tokens == {"operator": (NAME, True), "webhook": (WEBHOOK, False), "answers": (None, False)}


def test_two_of_each_are_there_and_any_node_drains():
    manifests = all_of()
    for name in (NAME, WEBHOOK):
        spec = the("Deployment", name, manifests)["spec"]
        assert spec["replicas"] == 2
        assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
        budget = the("PodDisruptionBudget", name, manifests)["spec"]
        assert budget["maxUnavailable"] == 1
        assert "minAvailable" not in budget


def test_a_webhook_that_takes_its_nodes_ports_makes_room_for_its_successor():
    spec = the("Deployment", WEBHOOK, all_of("process", ("webhook.hostNetwork", True)))["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 0}


@pytest.mark.parametrize(
    ("release", "service"), [("9a.b", "r9a-b-checkpointheal"), ("a", "a-checkpointheal"), ("a" * 38 + "--b", "a" * 38)]
)
def test_any_release_may_have_services(release: str, service: str):
    assert the("Service", service, rendered(name=release))


def test_a_deployment_of_one_can_be_evicted_too():
    manifests = all_of("process", ("operator.replicas", 1), ("operator.podDisruptionBudget.maxUnavailable", "50%"))
    assert the("PodDisruptionBudget", NAME, manifests)["spec"]["maxUnavailable"] == "50%"


@pytest.mark.parametrize(
    ("named", "got"), [("a/b", "a/b:9"), ("a/b:1", "a/b:1"), ("a:5000/b", "a:5000/b:9"), ("a@sha256:0", "a@sha256:0")]
)
def test_an_image_without_a_tag_gets_the_common_one(named, got):
    manifests = all_of("process", ("image.tag", "9"), ("operator.image", named), ("agent.image", named))
    assert {spec["containers"][0]["image"] for spec in pod_specs(manifests)} == {got}
    assert settings_of(manifests).image == got


def test_images_are_of_the_charts_version_and_pulled_as_asked():
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    manifests = all_of("process", ("image.pullPolicy", "Never"), ("imagePullSecrets", [{"name": "mine"}]))
    for spec in pod_specs(manifests):
        (each,) = spec["containers"]
        assert (each["image"], each["imagePullPolicy"]) == (f"checkpointheal/operator:{version}", "Never")
        assert spec["imagePullSecrets"] == [{"name": "mine"}]
    assert settings_of(manifests).image_pull_policy == "Never"
    apart = all_of("process", ("operator.imagePullPolicy", "Always"), ("agent.imagePullPolicy", "Never"))
    assert {spec["containers"][0]["imagePullPolicy"] for spec in pod_specs(apart)} == {"Always"}
    assert settings_of(apart).image_pull_policy == "Never"


@pytest.mark.parametrize(("who", "name", "other"), [("operator", NAME, WEBHOOK), ("webhook", WEBHOOK, NAME)])
def test_where_pods_run_can_be_said_of_each_deployment(who, name, other):
    wanted: dict[str, Any] = {
        "nodeSelector": {"a": "b", "kubernetes.io/os": None},
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [{"maxSkew": 2}],
        "priorityClassName": "high",
        "terminationGracePeriodSeconds": 7,
    }
    manifests = all_of("process", *((f"{who}.{key}", value) for key, value in wanted.items()))
    specs = {each: the("Deployment", each, manifests)["spec"]["template"]["spec"] for each in (name, other)}
    found = wanted | {"nodeSelector": {"a": "b"}}
    assert {key: specs[name][key] for key in wanted} == found
    assert not any(specs[other].get(key) == value for key, value in found.items())


def test_pods_can_bear_more_labels_and_annotations():
    manifests = all_of("process", ("webhook.podLabels", {"a": "b"}), ("webhook.podAnnotations", {"c": "d"}))
    metadata = the("Deployment", WEBHOOK, manifests)["spec"]["template"]["metadata"]
    assert metadata["labels"]["a"] == "b"
    assert metadata["annotations"] == {"c": "d"}


def test_the_test_runs_where_the_operator_does_and_keeps_apart_from_nobody():
    near = {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "kubernetes.io/hostname"}]}
    nodes = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": []}]}}
    spec = the(
        "Pod",
        f"{NAME}-test",
        all_of(
            "process",
            ("operator.affinity", {"podAntiAffinity": near, "podAffinity": near, "nodeAffinity": nodes}),
            ("operator.topologySpreadConstraints", [{"maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}]),
            ("operator.tolerations", [{"key": "a", "operator": "Exists"}]),
        ),
    )["spec"]
    assert spec["affinity"] == {"nodeAffinity": nodes}
    assert {each["whenUnsatisfiable"] for each in spec["topologySpreadConstraints"]} == {"ScheduleAnyway"}
    assert spec["tolerations"] == [{"key": "a", "operator": "Exists"}]


def test_the_test_bears_what_the_operators_pods_bear_and_stays_a_test():
    told = {"sidecar.istio.io/inject": "false", "helm.sh/hook": "mine"}
    manifests = all_of("process", ("operator.podAnnotations", told), ("operator.podLabels", {"team": "a"}))
    metadata = the("Pod", f"{NAME}-test", manifests)["metadata"]
    assert metadata["annotations"]["sidecar.istio.io/inject"] == "false"
    assert metadata["annotations"]["helm.sh/hook"] == "test"
    assert metadata["labels"]["team"] == "a"
    assert "sidecar.istio.io/inject" not in the("ConfigMap", f"{NAME}-test", manifests)["metadata"]["annotations"]


def test_pods_run_on_linux_alone():
    assert [each["nodeSelector"] for each in pod_specs(all_of())] == [{"kubernetes.io/os": "linux"}] * 3


def test_the_test_asks_for_what_the_operator_asks_for():
    wanted = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}}
    asked = [
        (each["containers"][0]["name"], each["containers"][0]["resources"])
        for each in pod_specs(all_of("process", ("operator.resources", wanted)))
    ]
    assert {name for name, resources in asked if resources == wanted} == {"operator", "answers"}


def test_whom_pods_run_as_can_be_left_to_the_cluster():
    unsaid = [
        (f"{who}.podSecurityContext.{key}", None)
        for who in ("operator", "webhook")
        for key in ("runAsUser", "runAsGroup", "fsGroup")
    ]
    for spec in pod_specs(all_of("process", *unsaid)):
        assert spec["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
