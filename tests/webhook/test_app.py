"""The webhook as the API server meets it: over HTTP, and over TLS with a certificate that is replaced."""

import asyncio
import base64
import contextlib
import datetime
import json
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import ValidationError

from builders_injection import ROOT, a_pod, settings
from checkpointheal_operator.core.injection_settings import InjectionSettings
from checkpointheal_operator.measures.reviewing import WebhookMetrics
from checkpointheal_operator.measures.spec import REVIEW_SECONDS, REVIEWS
from checkpointheal_operator.webhook import app
from checkpointheal_operator.webhook.__main__ import USAGE_ERROR, main
from checkpointheal_operator.webhook.files import Certificate, Installation, look
from checkpointheal_operator.webhook.review import OUTCOMES


def an_envelope(pod: dict[str, Any] | None = None) -> bytes:
    request = {
        "uid": "705ab4f5",
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "namespace": "training",
        "operation": "CREATE",
        "object": pod or a_pod(),
    }
    envelope = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    return json.dumps(envelope).encode()


def at_the_webhook(
    ask: Callable[[TestClient, WebhookMetrics], Awaitable[None]], installed: Callable[[], InjectionSettings] = settings
) -> None:
    """Run `ask` against a webhook whose clock moves by a second at every look."""

    async def run() -> None:
        ticks = iter(range(1000))
        metrics = WebhookMetrics(OUTCOMES)
        server = TestServer(app.make_app(installed, metrics, lambda: float(next(ticks))))
        async with TestClient(server) as client:
            await ask(client, metrics)

    asyncio.run(run())


def reviews(metrics: WebhookMetrics) -> dict[str, float]:
    """Those that were counted, by outcome."""
    found = {
        each.labels["outcome"]: each.value
        for metric in metrics.registry.collect()
        for each in metric.samples
        if each.name == REVIEWS.name
    }
    assert len(found) == 10, "each outcome is there from the beginning"
    return {outcome: number for outcome, number in found.items() if number}


def seconds(metrics: WebhookMetrics) -> float | None:
    return metrics.registry.get_sample_value(REVIEW_SECONDS.name + "_sum")


async def post(client: TestClient, body: bytes) -> tuple[int, str]:
    async with client.post("/mutate", data=body) as answer:
        return answer.status, await answer.text()


def test_a_pod_is_answered_with_a_patch_and_counted() -> None:
    async def ask(client: TestClient, metrics: WebhookMetrics) -> None:
        status, text = await post(client, an_envelope())
        told = json.loads(text)["response"]
        assert (status, told["allowed"]) == (200, True)
        assert json.loads(base64.b64decode(told["patch"]))
        assert (reviews(metrics), seconds(metrics)) == ({"injected": 1}, 1.0)

    at_the_webhook(ask)


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff", an_envelope()[:-1]])
def test_what_is_no_review_is_refused_and_counted(body: bytes) -> None:
    async def ask(client: TestClient, metrics: WebhookMetrics) -> None:
        status, sentence = await post(client, body)
        assert (status, reviews(metrics)) == (400, {"malformed": 1})
        assert "AdmissionReview" in sentence

    at_the_webhook(ask)


def test_a_review_over_the_limit_is_refused_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "REVIEW_LIMIT", 4096)

    async def ask(client: TestClient, metrics: WebhookMetrics) -> None:
        status, _ = await post(client, an_envelope() + b" " * 4096)
        assert (status, reviews(metrics)) == (413, {"oversize": 1})

    at_the_webhook(ask)


def test_a_review_that_does_not_arrive_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "BUDGET_SECONDS", 0.01)

    async def ask(client: TestClient, metrics: WebhookMetrics) -> None:
        held = asyncio.Event()

        async def slowly() -> Any:
            yield b"{"
            await held.wait()

        async with client.post("/mutate", data=slowly()) as answer:
            assert (answer.status, reviews(metrics)) == (408, {"late": 1})

    at_the_webhook(ask)


def test_a_fault_of_ours_lets_the_pod_be() -> None:
    def broken() -> InjectionSettings:
        raise RuntimeError("this cannot happen")

    async def ask(client: TestClient, metrics: WebhookMetrics) -> None:
        status, text = await post(client, an_envelope())
        told = json.loads(text)["response"]
        assert (status, told["allowed"], "patch" in told, len(told["warnings"])) == (200, True, False, 1)
        assert reviews(metrics) == {"failed": 1}

    at_the_webhook(ask, broken)


def test_a_refused_pod_is_told_in_the_log_with_its_name_and_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    pod = a_pod()
    pod["spec"]["os"] = {"name": "windows"}
    pod["metadata"].pop("name", None)
    pod["metadata"]["generateName"] = "trainer-"

    async def ask(client: TestClient, metrics: WebhookMetrics) -> None:
        await post(client, an_envelope(pod))
        assert reviews(metrics) == {"refused": 1}

    at_the_webhook(ask)
    (record,) = [each for each in caplog.records if "no agent" in each.getMessage()]
    assert record.__dict__["about"] == {"namespace": "training", "pod": "trainer-", "reason": "NotLinux"}


def test_a_probe_is_answered() -> None:
    async def ask(client: TestClient, _: WebhookMetrics) -> None:
        async with client.get("/healthz") as answer:
            assert answer.status == 200

    at_the_webhook(ask)


