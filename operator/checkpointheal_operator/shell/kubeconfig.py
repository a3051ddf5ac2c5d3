"""Where is the API server, and as whom do we speak to it, on somebody's machine?

Files are found and merged as kubectl does. Logins of the old kind (`auth-provider`) are left to the official client,
which knows them; it is imported for them alone. Must not know what is asked.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from checkpointheal_operator.shell.access import Access, NoCluster
from checkpointheal_operator.shell.exec_login import ExecLogin
from checkpointheal_operator.shell.kubeconfig_tls import KeyPair, tls_of

HOME = Path("~/.kube/config")
LISTS = {"contexts": "context", "clusters": "cluster", "users": "user"}
BEARER = "Bearer "


@dataclass(frozen=True)
class Entry:
    """What a kubeconfig says under one name, and the folder that its relative paths begin at."""

    said: Mapping[str, Any]
    folder: Path


@dataclass(frozen=True)
class Kubeconfig:
    """Several files as one. The first that says something is believed."""

    current: str
    contexts: Mapping[str, Entry]
    clusters: Mapping[str, Entry]
    users: Mapping[str, Entry]


@dataclass(frozen=True)
class Context:
    """A cluster, as somebody, with the namespace that is meant where none is named."""

    name: str
    namespace: str
    access: Access


def from_kubeconfig(path: Path | None = None) -> Access:
    """As the kubeconfig's current context says; without a path, where kubectl looks. Raises NoCluster."""
    return context_of(os.environ, path).access


def context_of(environment: Mapping[str, str], path: Path | None = None, name: str = "") -> Context:
    """The context of that name; without one, the current one. Raises NoCluster."""
    files = [path] if path else _places(environment)
    found = _merged(files)
    name = name or found.current
    if not name:
        raise NoCluster(f"{_told(files)} names no current context: kubectl config use-context NAME")
    context = _entry(found.contexts, name, "context").said
    cluster = _entry(found.clusters, str(context.get("cluster", "")), "cluster")
    user = str(context.get("user") or "")
    access = _access(cluster, _entry(found.users, user, "user") if user else Entry({}, cluster.folder), files)
    if access.proxy is None:
        access = access._replace(proxy=_proxy(access.url, environment))
    return Context(name, str(context.get("namespace") or "default"), access)


def _proxy(url: str, environment: Mapping[str, str]) -> str | None:
    """As the environment says, which never means the machine itself."""
    known = {key.lower(): value for key, value in environment.items() if key.lower().endswith("_proxy")}
    where = urlsplit(url)
    host = where.hostname or ""
    if host == "localhost" or host.startswith("127.") or host == "::1":
        return None
    spared = [each.strip().lstrip("*.") for each in known.get("no_proxy", "").split(",")]
    if any(each and f".{host}".endswith(f".{each}") for each in spared):
        return None
    return known.get(f"{where.scheme}_proxy") or None


def _places(environment: Mapping[str, str]) -> list[Path]:
    said = environment.get("KUBECONFIG", "")
    return [Path(each).expanduser() for each in said.split(os.pathsep) if each] or [HOME.expanduser()]


def _merged(files: list[Path]) -> Kubeconfig:
    there = [file for file in files if file.exists()]
    if not there:
        raise NoCluster(f"there is no kubeconfig at {_told(files)}: set KUBECONFIG, or get one for your cluster")
    current, parts = "", {key: dict[str, Entry]() for key in LISTS}
    for file in there:
        said = _read(file)
        current = current or str(said.get("current-context") or "")
        for key, inner in LISTS.items():
            for each in said.get(key) or ():
                if isinstance(each, Mapping) and isinstance(each.get(inner), Mapping):
                    parts[key].setdefault(str(each.get("name")), Entry(each[inner], file.absolute().parent))
    return Kubeconfig(current, **parts)


def _read(file: Path) -> Mapping[str, Any]:
    try:
        said = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise NoCluster(f"the kubeconfig {file} cannot be read: {' '.join(str(error).split())}") from error
    if said is not None and not isinstance(said, Mapping):
        raise NoCluster(f"{file} is no kubeconfig")
    return said or {}


def _entry(known: Mapping[str, Entry], name: str, what: str) -> Entry:
    if name not in known:
        there = ", ".join(sorted(known)) or "none"
        raise NoCluster(f"the kubeconfig has no {what} {name!r}; there are: {there}")
    return known[name]


def _access(cluster: Entry, user: Entry, files: list[Path]) -> Access:
    url = str(cluster.said.get("server") or "").rstrip("/")
    if not url.startswith(("https://", "http://")):
        raise NoCluster("the kubeconfig's cluster names no server")
    if "as" in user.said or "username" in user.said:
        raise NoCluster("the kubeconfig's user acts as somebody else, or by password: neither is supported here")
    if "auth-provider" in user.said and not _token_of(user):
        return _old_login(files)
    login = ExecLogin(user.said["exec"], cluster.said, user.folder) if "exec" in user.said else None
    keys = KeyPair.of(user.said, user.folder)
    if login is not None and not (keys or _token_of(user)):
        keys = login.keys()
    tls = tls_of(cluster.said, cluster.folder, keys) if url.startswith("https") else None
    token = _token_of(user) or (login.token if login and not keys else _nobody)
    proxy, name = (str(cluster.said.get(key) or "") for key in ("proxy-url", "tls-server-name"))
    return Access(url, token, tls, proxy or None, name or None)


def _token_of(user: Entry) -> Callable[[], str] | None:
    """A token's file is read at each request: whoever wrote it replaces it before it expires."""
    if file := user.said.get("tokenFile"):
        path = user.folder / Path(str(file)).expanduser()

        def read() -> str:
            try:
                return path.read_text().strip()
            except OSError as error:
                raise NoCluster(f"the kubeconfig's token cannot be read: {error}") from error

        return read
    token = str(user.said.get("token") or "")
    return (lambda: token) if token else None


def _nobody() -> str:
    return ""


def _old_login(files: list[Path]) -> Access:
    """Whoever logs in looks by itself whether the token still holds."""
    from kubernetes import client, config  # noqa: PLC0415 a second's worth, for a few users

    found = client.Configuration()
    try:
        load: Callable[..., None] = config.load_kube_config
        load(os.pathsep.join(map(str, files)), client_configuration=found)
    except (config.ConfigException, OSError) as error:
        raise NoCluster(f"the kubeconfig's login failed: {error}") from error

    def token() -> str:
        signed = str(found.get_api_key_with_prefix("BearerToken") or "")
        if not signed:
            raise NoCluster("the kubeconfig's login by auth-provider gave no token: log in again")
        return signed.removeprefix(BEARER)

    host = str(found.host)
    cluster = {"insecure-skip-tls-verify": not found.verify_ssl, "certificate-authority": found.ssl_ca_cert}
    return Access(host, token, tls_of(cluster, Path(), None) if host.startswith("https") else None)


def _told(files: list[Path]) -> str:
    return " or ".join(map(str, files))
