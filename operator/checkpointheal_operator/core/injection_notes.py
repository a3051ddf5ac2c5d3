"""What should a pod's owner know though the pod was injected, and what of it is written on the pod?

However many annotations there are: whoever may make pods brings them, and all other pods wait meanwhile. Must not know
what is added to the pod.
"""

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from checkpointheal.contract.base import tidy
from checkpointheal_operator.core.annotations import PREFIX
from checkpointheal_operator.core.injected import Note, note
from checkpointheal_operator.core.injection_parts import AGENT
from checkpointheal_operator.core.injection_settings import ANNOTATIONS, INJECTED, InjectionSettings
from checkpointheal_operator.core.pod_manifest import Container, PodManifest
from checkpointheal_operator.core.reasons import Reason, named

LAST_PORT = (1 << 16) - 1


class Mesh(NamedTuple):
    """What people call it, and by which annotations it is told of ports that others come to."""

    name: str
    lets_go: str
    """Of all it carries all but these."""
    takes: str = ""
    """It carries these and no others, whatever it lets go."""


MESHES = {
    "istio-proxy": Mesh(
        "Istio", "traffic.sidecar.istio.io/excludeInboundPorts", "traffic.sidecar.istio.io/includeInboundPorts"
    ),
    "linkerd-proxy": Mesh("Linkerd", "config.linkerd.io/skip-inbound-ports"),
}
"""By the name of the container that each puts into a pod."""
EVERY = "*"
PORTS_READ = 100
_PORTS = re.compile(r"\s*([0-9]{1,5})\s*(?:-\s*([0-9]{1,5})\s*)?")
UNKNOWN_TOLD, LONGEST_KEY = 10, 100
"""Looking for what was meant takes a moment for each. No key of ours that the API server takes is longer."""
ROOM = 256 << 10
"""Bytes that the API server lets all annotations of a pod have: with one too many it refuses the pod."""


def notes_of(pod: PodManifest, settings: InjectionSettings, ports: range) -> Iterator[Note]:
    """All of them."""
    why = why_no_port(pod, ports)
    if why is not None:
        yield note(Reason.PORT_NOT_FIXED, why=why)
    if pod.spec.asks_its_node:
        yield note(Reason.GATEWAY_NOT_FOUND, gateway=settings.gateway)
    if pod.spec.shares_processes and (
        near := [each.name for each in pod.spec.everyone() if _may_be_anybody(pod, each)]
    ):
        yield note(Reason.PROCESSES_SHARED, containers=named(near))
    for mesh in sorted({MESHES[each.name] for each in pod.spec.everyone() if each.name in MESHES}):
        if (key := _carries(mesh, pod.metadata.annotations or {}, ports)) is not None:
            yield note(Reason.MESH_IN_THE_WAY, mesh=mesh.name, port=_written(ports), key=key)
    yield from _unknown([key for key in pod.metadata.annotations or {} if key.startswith(PREFIX)])


def why_no_port(pod: PodManifest, ports: range) -> str | None:
    """Why the agents cannot have these."""
    if pod.spec.host_network:
        return "the pod shares its node's network with other pods"
    if ports[-1] > LAST_PORT:
        return f"there is no port {ports[-1]} for its last local rank"
    others = (each for each in pod.spec.everyone() if each.name != AGENT)
    theirs = (port.container_port for each in others for port in each.ports if port.protocol in ("", "TCP"))
    if (port := next((each for each in theirs if each in ports), None)) is not None:
        return f"another container of the pod listens on {port}"
    return None


def marker(settings: InjectionSettings, trainer: str, notes: Sequence[Note]) -> str:
    """What the annotation says, each reason once."""
    reasons = dict.fromkeys(each.reason for each in notes)
    return json.dumps({"build": settings.build, "trainer": trainer, "notes": [*reasons]}, sort_keys=True)


def tells_other_notes(marked: str, text: str) -> bool:
    """Whether `text` has other notes than the annotation that is there, and nothing else: then this build made both."""
    try:
        there = json.loads(marked)
    except (ValueError, RecursionError):
        return False
    now = json.loads(text)
    return isinstance(there, dict) and there != now and there | {"notes": now["notes"]} == now


def has_room(annotations: Mapping[str, str], text: str) -> bool:
    """Whether the annotation may be written."""
    after = {**annotations, INJECTED: text}
    return sum(len(each.encode(errors="surrogatepass")) for each in (*after, *after.values())) <= ROOM


def _may_be_anybody(pod: PodManifest, container: Container) -> bool:
    return container.name != AGENT and not pod.spec.user_of(container)


def _carries(mesh: Mesh, annotations: Mapping[str, str], ports: range) -> str | None:
    """By which annotation it can be told to carry none of these; None where it does not."""
    takes = annotations.get(mesh.takes, EVERY)
    if takes.strip() == EVERY:
        return None if _named(annotations.get(mesh.lets_go, ""), ports) == {*ports} else mesh.lets_go
    return mesh.takes if _named(takes, ports) or takes.count(",") >= PORTS_READ else None


def _named(said: str, ports: range) -> set[int]:
    """Which of these an annotation of a mesh, of ports and of spans of them, names."""
    found = map(_PORTS.fullmatch, said.split(",", PORTS_READ)[:PORTS_READ])
    spans = [range(int(each[1]), int(each[2] or each[1]) + 1) for each in found if each]
    return {port for port in ports if any(port in span for span in spans)}


def _unknown(keys: Sequence[str]) -> Iterator[Note]:
    unknown = sorted(key for key in keys if key not in ANNOTATIONS)
    for key in islice(unknown, UNKNOWN_TOLD):
        shown = str(tidy(key, LONGEST_KEY))
        nearest = difflib.get_close_matches(shown, ANNOTATIONS, n=1, cutoff=0.0)
        yield note(Reason.UNKNOWN_ANNOTATION, key=shown, nearest=nearest[0])
    if (more := len(unknown) - UNKNOWN_TOLD) > 0:
        yield note(Reason.MORE_UNKNOWN_ANNOTATIONS, count=more, prefix=PREFIX)


def _written(ports: range) -> str:
    return str(ports[0]) if len(ports) == 1 else f"{ports[0]}-{ports[-1]}"
