"""What goes into a report, and where does it come from?

Everything that can be read is taken, everything else is named in `missing.txt`. No Secret is ever asked for. Must not
know what is wrong.
"""

import gzip
import io
import json
import os
import platform
import tarfile
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import yaml
from rich.console import Console

from checkpointheal.contract.installed import version_of
from checkpointheal_operator.api.base import Json
from checkpointheal_operator.core.injection_parts import AGENT
from checkpointheal_operator.core.pod_trouble import has_agent
from checkpointheal_operator.plugin import history, standing
from checkpointheal_operator.plugin.pages import Page
from checkpointheal_operator.plugin.printing import ENDLESS, write
from checkpointheal_operator.plugin.reading import Reader
from checkpointheal_operator.plugin.redaction import redacted, scrubbed
from checkpointheal_operator.plugin.seen import seen
from checkpointheal_operator.plugin.trouble import INSTALL, INSTALLED, Request, Trouble
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS, EVENTS, HEALS, PODS, WEBHOOKS, Kind, Ref
from checkpointheal_operator.shell.gather import OPTED_IN
from checkpointheal_operator.shell.kube import Selection

VERSIONS = Kind("", "Version", "version")
USUAL = "checkpointheal-system"
"""The namespace where it is installed as a rule."""
OPERATOR_LINES, AGENT_LINES = 5000, 1000
AGENTS_AT_MOST = 64
NAME_IT = "name its namespace with --operator-namespace"
NAME_ANOTHER = "name another one with --operator-namespace, or none to look everywhere"
INSIDE = """\
A report about CheckpointHeal, made by `kubectl checkpointheal report`.

  status.txt, history.txt   what these verbs print
  objects/                  CheckpointHeals, Heals, opted-in Pods, Events about them, the webhook's configuration,
                            the operator's Pods
  logs/                     the ends of the operator's and the webhook's logs, and of each agent's
  versions.json             of this plugin, of the cluster
  missing.txt               what could not be read, and which right is missing

Left out: Secrets (never read), the trainers' logs (never read), every environment variable's value but those of
CHECKPOINTHEAL_ variables that are no secrets, all but the first word of your containers' commands, their probes,
annotations that say nothing about a pod's place, what volumes tell their drivers, and whatever is called or looks like
a token, a key or a password. Names of pods, nodes, images and labels are inside: read it before you give it away.
"""

Answer = TypeVar("Answer")


@dataclass
class Bundle:
    """Files by name, and what is missing."""

    files: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    lacking: list[Trouble] = field(default_factory=list)

    async def try_for(self, question: Awaitable[Answer], otherwise: Answer) -> Answer:
        """The answer; without one, `otherwise`, and a line about it. Raises Trouble where nothing answered yet."""
        try:
            return await question
        except Trouble as trouble:
            if trouble.deaf and not self.files:
                raise
            self.lacking.append(trouble)
            if trouble.sentence not in self.missing:
                self.missing.append(trouble.sentence)
            return otherwise

    def add(self, name: str, objects: Iterable[Json]) -> None:
        """Objects, redacted."""
        items = [redacted(each) for each in objects]
        body = {"apiVersion": "v1", "kind": "List", "items": items}
        self.files[f"objects/{name}.yaml"] = yaml.safe_dump(body, sort_keys=False, width=120)

    def print(self, name: str, page: Page) -> None:
        """What a verb would have printed."""
        stream = io.StringIO()
        write(Console(file=stream, width=ENDLESS, highlight=False, emoji=False, markup=False), page)
        self.files[name] = scrubbed(stream.getvalue())


