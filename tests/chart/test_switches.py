"""What is there only if it is asked for, and what can be left out."""

import json
import re

import pytest
import yaml

from builders_chart import CHART, NAME, WEBHOOK, Manifest, Setting, all_of, kinds, needs_helm, rendered, the

pytestmark = needs_helm

TCP = {"protocol": "TCP"}


@pytest.mark.parametrize(("enabled", "keep"), [(True, True), (True, False), (False, True)])
def test_definitions_can_be_left_out_and_are_kept_unless_asked(enabled, keep):
    manifests = all_of("process", ("crds.enabled", enabled), ("crds.keep", keep))
    found = [each for each in manifests if each["kind"] == "CustomResourceDefinition"]
    plain = [yaml.safe_load(path.read_text()) for path in sorted((CHART / "templates" / "crds").iterdir())]
    assert len(found) == (len(plain) if enabled else 0)
    for each in found:
        policy = each["metadata"].get("annotations", {}).get("helm.sh/resource-policy")
        assert policy == ("keep" if keep else None)
        assert each["spec"] in [one["spec"] for one in plain]


def test_nothing_of_a_monitor_is_there_unless_asked():
    assert not {"NetworkPolicy", "ServiceMonitor", "PrometheusRule"} & kinds(rendered())
    assert f"{NAME}-dashboard" not in {each["metadata"]["name"] for each in rendered()}


def test_alerts_and_dashboard_arrive_as_they_were_written():
    manifests = all_of()
    assert the("PrometheusRule", NAME, manifests)["spec"] == yaml.safe_load(
        (CHART / "files" / "alerts.yaml").read_text()
    )
    board = the("ConfigMap", f"{NAME}-dashboard", manifests)["data"]["checkpointheal.json"]
    assert json.loads(board) == json.loads((CHART / "files" / "dashboard.json").read_text())


def alerts(*settings: Setting) -> dict[str, Manifest]:
    groups = the("PrometheusRule", NAME, all_of("process", *settings))["spec"]["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def test_a_ruler_of_several_clusters_asks_for_each_by_itself():
    plain, grouped = alerts(), alerts(("prometheusRule.by", ["cluster", "region"]))
    for name, rule in plain.items():
        asked = grouped[name]["expr"]
        assert grouped[name] | {"expr": rule["expr"]} == rule
        assert len(re.findall(r"(?:sum|max) by \(cluster, region[,)]", asked)) == len(
            re.findall(r"(?:sum|max)\b", asked)
        )
        labels = re.findall(r"by \(([^)]*)\)", rule["expr"])
        assert all(f"by (cluster, region, {each})" in asked for each in labels), asked


def test_a_cluster_that_tells_nothing_any_more_is_known_by_what_it_told_within_a_day():
    grouped = alerts(("prometheusRule.by", ["cluster"]))
    leader, reviews = "checkpointheal_leader", "checkpointheal_webhook_review_seconds_count"
    assert grouped["CheckpointHealHasNotOneLeader"]["expr"] == (
        f"(sum by (cluster) ({leader}) or 0 * sum by (cluster) (max_over_time({leader}[1d]))) != 1"
    )
    assert grouped["CheckpointHealWebhookIsAway"]["expr"] == (
        f"sum by (cluster) (max_over_time({reviews}[1d])) unless sum by (cluster) ({reviews})"
    )


def test_the_webhook_talks_to_nobody_and_only_replicas_reach_the_leader():
    manifests = all_of()
    webhook, operator = (the("NetworkPolicy", name, manifests)["spec"] for name in (WEBHOOK, NAME))
    assert "egress" not in webhook
    assert webhook["policyTypes"] == operator["policyTypes"] == ["Ingress", "Egress"]
    (leader,) = (rule for rule in operator["ingress"] if rule["ports"] == [TCP | {"port": 8444}])
    assert leader["from"] == [{"podSelector": operator["podSelector"]}]
    assert [rule for rule in operator["egress"] if "to" in rule] == [
        {"ports": [TCP | {"port": 8444}], "to": [{"podSelector": operator["podSelector"]}]}
    ]


def test_who_reads_metrics_and_where_the_api_server_is_can_be_narrowed():
    prometheus, server = [{"namespaceSelector": {}}], [{"ipBlock": {"cidr": "10.0.0.1/32"}}]
    manifests = all_of(
        "process",
        ("networkPolicy.metricsFrom", prometheus),
        ("networkPolicy.apiServer", {"ports": [6443], "to": server}),
    )
    for name in (NAME, WEBHOOK):
        ingress = the("NetworkPolicy", name, manifests)["spec"]["ingress"]
        assert [rule["from"] for rule in ingress if rule["ports"] == [TCP | {"port": 8080}]] == [prometheus]
    egress = the("NetworkPolicy", NAME, manifests)["spec"]["egress"]
    assert {"ports": [TCP | {"port": 6443}], "to": server} in egress


@pytest.mark.parametrize("late", [True, False])
def test_the_operator_reads_by_which_settings_pods_are_refused(late: bool):
    spec = the("Deployment", NAME, rendered(("operator.lateAgents", late)))["spec"]["template"]["spec"]
    (container,), (volume,) = spec["containers"], spec["volumes"]
    (mount,) = container["volumeMounts"]
    assert volume["configMap"]["name"] == f"{NAME}-injection"
    environment = {each["name"]: each.get("value", "") for each in container["env"]}
    assert environment["CHECKPOINTHEAL_INJECTION_SETTINGS"] == f"{mount['mountPath']}/settings.json"
    assert ("CHECKPOINTHEAL_LATE_AGENTS" in environment) is late
