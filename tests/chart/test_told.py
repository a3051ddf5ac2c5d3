"""What operator and webhook are told when they start."""

from typing import Any

import pytest

from builders_chart import (
    NAME,
    NAMESPACE,
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
from checkpointheal_operator.core.injection_settings import InjectionSettings
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
