"""A bad value is refused before anything is installed, by its name."""

import pytest

from builders_chart import CHART, EVERYTHING, MODES, helm_template, needs_helm, run_helm, said

pytestmark = needs_helm


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("agnet", {}, "agnet"),
        ("agent.prot", 1, "prot"),
        ("agent.port", 0, "port"),
        ("agent.port", "7460", "port"),
        ("agent.user", 0, "user"),
        ("agent.arena", "big", "arena"),
        ("agent.arena", 1073741824, "arena"),
        ("agent.cpu", "0", "cpu"),
        ("agent.image", "an image", "image"),
        ("agent.tokenSeconds", 60, "tokenSeconds"),
        ("agent.imagePullPolicy", "Sometimes", "imagePullPolicy"),
        ("agent.bystanders", "istio-proxy", "bystanders"),
        ("image.tag", "a:b", "tag"),
        ("image.pullPolicy", "", "pullPolicy"),
        ("imagePullSecrets", ["mine"], "imagePullSecrets"),
        ("operator.replicas", 0, "replicas"),
        ("operator.podDisruptionBudget.maxUnavailable", 0, "maxUnavailable"),
        ("operator.podDisruptionBudget.minAvailable", 1, "minAvailable"),
        ("webhook.certificate.mode", "helm", "mode"),
        ("webhook.certificate.caBundle", "TUlJQg==", "caBundle"),
        ("webhook.certificate.mode", "secret", "secretName"),
        ("webhook.certificate.mode", "secret", "caBundle"),
        ("webhook.failurePolicy", "Warn", "failurePolicy"),
        ("webhook.timeoutSeconds", 31, "timeoutSeconds"),
        ("webhook.namespaceSelector", [{"key": "a", "operator": "Is"}], "namespaceSelector"),
        ("networkPolicy.apiServer.ports", [], "ports"),
        ("crds.keep", "yes", "keep"),
        ("fullnameOverride", "A_Name", "fullnameOverride"),
    ],
)
def test_a_bad_value_is_refused_by_its_name(path, value, named):
    done = helm_template((path, value))
    assert done.returncode != 0
    assert named in done.stderr


@pytest.mark.parametrize("mode", MODES)
def test_the_chart_is_in_order(mode):
    done = run_helm("lint", "--strict", str(CHART), *said(*MODES[mode], *EVERYTHING))
    assert done.returncode == 0, done.stdout + done.stderr
