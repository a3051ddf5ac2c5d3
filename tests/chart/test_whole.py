"""What is installed as a whole: rendered by Helm under every mode, the same each time, and of one piece."""

import json

import pytest

from builders_chart import (
    EVERYTHING,
    MODES,
    NAME,
    NAMESPACE,
    WEBHOOK,
    Setting,
    all_of,
    container,
    environment,
    every_mode,
    helm_template,
    key_of,
    kinds,
    needs_helm,
    rendered,
    settings_of,
    the,
)

pytestmark = needs_helm

CLUSTER_WIDE = {
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "MutatingWebhookConfiguration",
}


@every_mode
def test_two_renderings_are_the_same(mode):
    first, second = (helm_template(*MODES[mode], *EVERYTHING).stdout for _ in range(2))
    assert first
    assert first == second


@every_mode
def test_no_secret_is_rendered_and_nothing_twice(mode):
    manifests = all_of(mode)
    assert "Secret" not in kinds(manifests)
    assert len({key_of(each) for each in manifests}) == len(manifests)


@every_mode
def test_everything_has_its_namespace_and_its_labels(mode):
    for each in all_of(mode):
        metadata = each["metadata"]
        assert metadata.get("namespace") == (None if each["kind"] in CLUSTER_WIDE else NAMESPACE), key_of(each)
        assert metadata["labels"]["app.kubernetes.io/instance"] == NAME, key_of(each)


@every_mode
def test_everything_that_selects_pods_selects_those_of_one_deployment(mode):
    manifests = all_of(mode)
    pods = {
        name: the("Deployment", name, manifests)["spec"]["template"]["metadata"]["labels"] for name in (NAME, WEBHOOK)
    }

    def selected(labels: dict[str, str]) -> list[str]:
        return [name for name, found in pods.items() if labels.items() <= found.items()]

    for name in pods:
        assert selected(the("Deployment", name, manifests)["spec"]["selector"]["matchLabels"]) == [name]
        assert selected(the("Service", name, manifests)["spec"]["selector"]) == [name]
        assert selected(the("PodDisruptionBudget", name, manifests)["spec"]["selector"]["matchLabels"]) == [name]
        assert selected(the("NetworkPolicy", name, manifests)["spec"]["podSelector"]["matchLabels"]) == [name]
        spec = the("Deployment", name, manifests)["spec"]["template"]["spec"]
        (near,) = spec["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
        assert selected(near["podAffinityTerm"]["labelSelector"]["matchLabels"]) == [name]
        (spread,) = spec["topologySpreadConstraints"]
        assert selected(spread["labelSelector"]["matchLabels"]) == [name]
        service = the("Service", name, manifests)["metadata"]["labels"]
        monitor = the("ServiceMonitor", name, manifests)["spec"]["selector"]["matchLabels"]
        assert monitor.items() <= service.items()
    test = the("Pod", f"{NAME}-test", manifests)["metadata"]["labels"]
    assert not any(the("Service", name, manifests)["spec"]["selector"].items() <= test.items() for name in pods)


@every_mode
def test_ports_fit_together(mode):
    manifests = all_of(mode, ("webhook.port", 10250), ("webhook.metricsPort", 9090))
    for name in (NAME, WEBHOOK):
        ports = {each["name"]: each["containerPort"] for each in container(the("Deployment", name, manifests))["ports"]}
        assert {each["targetPort"] for each in the("Service", name, manifests)["spec"]["ports"]} <= ports.keys()
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container(the("Deployment", name, manifests))[probe]["httpGet"]["port"] in ports
        let_in = {
            port["port"] for rule in the("NetworkPolicy", name, manifests)["spec"]["ingress"] for port in rule["ports"]
        }
        assert let_in == set(ports.values())
    told = environment(the("Deployment", NAME, manifests))
    gateway = settings_of(manifests).gateway
    assert (
        gateway == f"https://{told['CHECKPOINTHEAL_GATEWAY_HOSTS'].split(',')[0]}:{told['CHECKPOINTHEAL_GATEWAY_PORT']}"
    )


def test_a_release_of_another_name_has_other_names():
    ours, theirs = ({key_of(each) for each in rendered(name=name)} for name in (NAME, "other"))
    assert {kind for kind, _ in ours & theirs} == {"CustomResourceDefinition"}
    assert ("Deployment", "other-checkpointheal") in theirs


def test_a_release_of_another_name_keeps_what_agents_know_by_the_old_one():
    ours, theirs = (
        rendered(("fullnameOverride", full), *EVERYTHING, name=name) for full, name in (("", NAME), (NAME, "other"))
    )
    assert {key_of(each) for each in ours} == {key_of(each) for each in theirs}
    assert settings_of(ours).gateway == settings_of(theirs).gateway
    assert environment(the("Deployment", NAME, ours)) == environment(the("Deployment", NAME, theirs))


NAMED = (
    "nameOverride",
    "operator.serviceAccount.name",
    "operator.priorityClassName",
    "webhook.serviceAccount.name",
    "webhook.priorityClassName",
)


def all_named(name: str, full: str, *more: Setting) -> str:
    names: list[Setting] = [("fullnameOverride", full), *((path, name) for path in NAMED)]
    settings = [*names, ("webhook.serviceAccount.create", False), *EVERYTHING, *more]
    return json.dumps(rendered(*settings, name=name, namespace=name))


@every_mode
@pytest.mark.parametrize(
    ("name", "full"), [("1234", "plain"), ("1e3", "plain"), *((word, word) for word in ("true", "null", "y"))]
)
def test_a_name_that_looks_like_a_number_or_a_word_of_yamls_is_a_name(mode, name, full):
    """Those that may begin with a digit are compared by another name of theirs."""
    secret = [("webhook.certificate.secretName", name)] if mode == "secret" else []
    plain_secret = [("webhook.certificate.secretName", "plainest")] if mode == "secret" else []
    plain = all_named("plainest", "plain", *MODES[mode], *plain_secret)
    odd = all_named(name, full, *MODES[mode], *secret)
    assert odd == plain.replace("plainest", name).replace("plain", full)


def test_a_long_name_is_cut_so_that_what_is_made_of_it_fits():
    manifests = rendered(("fullnameOverride", "a" * 40), *EVERYTHING)
    assert max(len(each["metadata"]["name"]) for each in manifests) <= 63
