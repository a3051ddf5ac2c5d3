"""What does the program answer that a kubeconfig names to log in, `aws eks get-token` and others?

Asked when a token is first needed, and again when it has expired. What it says on its standard error goes to the
user's, as with kubectl: it may want a browser opened. Must not know what is asked of the API.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from checkpointheal_operator.api.base import MicroTime, Part
from checkpointheal_operator.shell.access import NoCluster
from checkpointheal_operator.shell.kubeconfig_tls import KeyPair

EARLY_SECONDS = 10.0
"""A token that expires on its way is worth nothing."""
CLUSTER_CONFIG = "client.authentication.k8s.io/exec"


class Credential(Part):
    """What it answered."""

    token: str = ""
    client_certificate_data: str = ""
    client_key_data: str = ""
    expiration_timestamp: MicroTime | None = None


class ExecLogin:
    """One user's login. `said` is the kubeconfig's `exec`. `clock` tells seconds since 1970."""

    def __init__(
        self,
        said: Mapping[str, Any],
        cluster: Mapping[str, Any],
        folder: Path,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._said, self._cluster, self._folder, self._clock = said, cluster, folder, clock
        self._known: Credential | None = None

    def token(self) -> str:
        """A token that is good now; empty where it logs in by certificate. Raises NoCluster."""
        return self._current().token

    def keys(self) -> KeyPair | None:
        """The certificate that it logs in with; None where it has a token. Raises NoCluster."""
        known = self._current()
        if not known.client_certificate_data or known.token:
            return None
        return KeyPair(known.client_certificate_data.encode(), known.client_key_data.encode())

    def _current(self) -> Credential:
        known = self._known
        if known is None or (known.expiration_timestamp or float("inf")) <= self._clock() + EARLY_SECONDS:
            self._known = known = _understood(self._run(), str(self._said.get("command")))
        return known

    def _run(self) -> str:
        command, interactive = str(self._said.get("command") or ""), sys.stdin is not None and sys.stdin.isatty()
        mode = self._said.get("interactiveMode", "IfAvailable")
        if mode == "Always" and not interactive:
            raise NoCluster(f"the kubeconfig logs in with {command}, which wants a terminal to ask on")
        interactive = interactive and mode != "Never"
        try:
            ended = subprocess.run(  # noqa: S603 the user's own kubeconfig names it, as for kubectl
                [self._program(command), *map(str, self._said.get("args") or ())],
                env=self._environment(interactive=interactive),
                stdin=None if interactive else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                check=True,
                text=True,
            )
        except FileNotFoundError as error:
            hint = f": {' '.join(str(self._said['installHint']).split())}" if self._said.get("installHint") else ""
            raise NoCluster(f"the kubeconfig logs in with {command!r}, which is not installed{hint}") from error
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            raise NoCluster(f"the kubeconfig's login failed: {error}") from error
        return ended.stdout

    def _program(self, command: str) -> str:
        """A path begins at the kubeconfig's folder, a bare name is looked for as a shell does."""
        return str(self._folder / command) if os.sep in command else command

    def _environment(self, *, interactive: bool) -> dict[str, str]:
        more = {str(each.get("name")): str(each.get("value")) for each in self._said.get("env") or ()}
        spec: dict[str, Any] = {"interactive": interactive}
        if self._said.get("provideClusterInfo"):
            spec["cluster"] = _cluster_info(self._cluster)
        info = {"apiVersion": self._said.get("apiVersion"), "kind": "ExecCredential", "spec": spec}
        return os.environ | more | {"KUBERNETES_EXEC_INFO": json.dumps(info)}


def _cluster_info(cluster: Mapping[str, Any]) -> dict[str, Any]:
    known = {key: value for key, value in cluster.items() if key not in ("extensions", "certificate-authority")}
    extensions = {each.get("name"): each.get("extension") for each in cluster.get("extensions") or ()}
    return known | ({"config": extensions[CLUSTER_CONFIG]} if CLUSTER_CONFIG in extensions else {})


def _understood(answer: str, command: str) -> Credential:
    try:
        found = json.loads(answer)
        credential = Credential.model_validate(found["status"])
    except (ValueError, TypeError, KeyError, ValidationError) as error:
        raise NoCluster(f"the kubeconfig's login {command} answered no ExecCredential with a status") from error
    if not credential.token and not (credential.client_certificate_data and credential.client_key_data):
        raise NoCluster(f"the kubeconfig's login {command} answered neither a token nor a certificate with its key")
    return credential
