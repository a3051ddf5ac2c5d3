"""Which labels things bear: one's own, those that pods are selected and found by, and none twice."""

from typing import Any

import pytest

from builders_chart import NAME, WEBHOOK, all_of, every_mode, key_of, needs_helm, the
from checkpointheal_operator.plugin.trouble import INSTALLED

pytestmark = needs_helm

PART = "app.kubernetes.io/part-of"
FIXED = {
    "app.kubernetes.io/name": "checkpointheal",
    "app.kubernetes.io/instance": NAME,
    PART: "checkpointheal",
    "app.kubernetes.io/managed-by": "Helm",
}
OTHERS = dict.fromkeys((*FIXED, "app.kubernetes.io/component"), "mine")


@every_mode
def test_labels_of_ones_own_are_on_everything(mode):
    for each in all_of(mode, ("commonLabels", {"team": "a"})):
        assert each["metadata"]["labels"]["team"] == "a", key_of(each)


def test_ones_own_word_counts_but_for_what_things_are_found_by():
    for each in all_of("process", ("commonLabels", OTHERS | {"app.kubernetes.io/version": "mine"})):
        labels = each["metadata"]["labels"]
        assert labels["app.kubernetes.io/version"] == "mine", key_of(each)
        assert labels["app.kubernetes.io/component"] != "mine", key_of(each)
        assert {name: labels[name] for name in FIXED} == FIXED, key_of(each)


@pytest.mark.parametrize(("who", "name"), [("operator", NAME), ("webhook", WEBHOOK)])
def test_no_label_of_its_own_takes_a_pod_from_its_deployment_or_from_those_who_look_for_it(who, name):
    spec = the("Deployment", name, all_of("process", (f"{who}.podLabels", OTHERS)))["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"].items() <= labels.items()
    assert f"{PART}={labels[PART]}" == INSTALLED


@pytest.mark.parametrize(
    ("path", "kind", "name"),
    [
        ("operator.podLabels", "Deployment", NAME),
        ("webhook.podLabels", "Deployment", WEBHOOK),
        ("serviceMonitor.labels", "ServiceMonitor", WEBHOOK),
        ("prometheusRule.labels", "PrometheusRule", NAME),
        ("dashboard.labels", "ConfigMap", f"{NAME}-dashboard"),
    ],
)
def test_of_a_label_that_is_set_twice_the_nearer_one_counts(path: str, kind: str, name: str):
    found: Any = the(kind, name, all_of("process", ("commonLabels", {"team": "far"}), (path, {"team": "", PART: "x"})))
    labels = (found["spec"]["template"] if kind == "Deployment" else found)["metadata"]["labels"]
    assert (labels["team"], labels[PART]) == ("", "checkpointheal")


def test_roles_are_aggregated_whatever_all_things_are_labelled_with():
    own = {f"rbac.authorization.k8s.io/aggregate-to-{role}": "false" for role in ("view", "edit", "admin")}
    manifests = all_of("process", ("commonLabels", own))
    for role in ("view", "edit"):
        labels = the("ClusterRole", f"{NAME}-{role}", manifests)["metadata"]["labels"]
        assert labels[f"rbac.authorization.k8s.io/aggregate-to-{role}"] == "true"
