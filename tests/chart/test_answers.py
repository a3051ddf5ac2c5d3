"""`helm test` asks webhook and gateway: what it believes, and what it does not."""

import contextlib
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from builders_chart import A_BUNDLE, CHART, NAME, NAMESPACE, WEBHOOK, all_of, every_mode, needs_helm, script, the
from builders_elsewhere import Authority as Elsewhere
from builders_trust import NOW
from checkpointheal_operator.gateway.authority import Authority

ANSWERS = script(CHART / "files" / "answers.py")


@needs_helm
@every_mode
def test_the_test_believes_the_gateways_root_and_the_webhooks(mode):
    manifests = all_of(mode)
    spec = the("Pod", f"{NAME}-test", manifests)["spec"]
    (asked,) = (each["command"] for each in spec["containers"])
    believed = dict(zip(asked[2::2], asked[3::2], strict=True))
    assert believed == {
        f"https://{NAME}.{NAMESPACE}.svc:8443/": "/gateway/root.pem",
        f"https://{WEBHOOK}.{NAMESPACE}.svc/healthz": {
            "process": "/gateway/root.pem",
            "certManager": "/webhook/ca.crt",
            "secret": "/test/ca.crt",
        }[mode],
    }
    data = the("ConfigMap", f"{NAME}-test", manifests)["data"]
    assert data["answers.py"] == (CHART / "files" / "answers.py").read_text()
    assert data.get("ca.crt") == (A_BUNDLE if mode == "secret" else None)


@contextlib.contextmanager
def a_server_with(pair: tuple[bytes, bytes], folder: Path, status: int) -> Iterator[str]:
    """With this certificate and its key; answers everything with this status."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    files = folder / "chain.pem", folder / "key.pem"
    for path, pem in zip(files, pair, strict=True):
        path.write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"https://localhost:{server.server_address[1]}/healthz"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def a_server(authority: Authority, folder: Path, status: int) -> contextlib.AbstractContextManager[str]:
    """Certified by the authority."""
    served = authority.serve(NOW)
    return a_server_with((served.chain.encode(), served.key.encode()), folder, status)


def roots_of(authority: Authority, path: Path) -> str:
    path.write_text(authority.trusted(NOW))
    return str(path)


@pytest.mark.parametrize(("status", "exit_status"), [(200, 0), (401, 0), (404, 0), (500, 1), (503, 1)])
def test_any_answer_will_do_except_a_fault_of_the_server(status, exit_status, tmp_path, capsys):
    authority = Authority.begin(("localhost",), NOW)
    roots = roots_of(authority, tmp_path / "roots.pem")
    with a_server(authority, tmp_path, status) as url:
        assert ANSWERS.main([url, roots], patience=0) == exit_status
    assert capsys.readouterr().out == f"{url}: answers {status}\n"


@pytest.mark.parametrize(
    ("names", "believed", "why"),
    [
        (("localhost",), "another", "CERTIFICATE_VERIFY_FAILED"),
        (("elsewhere.svc",), "the same", "Hostname mismatch"),
    ],
)
def test_a_certificate_of_somebody_else_is_not_believed(names, believed, why, tmp_path, capsys):
    authority = Authority.begin(names, NOW)
    trusted = authority if believed == "the same" else Authority.begin(names, NOW)
    roots = roots_of(trusted, tmp_path / "roots.pem")
    with a_server(authority, tmp_path, 200) as url:
        assert ANSWERS.main([url, roots], patience=0) == 1
    assert why in capsys.readouterr().out


@pytest.mark.parametrize(("believed", "exit_status"), [("the same", 0), ("another", 1)])
def test_where_an_issuer_has_written_no_roots_the_systems_count(believed, exit_status, tmp_path, monkeypatch):
    authority = Authority.begin(("localhost",), NOW)
    trusted = authority if believed == "the same" else Authority.begin(("localhost",), NOW)
    monkeypatch.setenv("SSL_CERT_FILE", roots_of(trusted, tmp_path / "system.pem"))
    with a_server(authority, tmp_path, 200) as url:
        assert ANSWERS.main([url, str(tmp_path / "ca.crt")], patience=0) == exit_status


def test_a_certificate_from_elsewhere_is_believed_as_the_api_server_believes_it(tmp_path, monkeypatch):
    """Python 3.13 asks for more by itself; here any does."""
    made = ssl.create_default_context

    def strict(**options: str | None) -> ssl.SSLContext:
        context = made(**options)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", strict)
    authority = Elsewhere()
    roots = tmp_path / "roots.pem"
    roots.write_bytes(authority.pem)
    with a_server_with(authority.pair("localhost"), tmp_path, 200) as url:
        assert ANSWERS.main([url, str(roots)], patience=0) == 0


@needs_helm
def test_a_secret_without_roots_keeps_the_test_from_nothing():
    spec = the("Pod", f"{NAME}-test", all_of("certManager"))["spec"]
    (secret,) = (each["secret"] for each in spec["volumes"] if each["name"] == "webhook")
    assert secret["optional"] is True
    assert [each["key"] for each in secret["items"]] == ["ca.crt"]


def test_one_that_does_not_answer_is_enough_to_fail(tmp_path, capsys):
    authority = Authority.begin(("localhost",), NOW)
    roots = roots_of(authority, tmp_path / "roots.pem")
    with a_server(authority, tmp_path, 200) as url:
        nobody = "https://localhost:1/"
        assert ANSWERS.main([nobody, roots, url, roots], patience=0) == 1
    said = capsys.readouterr().out
    assert f"{url}: answers 200" in said
    assert f"{nobody}: ConnectionRefusedError" in said