async def collected(reader: Reader, namespace: str, operator: str, now: float) -> Bundle:
    """Everything. An empty namespace: all of them. `operator`: where it is, if that is known. Raises Trouble."""
    bundle = Bundle()
    server = await bundle.try_for(reader.answered(reader.kube.version(), Request("get", VERSIONS)), {})
    found = [
        await bundle.try_for(reader.all(selection), [])
        for selection in (
            Selection(CHECKPOINTHEALS, namespace=namespace),
            Selection(HEALS, namespace=namespace),
            Selection(PODS, OPTED_IN, namespace),
        )
    ]
    for name, objects in zip(("checkpointheals", "heals", "pods"), found, strict=True):
        bundle.add(name, objects)
    uids = {each["metadata"]["uid"] for objects in found for each in objects}
    said = await bundle.try_for(reader.all(Selection(EVENTS, namespace=namespace)), [])
    bundle.add("events", (each for each in said if each.get("involvedObject", {}).get("uid") in uids))
    bundle.add("webhooks", await bundle.try_for(reader.all(Selection(WEBHOOKS, INSTALLED)), []))
    scope = f"in namespace {namespace}" if namespace else "in any namespace"
    view = replace(seen(*found), lacking=tuple(bundle.lacking))
    bundle.print("status.txt", standing.page(view, scope, now))
    bundle.print("history.txt", history.page(view.heals, f"heal {scope}", now, namespaced=True))
    await _logs(bundle, reader, found[2], operator)
    bundle.files["versions.json"] = json.dumps(_versions() | {"server": server}, indent=2) + "\n"
    bundle.files["missing.txt"] = "\n".join(bundle.missing) + "\n" if bundle.missing else "nothing\n"
    bundle.files["README.txt"] = INSIDE
    return bundle


async def _logs(bundle: Bundle, reader: Reader, pods: list[Json], operator: str) -> None:
    ours = await bundle.try_for(_operators(reader, operator), [])
    bundle.add("operator-pods", ours)
    for pod in ours:
        for container in pod.get("spec", {}).get("containers") or ():
            await _log(bundle, reader, pod, str(container["name"]), OPERATOR_LINES)
    injected = [pod for pod in pods if has_agent(pod)]
    if len(injected) > AGENTS_AT_MOST:
        bundle.missing.append(
            f"logs of {len(injected) - AGENTS_AT_MOST} more agents: at most {AGENTS_AT_MOST} are read"
        )
    for pod in injected[:AGENTS_AT_MOST]:
        await _log(bundle, reader, pod, AGENT, AGENT_LINES)


async def _operators(reader: Reader, named: str) -> list[Json]:
    """Pods of operator and webhook: in the named namespace, else in any. Raises Trouble, also where there are none."""
    where, fix = f"namespace {named}" if named else "any namespace", NAME_ANOTHER if named else INSTALL
    try:
        found = await reader.all(Selection(PODS, INSTALLED, named))
    except Trouble as trouble:
        if named or trouble.deaf:
            raise
        where, fix = f"namespace {USUAL}, and {trouble.sentence}", NAME_IT
        found = await reader.all(Selection(PODS, INSTALLED, USUAL))
    if not found:
        raise Trouble(f"no operator found in {where}: no pod there is labelled {INSTALLED}; {fix}")
    return found


async def _log(bundle: Bundle, reader: Reader, pod: Json, container: str, lines: int) -> None:
    """And that of its former life, where it had one."""
    metadata = pod["metadata"]
    ref = Ref(PODS, metadata["namespace"], metadata["name"])
    status = pod.get("status", {})
    known = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    restarted = any(each.get("name") == container and each.get("restartCount") for each in known)
    name = f"logs/{ref.namespace}/{ref.name}.{container}"
    query = {"container": container, "tailLines": str(lines), "timestamps": "true"}
    bundle.files[f"{name}.log"] = scrubbed(await bundle.try_for(reader.log(ref, query), ""))
    if restarted:
        before = await bundle.try_for(reader.log(ref, query | {"previous": "true"}), "")
        bundle.files[f"{name}.previous.log"] = scrubbed(before)


def save(bundle: Bundle, file: Path, now: float) -> None:
    """Write it, for its owner's eyes alone. Raises OSError, FileExistsError where there is such a file."""
    with (
        open(file, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as raw,
        gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=int(now)) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for name, text in sorted(bundle.files.items()):
            body = text.encode()
            about = tarfile.TarInfo(f"{file.name.removesuffix('.gz').removesuffix('.tar')}/{name}")
            about.size, about.mtime, about.mode = len(body), int(now), 0o600
            tar.addfile(about, io.BytesIO(body))


def _versions() -> Json:
    return {
        "plugin": version_of() or "not installed",
        "python": platform.python_version(),
        "system": platform.platform(),
    }
