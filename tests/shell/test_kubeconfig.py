"""A kubeconfig as users have it: several files, certificates, tokens, and programs that log in."""

import asyncio
import json
import ssl
import stat
import sys
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from builders_elsewhere import Authority
from checkpointheal_operator.shell.access import NoCluster
from checkpointheal_operator.shell.exec_login import ExecLogin
from checkpointheal_operator.shell.kubeconfig import Context, context_of

URL = "http://127.0.0.1:8001"


def a_config(user: dict[str, Any], cluster: dict[str, Any] | None = None, **said: Any) -> dict[str, Any]:
    """One context named `here`."""
    return {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "training"}}],
        "clusters": [{"name": "c", "cluster": cluster or {"server": URL}}],
        "users": [{"name": "u", "user": user}],
    } | said


def written(folder: Path, said: object, name: str = "config") -> Path:
    path = folder / name
    path.write_text(said if isinstance(said, str) else yaml.safe_dump(said))
    return path


def of(folder: Path, user: dict[str, Any], **cluster: Any) -> Context:
    return context_of({}, written(folder, a_config(user, {"server": URL} | cluster)))


def a_program(folder: Path, answer: object, *, status: int = 0) -> str:
    """Says `answer`, and writes down what it was asked."""
    path = folder / "login"
    lines = (
        f"#!{sys.executable}",
        "import json, os, sys",
        f"open({str(folder / 'asked')!r}, 'a').write(os.environ['KUBERNETES_EXEC_INFO'] + chr(10))",
        f"print({(answer if isinstance(answer, str) else json.dumps(answer))!r})",
        f"sys.exit({status})",
    )
    path.write_text("\n".join(lines) + "\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def credential(**status: str) -> dict[str, Any]:
    return {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}


def an_exec(command: str, **said: Any) -> dict[str, Any]:
    return {"apiVersion": "client.authentication.k8s.io/v1", "command": command, "interactiveMode": "Never"} | said


def test_a_token_and_a_namespace_are_read(tmp_path):
    found = of(tmp_path, {"token": "secret"})
    assert (found.name, found.namespace, found.access.url, found.access.token()) == ("here", "training", URL, "secret")


def test_a_tokens_file_is_read_at_each_request(tmp_path):
    (tmp_path / "token").write_text("one\n")
    access = of(tmp_path, {"tokenFile": "token"}).access
    assert access.token() == "one"
    (tmp_path / "token").write_text("two\n")
    assert access.token() == "two"
    (tmp_path / "token").unlink()
    with pytest.raises(NoCluster, match="token cannot be read"):
        access.token()


def test_of_several_files_the_first_that_says_something_is_believed(tmp_path):
    first = written(tmp_path, a_config({"token": "first"}), "first")
    second = a_config({"token": "second"})
    second["contexts"].append({"name": "there", "context": {"cluster": "c", "user": "other"}})
    second["users"].append({"name": "other", "user": {"token": "other"}})
    more = written(tmp_path, second | {"current-context": "there"}, "second")
    environment = {"KUBECONFIG": f"{tmp_path / 'none'}:{first}:{more}"}
    assert context_of(environment).access.token() == "first"
    there = context_of(environment, name="there")
    assert (there.access.token(), there.namespace) == ("other", "default")


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("{", "cannot be read"),
        ("- a", "is no kubeconfig"),
        ("", "no current context"),
        (a_config({}, contexts=[]), "no context 'here'; there are: none"),
        (a_config({}, clusters=[]), "no cluster 'c'"),
        (a_config({}, users=[]), "no user 'u'"),
        (a_config({}, {"insecure-skip-tls-verify": True}), "names no server"),
        (a_config({"username": "me", "password": "x"}), "by password"),
        (a_config({"as": "somebody"}), "acts as somebody else"),
        (a_config({}, {"server": "https://h", "certificate-authority-data": "!"}), "certificate-authority cannot be"),
        (a_config({}, {"server": "https://h", "certificate-authority": "none"}), "certificate-authority cannot be"),
        (a_config({}, {"server": "https://h", "certificate-authority-data": "eA=="}), "is no certificate"),
        (
            a_config({"client-certificate-data": "eA==", "client-key-data": "eA=="}, {"server": "https://h"}),
            "do not fit",
        ),
        (a_config({"auth-provider": {"name": "oidc"}}, {"server": "https://h"}), "gave no token"),
    ],
)
def test_what_is_wrong_with_a_kubeconfig_is_said(tmp_path, said, sentence):
    with pytest.raises(NoCluster, match=sentence):
        context_of({}, written(tmp_path, said)).access.token()


def test_without_any_kubeconfig_its_place_is_named(tmp_path):
    with pytest.raises(NoCluster, match=f"no kubeconfig at {tmp_path}/none: set KUBECONFIG"):
        context_of({"KUBECONFIG": f"{tmp_path}/none"})