def certify(folder: Path, name: str, key_of: str | None = None) -> None:
    """Put a certificate for localhost, under this common name, in place; with another one's key where one is named."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "tls.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    if key_of is None:
        (folder / "tls.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )


def test_a_replaced_certificate_is_shown_to_the_next_caller(tmp_path: Path) -> None:
    certify(tmp_path, "first")
    certificate = Certificate(tmp_path / "tls.crt", tmp_path / "tls.key")

    async def run() -> None:
        server = TestServer(app.make_app(settings, WebhookMetrics(OUTCOMES), lambda: 0.0), scheme="https")
        await server.start_server(ssl=certificate.context)
        try:
            await ask_over_tls(server, tmp_path / "tls.crt")
            certify(tmp_path, "second")
            assert certificate.refresh()
            await ask_over_tls(server, tmp_path / "tls.crt")
            assert not certificate.refresh()
        finally:
            await server.close()

    asyncio.run(run())


async def ask_over_tls(server: TestServer, trusted: Path) -> None:
    """A caller that trusts only this certificate gets its answer."""
    context = ssl.create_default_context(cafile=str(trusted))
    url = f"https://localhost:{server.port}/mutate"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=an_envelope(), ssl=context, server_hostname="localhost") as answer,
    ):
        assert answer.status == 200


def test_a_certificate_without_its_key_leaves_the_old_one_in_use(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certify(tmp_path, "first")
    old = (tmp_path / "tls.crt").read_bytes()
    certificate = Certificate(tmp_path / "tls.crt", tmp_path / "tls.key")
    certify(tmp_path, "second", key_of="first")
    look([certificate.refresh])
    assert "the last good one stays" in caplog.text

    async def run() -> None:
        server = TestServer(app.make_app(settings, WebhookMetrics(OUTCOMES), lambda: 0.0), scheme="https")
        await server.start_server(ssl=certificate.context)
        try:
            (tmp_path / "old.crt").write_bytes(old)
            await ask_over_tls(server, tmp_path / "old.crt")
        finally:
            await server.close()

    asyncio.run(run())


def installed(folder: Path, **changes: object) -> Path:
    path = folder / "injection.json"
    path.write_text(settings(gateway_root="", **changes).model_dump_json())
    return path


def test_settings_come_from_their_files_and_follow_them(tmp_path: Path) -> None:
    certify(tmp_path, "root")
    root = tmp_path / "tls.crt"
    installation = Installation(installed(tmp_path), root, build="1.2.3")
    assert installation.current() == settings(gateway_root=root.read_text(), build="1.2.3")
    assert not installation.refresh()
    installed(tmp_path, arena="8Gi")
    assert installation.refresh()
    assert installation.current().arena == "8Gi"


@pytest.mark.parametrize("text", ["", "{}", '{"image": "a", "gateway": "https://g", "arena": "2GB"}', "[" * 100])
def test_bad_settings_leave_the_old_ones_in_use(text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = installed(tmp_path)
    installation = Installation(path, None, build="")
    before = installation.current()
    path.write_text(text)
    look([installation.refresh])
    assert installation.current() == before
    assert "the last good one stays" in caplog.text


@pytest.mark.parametrize("text", ["", "\n", ROOT])
def test_agents_are_given_no_root_that_is_none(text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    certify(tmp_path, "root")
    root = tmp_path / "tls.crt"
    installation = Installation(installed(tmp_path), root, build="")
    before = installation.current()
    root.write_text(text)
    look([installation.refresh])
    assert installation.current() == before
    assert f"the last good one stays: {root} holds no certificate in PEM" in caplog.text
    with pytest.raises(OSError, match="holds no certificate"):
        Installation(installed(tmp_path), root, build="")


@pytest.mark.parametrize("text", ["", "{}"])
def test_there_is_no_start_without_good_settings(text: str, tmp_path: Path) -> None:
    (tmp_path / "injection.json").write_text(text)
    with pytest.raises(ValidationError):
        Installation(tmp_path / "injection.json", None, build="")


def test_the_command_says_what_it_cannot_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ["--certificate", str(tmp_path / "no.crt"), "--key", str(tmp_path / "no.key"), "--settings", "no.json"]
    assert main(files) == USAGE_ERROR
    assert "no.crt" in capsys.readouterr().err


def test_the_command_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    certify(tmp_path, "only")
    port, metrics_port = a_free_port(), a_free_port()
    files = ["--certificate", str(tmp_path / "tls.crt"), "--key", str(tmp_path / "tls.key")]
    command = [*files, "--settings", str(installed(tmp_path)), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--metrics-port", str(metrics_port)]
    program = [sys.executable, "-m", "checkpointheal.cli", "webhook", *command]
    with subprocess.Popen(program, stderr=subprocess.PIPE, text=True) as webhook:
        try:
            assert webhook.stderr is not None
            said = webhook.stderr.readline()
            assert f"127.0.0.1:{port}" in said
            assert asyncio.run(probed(port, tmp_path / "tls.crt")) == 200
            assert asyncio.run(plainly(metrics_port, "/healthz")) == "ok\n"
            page = asyncio.run(plainly(metrics_port, "/metrics"))
            assert 'checkpointheal_webhook_reviews_total{outcome="injected"} 0.0' in page
            assert "process_resident_memory_bytes" in page
        finally:
            webhook.send_signal(signal.SIGTERM)
        assert webhook.wait(timeout=60) == 0


def a_free_port() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def plainly(port: int, path: str) -> str:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
        assert answer.status == 200
        return await answer.text()


async def probed(port: int, trusted: Path) -> int:
    context = ssl.create_default_context(cafile=str(trusted))
    url = f"https://localhost:{port}/healthz"
    async with aiohttp.ClientSession() as session, session.get(url, ssl=context, server_hostname="localhost") as answer:
        return answer.status
