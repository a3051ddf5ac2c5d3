"""The verbs: each reads, lets the pure rooms find words, writes, and tells an exit status.

Every one raises Trouble where it cannot be done. Must not know the command line.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import yaml
from rich.console import Console

from checkpointheal.contract.base import shown
from checkpointheal.contract.seats import pod_name
from checkpointheal_operator.plugin import explaining, history, standing
from checkpointheal_operator.plugin import report as reporting
from checkpointheal_operator.plugin.following import follow
from checkpointheal_operator.plugin.live import LiveScreen, PlainLines, Screen
from checkpointheal_operator.plugin.printing import console_on, write
from checkpointheal_operator.plugin.reading import Reader
from checkpointheal_operator.plugin.seen import seen
from checkpointheal_operator.plugin.trouble import AMISS, FINE, NO_ACCESS, Trouble
from checkpointheal_operator.shell.cluster import HEALS
from checkpointheal_operator.shell.gather import POLICY_LABEL, policy_label
from checkpointheal_operator.shell.kube import Selection


@dataclass(frozen=True)
class Desk:
    """What every verb works with. An empty namespace: all of them. `clock` tells seconds since 1970."""

    reader: Reader
    namespace: str
    out: TextIO
    clock: Callable[[], float] = time.time

    @property
    def scope(self) -> str:
        """Where is looked."""
        return f"in namespace {self.namespace}" if self.namespace else "in any namespace"

    async def expect_namespace(self) -> None:
        """Raises Trouble where one was named that is not there."""
        if self.namespace:
            await self.reader.expect_namespace(self.namespace)

    def console(self) -> Console:
        """Where answers are drawn."""
        return console_on(self.out)


async def status(desk: Desk) -> int:
    """What is amiss, then every job."""
    found = await desk.reader.seen(desk.namespace)
    if not found.policies and not found.pods:
        await desk.expect_namespace()
    jobs = standing.jobs_of(found)
    write(desk.console(), standing.page(found, desk.scope, desk.clock(), jobs))
    if found.lacking:
        return NO_ACCESS
    return AMISS if standing.problems(found, jobs) else FINE


async def explain(desk: Desk, pod: str) -> int:
    """One pod and its latest heal; of `POD/2` the latest of that local rank."""
    seat = pod.removeprefix("pods/").removeprefix("pod/")
    name = pod_name(seat)
    body = await desk.reader.pod(desk.namespace, name)
    found = await desk.reader.seen(desk.namespace)
    events = await desk.reader.events(desk.namespace, name)
    about = found if seat == name else found.received_by(seat)
    page = explaining.page(body, about, events, desk.clock())
    write(desk.console(), page)
    if found.lacking:
        return NO_ACCESS
    return AMISS if explaining.is_amiss(page) else FINE


@dataclass(frozen=True)
class Wanted:
    """Which heals, and how they are written: `table`, `json` or `yaml`."""

    labels: str = ""
    policy: str = ""
    pod: str = ""
    output: str = "table"

    @property
    def is_narrow(self) -> bool:
        """Whether there may be others."""
        return bool(self.labels or self.policy or self.pod)

    def selection(self, namespace: str) -> Selection:
        """What the API server filters by."""
        labels = [
            each for each in (self.labels, f"{POLICY_LABEL}={policy_label(self.policy)}" if self.policy else "") if each
        ]
        return Selection(HEALS, ",".join(labels), namespace)


async def past(desk: Desk, wanted: Wanted) -> int:
    """Heals as a table, or as they stand in the API."""
    found = await desk.reader.all(wanted.selection(desk.namespace))
    read = seen((), found, ())
    if not found:
        await desk.expect_namespace()
    meant = [each for each in read.heals if history.Filter(wanted.pod).takes(each)]
    if wanted.output == "table":
        scope = f"such heal {desk.scope}" if wanted.is_narrow else f"heal {desk.scope}"
        page = history.page(meant, scope, desk.clock(), namespaced=not desk.namespace)
        write(desk.console(), (*page, *history.unread(read.unreadable)))
        return AMISS if read.unreadable else FINE
    uids = {each.metadata.uid for each in meant}
    items = [each for each in found if not wanted.pod or each["metadata"]["uid"] in uids]
    body = {"apiVersion": "v1", "kind": "List", "items": items}
    text = yaml.safe_dump(body, sort_keys=False) if wanted.output == "yaml" else json.dumps(body, indent=2) + "\n"
    desk.out.write(text)
    return FINE


async def watch(desk: Desk) -> int:
    """Until interrupted."""
    await desk.expect_namespace()
    console = desk.console()
    redrawn = console.is_terminal and not console.is_dumb_terminal
    screen: Screen = LiveScreen(console, desk.clock) if redrawn else PlainLines(desk.out)
    await follow(desk.reader, desk.namespace, screen, desk.clock)
    return FINE


async def report(desk: Desk, output: str, operator: str) -> int:
    """One file for those who help."""
    await desk.expect_namespace()
    now = desk.clock()
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    file = Path(output or f"checkpointheal-report-{desk.namespace or 'all'}-{stamp}.tar.gz")
    if file.exists():
        raise Trouble(f"{file} is there already", "name a new file with -o")
    bundle = await reporting.collected(desk.reader, desk.namespace, operator, now)
    try:
        reporting.save(bundle, file, now)
    except OSError as error:
        raise Trouble(f"{file} cannot be written: {error.strerror or error}", "name another file with -o") from error
    desk.out.write(f"wrote {file}: {len(bundle.files)} files; look through it before you give it away\n")
    for line in bundle.missing:
        desk.out.write(f"missing: {shown(line)}\n")
    return FINE
