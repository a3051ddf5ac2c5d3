"""`report`: everything that helps, and nothing that is secret."""

import stat
import tarfile
import time
from pathlib import Path

import pytest
import yaml

from builders_api import WHERE
from builders_plugin import SECRET, Desktop, a_training_job, an_event, healed, replaced
from checkpointheal_operator.api.base import Json
from checkpointheal_operator.plugin.redaction import LEFT_OUT, redacted, scrubbed
from checkpointheal_operator.shell.cluster import EVENTS, PODS

FILES = {
    "README.txt",
    "history.txt",
    "missing.txt",
    "objects/checkpointheals.yaml",
    "objects/events.yaml",
    "objects/heals.yaml",
    "objects/operator-pods.yaml",
    "objects/pods.yaml",
    "objects/webhooks.yaml",
    "status.txt",
    "versions.json",
}
OPERATOR: Json = {
    "metadata": {
        "name": "operator-0",
        "namespace": "checkpointheal-system",
        "labels": {"app.kubernetes.io/part-of": "checkpointheal"},
    },
    "spec": {"containers": [{"name": "operator", "command": ["checkpointheal", "operator"]}]},
    "status": {"containerStatuses": [{"name": "operator", "restartCount": 1}]},
}


def inside(file: Path) -> dict[str, str]:
    with tarfile.open(file) as tar:
        found = {}
        for each in tar.getmembers():
            body = tar.extractfile(each)
            assert body is not None
            found[each.name.split("/", 1)[1]] = body.read().decode()
        return found


def reported(desktop: Desktop, *more: str) -> dict[str, str]:
    file = desktop.folder / "r.tar.gz"
    ran = desktop.run("report", "-o", str(file), *more)
    assert ran.status == 0, ran.err
    assert f"wrote {file}" in ran.out
    return inside(file)


def test_a_report_holds_what_its_readme_says(desktop: Desktop):
    desktop.has(healed(replaced(a_training_job())))
    desktop.put(PODS, OPERATOR)
    found = reported(desktop)
    logs = {name for name in found if name.startswith("logs/")}
    assert set(found) - logs == FILES
    assert {f"logs/{WHERE}/pod-{each}.checkpointheal-agent.log" for each in ("0-0-1", "1-0-10", "2-0-3")} < logs
    assert "logs/checkpointheal-system/operator-0.operator.log" in logs
    assert "logs/checkpointheal-system/operator-0.operator.previous.log" in logs, "it has been restarted"
    assert "CheckpointHeal training/demo" in found["status.txt"]
    assert "pod-1-0-10" in found["history.txt"]
    assert "v1.33.1" in found["versions.json"]
    assert found["missing.txt"] == "nothing\n"


def test_nothing_secret_is_in_a_report_and_no_secret_is_asked_for(desktop: Desktop):
    desktop.has(healed(replaced(a_training_job())))
    found = reported(desktop)
    assert not [name for name, body in found.items() if SECRET in body]
    assert not [path for path, _, _ in desktop.selected if "secret" in path]


def test_only_events_about_what_is_inside_are_inside(desktop: Desktop):
    job = healed(replaced(a_training_job()))
    desktop.has(job)
    stranger = {"metadata": {"name": "stranger", "namespace": WHERE, "uid": "s"}}
    desktop.put(EVENTS, an_event(stranger, "Odd", "of somebody else", "2027-01-15T08:00:00Z"))
    found = yaml.safe_load(reported(desktop)["objects/events.yaml"])
    assert [each["reason"] for each in found["items"]] == ["Healed"]


def test_it_is_for_its_owners_eyes_and_takes_no_others_place(desktop: Desktop):
    reported(desktop)
    file = desktop.folder / "r.tar.gz"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    ran = desktop.run("report", "-o", str(file))
    assert ran.status == 2
    assert "is there already" in ran.err


def test_where_it_cannot_be_written_it_says_so(desktop: Desktop):
    ran = desktop.run("report", "-o", str(desktop.folder / "no" / "r.tar.gz"))
    assert ran.status == 2
    assert "cannot be written: No such file or directory" in ran.err


