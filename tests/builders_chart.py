"""The chart, rendered by Helm as a user would, and read back."""

import functools
import importlib.util
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from checkpointheal_operator.core.injection_settings import InjectionSettings

ROOT = Path(__file__).parents[1]
CHART = ROOT / "charts" / "checkpointheal"
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""In C where it is there: the definitions are long."""
HELM = shutil.which("helm")
NAMESPACE = "checkpointheal-system"
A_BUNDLE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
MODES = {
    "process": (),
    "certManager": (("webhook.certificate.mode", "certManager"),),
    "secret": (
        ("webhook.certificate.mode", "secret"),
        ("webhook.certificate.secretName", "mine"),
        ("webhook.certificate.caBundle", A_BUNDLE),
    ),
}
"""What each mode of the webhook's certificate needs to be told."""
EVERYTHING = tuple(
    (f"{switch}.enabled", True) for switch in ("networkPolicy", "serviceMonitor", "prometheusRule", "dashboard")
)
"""All that is off unless asked for."""

NAME, WEBHOOK = "checkpointheal", "checkpointheal-webhook"
every_mode = pytest.mark.parametrize("mode", MODES)
needs_helm = pytest.mark.skipif(HELM is None, reason="helm is not installed: the chart cannot be rendered")

Manifest = dict[str, Any]
Setting = tuple[str, Any]


class Once(LOADER):
    """Takes no key twice, which YAML forbids and most readers let pass."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Manifest:
        keys = [key.value for key, _ in node.value]
        assert len(set(keys)) == len(keys), f"{node.start_mark}: twice the same among {keys}"
        return super().construct_mapping(node, deep)


def run_helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([HELM or "helm", *arguments], capture_output=True, text=True, timeout=60, check=False)


def said(*settings: Setting) -> list[str]:
    return [f"--set-json={path}={json.dumps(value)}" for path, value in settings]


def helm_template(
    *settings: Setting, name: str = "checkpointheal", namespace: str = NAMESPACE
) -> subprocess.CompletedProcess[str]:
    return run_helm("template", name, str(CHART), "--namespace", namespace, *said(*settings))


def rendered(*settings: Setting, name: str = "checkpointheal", namespace: str = NAMESPACE) -> list[Manifest]:
    """Every manifest; a definition that is left out leaves a document with nothing in it. Not to be written to."""
    return _read(tuple(said(*settings)), name, namespace)


def all_of(mode: str = "process", *more: Setting) -> list[Manifest]:
    """With everything that can be switched on."""
    return rendered(*MODES[mode], *EVERYTHING, *more)


@functools.cache
def _read(arguments: tuple[str, ...], name: str, namespace: str) -> list[Manifest]:
    done = run_helm("template", name, str(CHART), "--namespace", namespace, *arguments)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.load_all(done.stdout, Once) if each is not None]


def the(kind: str, name: str, manifests: list[Manifest]) -> Manifest:
    found = [each for each in manifests if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    assert len(found) == 1, f"{len(found)} of {kind} {name}"
    return found[0]


def kinds(manifests: list[Manifest]) -> set[str]:
    return {each["kind"] for each in manifests}


def pod_specs(manifests: list[Manifest]) -> list[Manifest]:
    """Of everything that makes pods."""
    made = [each for each in manifests if each["kind"] in ("Deployment", "Pod")]
    return [each["spec"] if each["kind"] == "Pod" else each["spec"]["template"]["spec"] for each in made]


def defaults() -> Manifest:
    return yaml.safe_load((CHART / "values.yaml").read_text())


def schema() -> Manifest:
    return json.loads((CHART / "values.schema.json").read_text())


def container(deployment: Manifest) -> Manifest:
    (only,) = deployment["spec"]["template"]["spec"]["containers"]
    return only


def environment(deployment: Manifest) -> dict[str, Any]:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container(deployment)["env"]}


def settings_of(manifests: list[Manifest]) -> InjectionSettings:
    return InjectionSettings.model_validate_json(
        the("ConfigMap", f"{NAME}-injection", manifests)["data"]["settings.json"]
    )


def key_of(each: Manifest) -> tuple[str, str]:
    return each["kind"], each["metadata"]["name"]


def script(path: Path) -> Any:
    """A Python file that belongs to no package, as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