@pytest.mark.parametrize(
    ("server", "environment", "proxy"),
    [
        ("https://api.example", {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ("https://api.example", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": ".example"}, None),
        ("https://127.0.0.1:6443", {"HTTPS_PROXY": "http://p:1"}, None),
        ("https://api.example", {}, None),
    ],
)
def test_a_proxy_is_the_environments_but_never_for_this_machine(tmp_path, server, environment, proxy):
    file = written(tmp_path, a_config({"token": "t"}, {"server": server}))
    assert context_of(environment, file).access.proxy == proxy


def test_a_proxy_of_the_kubeconfig_goes_first(tmp_path):
    access = of(tmp_path, {"token": "t"}, **{"proxy-url": "http://mine:2"}).access
    assert access.proxy == "http://mine:2"


def test_a_program_logs_in_and_is_told_what_it_asked_for(tmp_path):
    login = an_exec(a_program(tmp_path, credential(token="fresh")), provideClusterInfo=True)
    assert of(tmp_path, {"exec": login}).access.token() == "fresh"
    (asked,) = (tmp_path / "asked").read_text().splitlines()
    assert json.loads(asked)["spec"] == {"interactive": False, "cluster": {"server": URL}}


def test_a_program_is_asked_again_only_when_its_token_has_expired(tmp_path):
    now = [0.0]
    answer = credential(token="t", expirationTimestamp="1970-01-01T00:01:00Z")
    login = ExecLogin(an_exec(a_program(tmp_path, answer)), {}, tmp_path, lambda: now[0])
    for at in (0.0, 49.0, 51.0):
        now[0] = at
        assert login.token() == "t"
    assert len((tmp_path / "asked").read_text().splitlines()) == 2


def test_a_path_begins_at_the_kubeconfigs_folder(tmp_path):
    a_program(tmp_path, credential(token="t"))
    assert of(tmp_path, {"exec": an_exec("./login")}).access.token() == "t"


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ("no json", "no ExecCredential"),
        ("[]", "no ExecCredential"),
        (credential(), "neither a token nor a certificate"),
    ],
)
def test_a_program_that_answers_nothing_useful_is_named(tmp_path, answer, sentence):
    with pytest.raises(NoCluster, match=sentence):
        of(tmp_path, {"exec": an_exec(a_program(tmp_path, answer))}).access.token()


def test_a_program_that_fails_is_named(tmp_path):
    with pytest.raises(NoCluster, match=r"login failed: .*login.* status 3"):
        of(tmp_path, {"exec": an_exec(a_program(tmp_path, "", status=3))}).access.token()


def test_a_program_that_is_missing_is_named_with_its_hint(tmp_path):
    with pytest.raises(NoCluster, match="'no-such-login', which is not installed: get it at the shop"):
        of(tmp_path, {"exec": an_exec("no-such-login", installHint="get it\nat the shop")}).access.token()


def test_a_program_that_must_ask_wants_a_terminal(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    login = an_exec(a_program(tmp_path, credential(token="t")), interactiveMode="Always")
    with pytest.raises(NoCluster, match="wants a terminal"):
        of(tmp_path, {"exec": login}).access.token()


# Certificates.


def asked_over_tls(folder: Path, authority: Authority, user: dict[str, Any], **cluster: Any) -> str:
    """Whom a server that wants a client certificate took us for. Its own is for `kube.example`."""
    for name, pem in zip(("server.crt", "server.key"), authority.pair("kube.example"), strict=True):
        (folder / name).write_bytes(pem)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "server.crt", folder / "server.key")
    tls.load_verify_locations(cadata=authority.pem.decode())
    tls.verify_mode = ssl.CERT_REQUIRED

    async def whom(request: web.Request) -> web.Response:
        assert request.transport is not None
        return web.Response(text=str(dict(request.transport.get_extra_info("peercert")["subject"][0])["commonName"]))

    async def go() -> str:
        app = web.Application()
        app.router.add_get("/", whom)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        url = f"https://127.0.0.1:{runner.addresses[0][1]}"
        try:
            context = context_of({}, written(folder, a_config(user, {"server": url} | cluster)))
            async with context.access.session() as session, session.get(f"{url}/") as answer:
                return await answer.text()
        finally:
            await runner.cleanup()

    return asyncio.run(go())


def test_a_client_certificate_is_shown_and_the_servers_name_compared(tmp_path):
    authority = Authority()
    certificate, key = (b64encode(each).decode() for each in authority.pair("me"))
    root = b64encode(authority.pem).decode()
    user = {"client-certificate-data": certificate, "client-key-data": key}
    cluster = {"certificate-authority-data": root, "tls-server-name": "kube.example"}
    assert asked_over_tls(tmp_path, authority, user, **cluster) == "me"


def test_certificates_may_be_files_beside_the_kubeconfig(tmp_path):
    authority = Authority()
    for name, pem in zip(("me.crt", "me.key"), authority.pair("me"), strict=True):
        (tmp_path / name).write_bytes(pem)
    (tmp_path / "root.crt").write_bytes(authority.pem)
    user = {"client-certificate": "me.crt", "client-key": "me.key"}
    cluster = {"certificate-authority": "root.crt", "tls-server-name": "kube.example"}
    assert asked_over_tls(tmp_path, authority, user, **cluster) == "me"


def test_a_program_may_log_in_by_certificate(tmp_path):
    authority = Authority()
    certificate, key = (each.decode() for each in authority.pair("robot"))
    answer = credential(clientCertificateData=certificate, clientKeyData=key)
    user = {"exec": an_exec(a_program(tmp_path, answer))}
    assert asked_over_tls(tmp_path, authority, user, **{"insecure-skip-tls-verify": True}) == "robot"