def test_without_a_name_it_is_called_after_namespace_and_time(desktop: Desktop, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(desktop.folder)
    ran = desktop.run("report")
    assert ran.out.startswith("wrote checkpointheal-report-training-20270115-080000.tar.gz: ")


@pytest.mark.parametrize("plural", ["heals", "pods", "events", "mutatingwebhookconfigurations"])
def test_what_may_not_be_read_is_named_and_the_rest_is_there(desktop: Desktop, plural: str):
    desktop.has(a_training_job())
    desktop.forbids(f"/{plural}")
    found = reported(desktop)
    assert f"you may not list {plural}" in found["missing.txt"]
    assert set(found) >= FILES
    assert "no pod holds" not in found["status.txt"]


def test_a_log_that_cannot_be_read_is_named(desktop: Desktop):
    desktop.has(a_training_job())
    desktop.forbids("/log")
    assert "you may not get pods/log in namespace training" in reported(desktop)["missing.txt"]


def test_a_server_that_knows_nobody_gets_no_report(desktop: Desktop):
    desktop.says("/version", "Unauthorized", 401)
    file = desktop.folder / "r.tar.gz"
    ran = desktop.run("report", "-o", str(file))
    assert ran.status == 2
    assert "does not know who you are" in ran.err
    assert not file.exists()


KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("said", "hidden"),
    [
        (f"key: {KEY}", "MIIEow"),
        ("-----BEGIN PRIVATE KEY-----\nMIIEow", "MIIEow"),
        ("Authorization: Bearer abcdefgh12345", "abcdefgh12345"),
        ("authorization: basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "c2ln"),
        ("git clone https://me:hunter2@host/x", "hunter2"),
        ("AKIAABCDEFGHIJKLMNOP", "AKIAABCDEFGHIJKLMNOP"),
        ("hf_abcdefghijklmnopqrstuv", "abcdefghijklmnopqrstuv"),
        ("WANDB_API_KEY=0123456789", "0123456789"),
        ("--password hunter2 --token=hunter3", "hunter3"),
        ('{"name": "X_TOKEN", "value": "hunter2"}', "hunter2"),
        ('{"secret": "hunter2"}', "hunter2"),
    ],
)
def test_what_looks_like_a_secret_is_left_out(said, hidden):
    assert hidden not in scrubbed(said)
    assert LEFT_OUT in scrubbed(said)
    assert scrubbed(scrubbed(said)) == scrubbed(said)


@pytest.mark.parametrize(
    "said",
    [
        "CHECKPOINTHEAL_TOKEN_FILE is /run/checkpointheal/token/token",
        "heal heal-a1c964ff9600: TransferFailed: attempt 1 failed",
        "step 5 from pod-0-0-1",
    ],
)
def test_what_is_no_secret_stays(said):
    assert scrubbed(said) == said


def test_of_a_container_only_what_helps_is_kept():
    container = {
        "name": "trainer",
        "image": "gpt:1",
        "command": ["python", "train.py"],
        "args": ["--wandb", SECRET],
        "livenessProbe": {"httpGet": {"httpHeaders": [{"name": "Authorization", "value": SECRET}]}},
        "env": [
            {"name": "WANDB", "value": SECRET},
            {"name": "FROM", "valueFrom": {"secretKeyRef": {"name": "wandb", "key": "key"}}},
            {"name": "CHECKPOINTHEAL_JOB", "value": "demo"},
            {"name": "CHECKPOINTHEAL_TOKEN", "value": SECRET},
            {"name": "CHECKPOINTHEAL_TOKEN_FILE", "value": "/run/token"},
        ],
    }
    (kept,) = redacted({"containers": [container]})["containers"]
    assert kept["command"] == ["python", LEFT_OUT]
    assert {each["name"]: each.get("value") for each in kept["env"]} == {
        "WANDB": LEFT_OUT,
        "FROM": None,
        "CHECKPOINTHEAL_JOB": "demo",
        "CHECKPOINTHEAL_TOKEN": LEFT_OUT,
        "CHECKPOINTHEAL_TOKEN_FILE": "/run/token",
    }
    assert "livenessProbe" not in kept
    assert SECRET not in str(kept)


def test_annotations_are_kept_only_where_they_tell_a_place():
    marks = {"checkpointheal.dev/replica": "1", "kubectl.kubernetes.io/last-applied-configuration": SECRET, "mine": "x"}
    found = redacted({"metadata": {"annotations": marks, "managedFields": [SECRET]}})["metadata"]
    assert found == {
        "annotations": {
            "checkpointheal.dev/replica": "1",
            "kubectl.kubernetes.io/last-applied-configuration": LEFT_OUT,
            "mine": LEFT_OUT,
        }
    }


def operator_in(namespace: str) -> Json:
    return OPERATOR | {"metadata": OPERATOR["metadata"] | {"namespace": namespace}}


@pytest.mark.parametrize("said", [(), ("-A",), ("--operator-namespace", "mine")])
def test_the_operator_is_found_in_any_namespace_or_in_the_named_one(desktop: Desktop, said: tuple[str, ...]):
    desktop.put(PODS, operator_in("mine"))
    found = reported(desktop, *said)
    assert "logs/mine/operator-0.operator.log" in found
    assert "operator-0" in found["objects/operator-pods.yaml"]
    assert found["missing.txt"] == "nothing\n"


def test_whoever_may_not_look_everywhere_finds_the_operator_where_it_is_as_a_rule(desktop: Desktop):
    no_pods_everywhere(desktop)
    desktop.put(PODS, OPERATOR)
    found = reported(desktop)
    assert "logs/checkpointheal-system/operator-0.operator.log" in found
    assert found["missing.txt"] == "nothing\n"


@pytest.mark.parametrize(
    ("said", "where", "everywhere"),
    [
        ((), "any namespace", True),
        ((), "namespace checkpointheal-system, and you may not list pods in the whole cluster", False),
        (("--operator-namespace", "other"), "namespace other", True),
        (("--operator-namespace", "other"), "namespace other", False),
    ],
)
def test_that_no_operator_was_found_is_told(desktop: Desktop, said: tuple[str, ...], where: str, everywhere: bool):
    if everywhere:
        desktop.put(PODS, operator_in("mine") | {"metadata": {"name": "o", "namespace": "mine", "labels": {}}})
    else:
        no_pods_everywhere(desktop)
    found = reported(desktop, *said)
    assert f"no operator found in {where}: " in found["missing.txt"]
    assert ("--operator-namespace" in found["missing.txt"]) == (where != "any namespace")


@pytest.mark.parametrize(
    ("said", "where"), [((), "checkpointheal-system"), (("--operator-namespace", "other"), "other")]
)
def test_whoever_may_list_no_pods_is_told_so_and_not_that_there_is_no_operator(
    desktop: Desktop, said: tuple[str, ...], where: str
):
    desktop.forbids("/pods")
    found = reported(desktop, *said)
    assert f"you may not list pods in namespace {where}" in found["missing.txt"]
    assert "no operator" not in found["missing.txt"]


def no_pods_everywhere(desktop: Desktop) -> None:
    """Namespaces can be looked into one by one alone."""
    desktop.forbids("/api/v1/pods")


@pytest.mark.parametrize("key", ["password", "accountKey", "token", "clientSecret", "Authorization", "passwd"])
def test_a_value_is_left_out_by_its_key_however_it_looks(key):
    assert redacted({"spec": {"anything": [{key: "hunter2", "kept": "x"}]}}) == {
        "spec": {"anything": [{key: LEFT_OUT, "kept": "x"}]}
    }


@pytest.mark.parametrize(
    "harmless",
    [
        {"valueFrom": {"secretKeyRef": {"name": "wandb", "key": "api", "optional": True}}},
        {"secret": {"secretName": "tls", "items": [{"key": "tls.crt", "path": "tls.crt"}]}},
        {"serviceAccountToken": {"audience": "checkpointheal", "expirationSeconds": 3600, "path": "token"}},
        {"imagePullSecrets": [{"name": "registry"}]},
        {"csi": {"driver": "d", "nodePublishSecretRef": {"name": "creds"}}},
        {"tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}]},
        {"matchExpressions": [{"key": "app", "operator": "In", "values": ["gpt"]}]},
        {"topologyKey": "kubernetes.io/hostname", "automountServiceAccountToken": False},
        {"labelSelector": {"matchLabelKeys": ["pod-template-hash"]}},
    ],
)
def test_names_of_references_and_keys_of_labels_stay(harmless):
    assert redacted({"spec": harmless}) == {"spec": harmless}


def test_what_a_driver_is_told_is_left_out_whatever_its_keys():
    volumes = [
        {"name": "v", "csi": {"driver": "blobfuse", "volumeAttributes": {"sas": "hunter2", "container": "c"}}},
        {"name": "f", "flexVolume": {"driver": "cifs", "options": {"mountOptions": "hunter2"}}},
        {"name": "e", "csi": {"driver": "d", "volumeAttributes": None}},
    ]
    found = redacted({"spec": {"volumes": volumes}})["spec"]["volumes"]
    assert found == [
        {"name": "v", "csi": {"driver": "blobfuse", "volumeAttributes": LEFT_OUT}},
        {"name": "f", "flexVolume": {"driver": "cifs", "options": LEFT_OUT}},
        {"name": "e", "csi": {"driver": "d", "volumeAttributes": None}},
    ]


@pytest.mark.parametrize(
    "said",
    [
        "a" * 100_000,
        "token" * 20_000,
        "eyJ-" * 25_000,
        "eyJaaaaaaaa-" * 8_000,
        '"name": "' + "key" * 30_000,
        '"name": "' + "key" * 30_000 + '", "value": "',
        "token" + " " * 100_000,
        "Bearer" + " " * 100_000,
        "a://b:" * 16_000,
        "-----BEGIN " * 9_000,
        "-----BEGIN " + "A " * 50_000,
    ],
    ids=lambda said: said[:16],
)
def test_a_text_without_end_is_looked_through_in_no_time(said):
    """A pod's annotation may have 256 KiB, and anybody may have written it: a report must come to an end."""
    began = time.process_time()
    scrubbed(said)
    assert time.process_time() - began < 2.0


def test_a_secret_in_the_middle_of_long_words_is_found():
    jwt = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln"
    assert scrubbed(f"x-{jwt} {jwt}.more eyJshort.{jwt}") == f"x-{LEFT_OUT} {LEFT_OUT}.more eyJshort.{LEFT_OUT}"
    assert scrubbed("my-api_key-of-mine: hunter2, x") == f"my-api_key-of-mine: {LEFT_OUT}, x"
    assert scrubbed("see git+https://me:hunter2@host/x") == f"see git+https://{LEFT_OUT}@host/x"
