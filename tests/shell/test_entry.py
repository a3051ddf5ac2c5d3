"""The operator as a command: it begins from its environment, and ends when told."""

import json
import os
import signal
import subprocess
import sys

import pytest

from checkpointheal_operator.gateway.authority import Terms
from checkpointheal_operator.shell.__main__ import main
from checkpointheal_operator.shell.cluster import Ref
from checkpointheal_operator.shell.leases import LEASES
from checkpointheal_operator.shell.settings import BadEnvironment, OperatorSettings, from_environment
from replicas import Stage

HERE = {"POD_NAME": "operator-0", "POD_IP": "127.0.0.1", "NAMESPACE": "system", "HOST": "127.0.0.1"}
PORTS = {"GATEWAY_PORT": "0", "LEADER_PORT": "0", "HEALTH_PORT": "0"}
LEASE = Ref(LEASES, "system", "checkpointheal")
KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: here
contexts: [{{name: here, context: {{cluster: c, user: u}}}}]
clusters: [{{name: c, cluster: {{server: "{url}"}}}}]
users: [{{name: u, user: {{token: secret}}}}]
"""


def environment(**said: str) -> dict[str, str]:
    return {f"CHECKPOINTHEAL_{key}": value for key, value in (HERE | PORTS | said).items()}


def started(**said: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "import sys; from checkpointheal.cli import main; sys.exit(main(['operator']))"]
    known = {key: value for key, value in os.environ.items() if not key.startswith(("CHECKPOINTHEAL_", "KUBERNETES_"))}
    return subprocess.Popen(command, env=known | environment(**said), stderr=subprocess.PIPE, text=True)


def holder(stage: Stage) -> str | None:
    return stage.call(lambda: stage.cluster.objects.get(LEASE, {}).get("spec", {}).get("holderIdentity"))


def test_it_leads_until_it_is_told_to_end_and_gives_the_lease_back(tmp_path):
    with Stage() as stage:
        path = tmp_path / "config"
        path.write_text(KUBECONFIG.format(url=stage.url))
        with started(KUBECONFIG=str(path)) as process:
            stage.until(lambda: holder(stage) == "operator-0/127.0.0.1")
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        assert holder(stage) == ""
        assert "Bearer secret" in stage.api.signed


def test_for_a_machine_every_line_of_its_log_is_an_object(tmp_path):
    with Stage() as stage:
        path = tmp_path / "config"
        path.write_text(KUBECONFIG.format(url=stage.url))
        with started(KUBECONFIG=str(path), LOG="json") as process:
            stage.until(lambda: holder(stage) == "operator-0/127.0.0.1")
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=30)
    lines = [json.loads(line) for line in said.splitlines()]
    assert "operator-0/127.0.0.1 leads" in [each["message"] for each in lines]
    assert all({"time", "level", "logger", "message"} <= each.keys() for each in lines)


def test_outside_a_cluster_it_says_so_in_a_sentence():
    with started() as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said.startswith("checkpointheal operator: no API server")
    assert "Traceback" not in said


def test_asked_for_help_it_names_all_that_its_environment_may_say(capsys):
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"CHECKPOINTHEAL_{name.upper()} " in said for name in OperatorSettings.model_fields)


@pytest.mark.parametrize("name", ["POD_NAME", "POD_IP", "NAMESPACE"])
def test_a_variable_that_is_missing_is_named(name):
    with pytest.raises(BadEnvironment, match=f"CHECKPOINTHEAL_{name}"):
        from_environment(environment(**{name: ""}))


@pytest.mark.parametrize("port", ["x", "-1", "65536"])
def test_a_port_that_is_none_is_named(port):
    with pytest.raises(BadEnvironment, match="CHECKPOINTHEAL_HEALTH_PORT"):
        from_environment(environment(HEALTH_PORT=port))


TRUST = {"ROOTS_SECRET": "roots", "GATEWAY_HOSTS": "a.svc, b.svc,", "ROOT_CONFIG_MAP": "root"}
WEBHOOK = {"WEBHOOK_SECRET": "tls", "WEBHOOK_HOSTS": "c.svc", "WEBHOOK_CONFIGURATION": "hook"}


@pytest.mark.parametrize(("group", "lacking"), [(each, name) for each in (TRUST, WEBHOOK) for name in each])
def test_of_variables_that_belong_together_the_missing_one_is_named(group, lacking):
    with pytest.raises(BadEnvironment, match=f"CHECKPOINTHEAL_{lacking} not set"):
        from_environment(environment(**(TRUST | WEBHOOK | {lacking: ""})))


def test_who_would_certify_the_webhook_without_roots_is_asked():
    with pytest.raises(BadEnvironment, match="CHECKPOINTHEAL_WEBHOOK_SECRET needs CHECKPOINTHEAL_ROOTS_SECRET"):
        from_environment(environment(**WEBHOOK))


def test_which_agents_a_pod_would_get_late_is_asked():
    with pytest.raises(BadEnvironment, match="CHECKPOINTHEAL_LATE_AGENTS needs CHECKPOINTHEAL_INJECTION_SETTINGS"):
        from_environment(environment(LATE_AGENTS="true"))


def test_hosts_are_named_with_commas_between():
    assert from_environment(environment(**TRUST)).gateway_hosts == ("a.svc", "b.svc")


def test_what_the_gateway_signs_lives_as_long_as_is_said():
    lives = {"CERTIFICATE_SECONDS": "60", "SKEW_SECONDS": "0", "ROOT_SECONDS": "600"}
    assert from_environment(environment(**TRUST, **lives)).terms == Terms(leaf=60, skew=0, root=600)
    assert from_environment(environment(**TRUST)).terms == Terms()


@pytest.mark.parametrize("change", [{"ROOT_SECONDS": "240"}, {"SKEW_SECONDS": "45"}, {"CERTIFICATE_SECONDS": "151"}])
def test_a_root_that_would_end_before_its_successor_stands_alone_is_refused(change):
    lives = {"CERTIFICATE_SECONDS": "60", "SKEW_SECONDS": "0", "ROOT_SECONDS": "600"}
    with pytest.raises(BadEnvironment, match="CHECKPOINTHEAL_ROOT_SECONDS is too short: more than"):
        from_environment(environment(**TRUST, **lives | change))


def test_which_namespaces_the_webhook_serves_is_told_as_its_configuration_has_it():
    names = [f"team-{number}" for number in range(100)]
    said = json.dumps([{"key": "kubernetes.io/metadata.name", "operator": "In", "values": names}, ANYBODYS])
    first, second = from_environment(environment(NAMESPACE_SELECTOR=said)).namespace_selector
    assert (first.key, first.operator, list(first.values)) == ("kubernetes.io/metadata.name", "In", names)
    assert (second.operator, second.values) == ("Exists", ())
    assert from_environment(environment()).namespace_selector == ()


ANYBODYS = {"key": "team", "operator": "Exists"}


@pytest.mark.parametrize("said", ["team", "{}", '[{"key": "team"}]', '[{"key": "team", "operator": "Is"}]'])
def test_a_selector_that_is_none_is_named(said):
    with pytest.raises(BadEnvironment, match="CHECKPOINTHEAL_NAMESPACE_SELECTOR"):
        from_environment(environment(NAMESPACE_SELECTOR=said))
