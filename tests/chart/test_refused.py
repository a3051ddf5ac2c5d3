"""A bad value is refused before anything is installed, by its name."""

from typing import Any

import pytest

from builders_chart import (
    A_BUNDLE,
    CHART,
    EVERYTHING,
    MODES,
    NAME,
    WEBHOOK,
    Setting,
    environment,
    helm_template,
    needs_helm,
    pod_specs,
    rendered,
    run_helm,
    said,
    the,
)
from checkpointheal_operator.shell.settings import from_environment

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
        ("webhook.certificate.issuerRef", {"kind": "ClusterIssuer"}, "issuerRef"),
        ("webhook.certificate.issuerRef", {"group": "example.com"}, "name"),
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


LIVES = "operator.certificates"
LEAST = 4 * 86400 + 8 * 3600
"""Seconds that a root has to outlast, with lives by default."""
MODE, SECRET, BUNDLE, ISSUER = (
    f"webhook.certificate.{each}" for each in ("mode", "secretName", "caBundle", "issuerRef")
)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ([(f"{LIVES}.seconds", 31536000)], (f"{LIVES}.rootSeconds is 63072000", "more than 126172800")),
        ([(f"{LIVES}.rootSeconds", 86400)], (f"{LIVES}.rootSeconds is 86400", f"more than {LEAST}")),
        ([(f"{LIVES}.rootSeconds", LEAST)], (f"{LIVES}.rootSeconds is {LEAST}", f"more than {LEAST}")),
        ([(f"{LIVES}.skewSeconds", 10000000)], ("more than 80345600", f"lower {LIVES}.seconds")),
        ([("webhook.port", 8080)], ("webhook.port", "webhook.metricsPort", "both 8080")),
        (
            [(f"{who}.serviceAccount.name", "one") for who in ("operator", "webhook")],
            ("both one", "cannot be made twice"),
        ),
        ([("operator.serviceAccount.name", WEBHOOK)], (f"both {WEBHOOK}", "set webhook.serviceAccount.create=false")),
        ([(SECRET, "mine")], (SECRET, f"set {MODE}=secret")),
        ([(MODE, "certManager"), (BUNDLE, A_BUNDLE)], (BUNDLE, f"set {MODE}=secret")),
        ([(ISSUER, {"name": "mine"})], (ISSUER, f"set {MODE}=certManager")),
        ([*MODES["secret"], (ISSUER, {"name": "mine"})], (ISSUER, f"set {MODE}=certManager")),
    ],
)
def test_values_that_do_not_go_together_are_refused_with_what_helps(settings: list[Setting], told: tuple[str, ...]):
    done = helm_template(*settings)
    assert done.returncode != 0
    for each in told:
        assert each in done.stderr


def test_both_may_have_one_account_that_is_made_once():
    names: list[Setting] = [(f"{who}.serviceAccount.name", "one") for who in ("operator", "webhook")]
    manifests = rendered(*names, ("webhook.serviceAccount.create", False))
    assert the("ServiceAccount", "one", manifests)
    assert {each.get("serviceAccountName") for each in pod_specs(manifests)} == {"one", None}


@pytest.mark.parametrize(
    "lives",
    [{}, {"rootSeconds": LEAST + 1}, {"skewSeconds": 0, "seconds": 60, "rootSeconds": 241}],
)
def test_the_operator_starts_with_the_shortest_lives_that_are_not_refused(lives: dict[str, int]):
    settings: list[Setting] = [(f"{LIVES}.{key}", value) for key, value in lives.items()]
    told: dict[str, Any] = environment(the("Deployment", NAME, rendered(*settings)))
    assert from_environment({key: value if isinstance(value, str) else "x" for key, value in told.items()})


@pytest.mark.parametrize("mode", MODES)
def test_the_chart_is_in_order(mode):
    done = run_helm("lint", "--strict", str(CHART), *said(*MODES[mode], *EVERYTHING))
    assert done.returncode == 0, done.stdout + done.stderr
