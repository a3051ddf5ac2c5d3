"""What operator and webhook are told when they start."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from builders_chart import (
    A_BUNDLE,
    NAME,
    NAMESPACE,
    ROOT,
    WEBHOOK,
    all_of,
    container,
    defaults,
    environment,
    every_mode,
    needs_helm,
    settings_of,
    the,
)
from builders_injection import agent_of
from checkpointheal_operator.core.injection_settings import INJECT, InjectionSettings
from checkpointheal_operator.webhook import inject_command
from checkpointheal_operator.webhook.__main__ import parser

pytestmark = needs_helm


def test_the_operator_is_told_what_it_needs():
    told = environment(the("Deployment", NAME, all_of()))
    assert told["CHECKPOINTHEAL_POD_IP"] == {"fieldRef": {"fieldPath": "status.podIP"}}
    assert told["CHECKPOINTHEAL_LEASE"] == NAME
    assert told["CHECKPOINTHEAL_GATEWAY_HOSTS"].split(",") == [
        f"{NAME}.{NAMESPACE}.svc",
        f"{NAME}.{NAMESPACE}.svc.cluster.local",
        f"{NAME}.{NAMESPACE}",
    ]
    assert told["CHECKPOINTHEAL_WEBHOOK_HOSTS"].split(",") == [
        f"{WEBHOOK}.{NAMESPACE}.svc",
        f"{WEBHOOK}.{NAMESPACE}.svc.cluster.local",
    ]
    assert told["CHECKPOINTHEAL_WEBHOOK_CONFIGURATION"] == NAME


@pytest.mark.parametrize("more", [[], [{"key": "team", "operator": "In", "values": ["a"]}]])
def test_the_operator_is_told_which_namespaces_the_webhook_serves(more):
    manifests = all_of("process", ("webhook.namespaceSelector", more))
    (webhook,) = the("MutatingWebhookConfiguration", NAME, manifests)["webhooks"]
    said = json.loads(environment(the("Deployment", NAME, manifests))["CHECKPOINTHEAL_NAMESPACE_SELECTOR"])
    assert said == webhook["namespaceSelector"]["matchExpressions"]
    assert said[2:] == more


@every_mode
def test_the_operator_certifies_the_webhook_only_where_nobody_else_does(mode):
    told = environment(the("Deployment", NAME, all_of(mode)))
    named = {key for key in told if key.startswith("CHECKPOINTHEAL_WEBHOOK_")}
    assert len(named) == (3 if mode == "process" else 0)


@pytest.mark.parametrize("log", ["text", "json"])
def test_all_logs_look_the_same(log):
    manifests = all_of("process", ("log", log))
    told = {environment(the("Deployment", name, manifests))["CHECKPOINTHEAL_LOG"] for name in (NAME, WEBHOOK)}
    assert told | {settings_of(manifests).log} == {log}


def test_the_audience_is_the_same_on_both_sides():
    manifests = all_of("process", ("agent.audience", "ours"))
    assert environment(the("Deployment", NAME, manifests))["CHECKPOINTHEAL_AUDIENCE"] == "ours"


@every_mode
def test_the_webhook_is_started_with_files_that_are_mounted(mode):
    manifests = all_of(mode)
    deployment = the("Deployment", WEBHOOK, manifests)
    command = container(deployment)["command"]
    assert command[:2] == ["checkpointheal", "webhook"]
    asked = parser().parse_args(command[2:])
    assert (asked.port, asked.metrics_port) == (9443, 8080)
    mounts = {each["mountPath"]: each for each in container(deployment)["volumeMounts"]}
    volumes = {each["name"]: each for each in deployment["spec"]["template"]["spec"]["volumes"]}
    for path in (asked.certificate, asked.key, asked.settings, asked.gateway_root):
        volume = volumes[mounts[str(path.parent)]["name"]]
        assert not (volume.get("secret") or volume["configMap"]).get("optional")
    assert volumes["tls"]["secret"]["secretName"] == ("mine" if mode == "secret" else f"{WEBHOOK}-tls")
    assert volumes["settings"]["configMap"]["name"] == f"{NAME}-injection"
    assert (
        volumes["root"]["configMap"]["name"]
        == environment(the("Deployment", NAME, manifests))["CHECKPOINTHEAL_ROOT_CONFIG_MAP"]
    )


def test_the_webhook_can_read_the_settings_and_knows_the_same_as_by_default():
    settings = settings_of(all_of())
    plain = InjectionSettings(
        image=settings.image, gateway=settings.gateway, image_pull_policy="IfNotPresent", log="json"
    )
    assert settings == plain


def test_every_setting_of_injection_can_be_changed():
    changed: dict[str, Any] = {
        "image": "mine/agent:7",
        "imagePullPolicy": "Never",
        "arena": "2Gi",
        "memory": "1Gi",
        "cpu": "200m",
        "cpuLimit": "1500m",
        "disk": "1Gi",
        "port": 7461,
        "user": 1000,
        "accelerators": ["acme.com/"],
        "bystanders": [],
        "tokenSeconds": 7200,
        "audience": "ours",
    }
    assert changed.keys() == defaults()["agent"].keys()
    before, after = settings_of(all_of()), settings_of(all_of("process", ("agent", changed), ("log", "text")))
    same = {name for name in InjectionSettings.model_fields if getattr(before, name) == getattr(after, name)}
    assert same == {"build", "gateway", "gateway_root"}  # the first and the last are told otherwise


A_JOB = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "gpt"},
    "spec": {
        "completionMode": "Indexed",
        "template": {"metadata": {"labels": {INJECT: "true"}}, "spec": {"containers": [{"name": "t", "image": "g"}]}},
    },
}


def test_a_job_as_the_page_has_it_rendered_for_a_queue_knows_the_installation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page's own command, with what its other lines read from the chart's ConfigMaps."""
    page = (ROOT / "docs" / "injection.md").read_text()
    (command,) = re.findall(r"^    checkpointheal inject (.*) \| kubectl apply -f -$", page, re.MULTILINE)
    read = re.findall(r"^    kubectl get configmap (\S+) .*'\{\.data\.(.*)\}' > (\S+)$", page, re.MULTILINE)
    assert [name for name, _key, _file in read] == ["checkpointheal-injection", "checkpointheal-gateway-root"]
    chart = the("ConfigMap", read[0][0], all_of())["data"]
    (tmp_path / read[0][2]).write_text(chart[read[0][1].replace("\\", "")])
    (tmp_path / read[1][2]).write_text(A_BUNDLE)
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(A_JOB))
    assert inject_command.main([each if "." not in each else str(tmp_path / each) for each in command.split()]) == 0
    agent = agent_of(yaml.safe_load(capsys.readouterr().out)["spec"]["template"])
    known = {each["name"]: each.get("value") for each in agent["env"]}
    assert known["CHECKPOINTHEAL_GATEWAY_ROOT"] == A_BUNDLE
    assert agent["image"] == settings_of(all_of()).image
