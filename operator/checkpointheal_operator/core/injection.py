"""What must be added to a pod so that it can be healed?

One question, answered from the pod's manifest and the installation's settings alone: its CheckpointHeal may not exist
yet. A pod that did not opt in is never touched; injecting twice is injecting once; volumes, mounts and variables that
somebody else's webhook removed are put back. Must not know how the pod came here.
"""

from collections.abc import Iterator, Mapping, Sequence
from posixpath import normpath

from pydantic import JsonValue, TypeAdapter, ValidationError

from checkpointheal_operator.core.identity import Placed, Unplaced, place
from checkpointheal_operator.core.injected import Injection, NotInjected, Operation, Report, refuse
from checkpointheal_operator.core.injection_home import is_astray
from checkpointheal_operator.core.injection_notes import has_room, marker, notes_of, tells_other_notes, why_no_port
from checkpointheal_operator.core.injection_parts import (
    AGENT,
    ARENA,
    ARENA_PATH,
    CPU,
    DISK,
    SEATS_VARIABLES,
    TRAINER_VARIABLES,
    VOLUMES,
    Part,
    Room,
    Seat,
    arena_mount,
    home,
    sidecar,
    variables,
    volumes,
)
from checkpointheal_operator.core.injection_settings import INJECT, INJECTED, InjectionSettings, Wishes, wishes_of
from checkpointheal_operator.core.injection_trainer import choose_trainer, is_guaranteed, is_limited, user_of
from checkpointheal_operator.core.pod_manifest import MIRROR_POD, Container, PodManifest, VolumeMount
from checkpointheal_operator.core.quantities import whole
from checkpointheal_operator.core.reasons import Reason

_PARTS = TypeAdapter(list[Part])


def inject(
    pod: Mapping[str, JsonValue], settings: InjectionSettings, promised: Seat | Unplaced | None = None
) -> Injection | NotInjected:
    """Decide. `promised`: the place that a template's pods will find in themselves, where `pod` is a template."""
    try:
        manifest = PodManifest.model_validate(pod)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "pod"
        return refuse(Reason.UNREADABLE_POD, what=f"{where}: {first['msg']}")
    refusal = _closed(manifest)
    if refusal is not None:
        return refusal
    return _seated(manifest, settings, promised or place(manifest.metadata))


def _closed(pod: PodManifest) -> NotInjected | None:
    """Why this pod is none of ours, or cannot have an agent at all."""
    if pod.metadata.labels.get(INJECT) != "true":
        return refuse(Reason.NOT_OPTED_IN, label=f'{INJECT}: "true"')
    if MIRROR_POD in (pod.metadata.annotations or {}):
        return refuse(Reason.MIRROR_POD)
    if pod.spec.os.name != "linux":
        return refuse(Reason.NOT_LINUX, system=pod.spec.os.name)
    if pod.spec.resources:
        return refuse(Reason.POD_LEVEL_RESOURCES)
    return None


def _seated(pod: PodManifest, settings: InjectionSettings, found: Placed | Seat | Unplaced) -> Injection | NotInjected:
    trainer = next((each for each in pod.spec.containers if each.sees(ARENA)), None) if _is_ours(pod) else None
    chosen, wishes = trainer or choose_trainer(pod, settings), wishes_of(pod.metadata, settings)
    if isinstance(chosen, NotInjected):
        return chosen
    if isinstance(wishes, NotInjected):
        return wishes
    if isinstance(found, Unplaced):
        return NotInjected(reason=found.reason, message=found.message)
    if not _is_ours(pod) and (taken := next(_taken(pod, chosen), None)) is not None:
        return refuse(Reason.NAME_TAKEN, what=taken)
    seat = Seat.of(found) if isinstance(found, Placed) else found
    return _injection(pod, chosen, settings, wishes.for_all(seat.local_ranks), seat)


def _is_ours(pod: PodManifest) -> bool:
    return INJECTED in (pod.metadata.annotations or {}) or pod.spec.init_container(AGENT) is not None


def _taken(pod: PodManifest, trainer: Container) -> Iterator[str]:
    """What the pod calls by a name that is ours, though nothing of ours is in it."""
    yield from (f"a container {AGENT}" for each in pod.spec.everyone() if each.name == AGENT)
    yield from (f"a volume {each.name}" for each in pod.spec.volumes or () if each.name in VOLUMES)
    yield from (f"a variable {name}" for name in (*TRAINER_VARIABLES, *SEATS_VARIABLES) if trainer.sets(name))
    yield from (f"a mount at {each.mount_path}" for each in trainer.volume_mounts or () if _hinders(pod, each))


def _hinders(pod: PodManifest, mount: VolumeMount) -> bool:
    """Whether it lies where the arena shall be, or over that and lets nobody make a folder: nothing would start."""
    path = normpath(mount.mount_path)
    if f"{path}/".startswith(f"{ARENA_PATH}/"):
        return True
    is_over = f"{ARENA_PATH}/".startswith(f"{path}/")
    return is_over and (bool(mount.read_only) or pod.spec.is_read_only(mount.name))


def _injection(
    pod: PodManifest, trainer: Container, settings: InjectionSettings, wishes: Wishes, seat: Seat
) -> Injection:
    ports = range(settings.port, settings.port + seat.local_ranks)
    room, notes = _room(pod, trainer, settings, ports), tuple(notes_of(pod, settings, ports))
    patch = (
        *_add("/spec/volumes", pod.spec.volumes, volumes(settings, wishes)),
        *_agent(pod, sidecar(settings, wishes, seat, room), settings, seat),
        *_trainer(pod.spec.containers.index(trainer), trainer, seat),
        *_annotations(pod, marker(settings, trainer.name, notes), dict(seat.marks)),
    )
    reason = _outcome(pod, patch)
    told = {"member": seat.told, "job": seat.job, "trainer": trainer.name, "what": ", ".join(o.path for o in patch)}
    report = Report(
        reason=reason,
        message=reason.tell(**told),
        job=seat.job,
        member=seat.member,
        trainer=trainer.name,
        user=room.user.uid,
        port=room.port,
        arena_bytes=whole(wishes.arena),
        guaranteed=room.guaranteed,
        notes=notes,
    )
    return Injection(patch=patch, report=report)


def _outcome(pod: PodManifest, patch: Sequence[Operation]) -> Reason:
    if not _is_ours(pod):
        return Reason.INJECTED
    return Reason.INJECTION_MENDED if patch else Reason.ALREADY_INJECTED


def _room(pod: PodManifest, trainer: Container, settings: InjectionSettings, ports: range) -> Room:
    others = [each for each in pod.spec.everyone() if each.name != AGENT]
    return Room(
        user=user_of(pod, trainer, others, settings),
        port=ports[0] if why_no_port(pod, ports) is None else 0,
        guaranteed=is_guaranteed(others),
        limited=frozenset(resource for resource in (CPU, DISK) if is_limited(others, resource)),
        se_linux=trainer.security_context.se_linux_options,
    )


def _agent(pod: PodManifest, container: Part, settings: InjectionSettings, seat: Seat) -> Iterator[Operation]:
    """The agent comes first. One that lost its restart policy would run like a step before the trainer, for ever."""
    init_containers = pod.spec.init_containers
    if init_containers is None:
        yield Operation(path="/spec/initContainers", value=[container])
        return
    index = next((i for i, each in enumerate(init_containers) if each.name == AGENT), None)
    if index is None:
        yield Operation(path="/spec/initContainers/0", value=container)
        return
    at, agent = f"/spec/initContainers/{index}", init_containers[index]
    if agent.restart_policy != "Always":
        yield Operation(path=f"{at}/restartPolicy", value="Always")
    yield from _add(f"{at}/env", agent.env, _PARTS.validate_python(container["env"]))
    yield from _mount(f"{at}/volumeMounts", agent.volume_mounts, _PARTS.validate_python(container["volumeMounts"]))
    yield from _reseat(at, agent, seat)
    if is_astray(agent, settings):
        yield from _bring_home(f"{at}/env", agent, settings)


def _mount(path: str, present: Sequence[VolumeMount] | None, parts: Sequence[Part]) -> Iterator[Operation]:
    """By its path, of which the API server takes each once: it may have mounted the account's own token there."""
    taken = {each.mount_path for each in present or ()}
    yield from _append(path, present, [part for part in parts if part["mountPath"] not in taken])


def _trainer(index: int, trainer: Container, seat: Seat) -> Iterator[Operation]:
    at = f"/spec/containers/{index}"
    yield from _add(f"{at}/env", trainer.env, variables(seat))
    yield from _reseat(at, trainer, seat)
    if not trainer.sees(ARENA):
        yield from _add(f"{at}/volumeMounts", trainer.volume_mounts, [arena_mount()])


def _reseat(at: str, container: Container, seat: Seat) -> Iterator[Operation]:
    """Some controllers mark their pods in a webhook of their own, after ours has found other marks there."""
    told = {str(each["name"]): each.get("value") for each in variables(seat)}
    for index, each in enumerate(container.env or ()):
        now = told.get(each.name)
        if isinstance(now, str) and each.said not in (None, now) and "$" not in f"{each.said}{now}":
            yield Operation(path=f"{at}/env/{index}/value", value=now)


def _bring_home(at: str, agent: Container, settings: InjectionSettings) -> Iterator[Operation]:
    """Both, or it would ask the one installation and believe the other."""
    values = {str(each["name"]): each["value"] for each in home(settings)}
    for index, each in enumerate(agent.env or ()):
        if each.name in values and each.said not in (None, values[each.name]):
            yield Operation(path=f"{at}/{index}/value", value=values[each.name])


def _annotations(pod: PodManifest, text: str, marks: Mapping[str, str]) -> Iterator[Operation]:
    """Without the one of ours the agent still tells that the pod is ours."""
    annotations = pod.metadata.annotations
    if annotations is None:
        yield Operation(path="/metadata/annotations", value={**marks, INJECTED: text})
        return
    told = dict(marks)
    if (INJECTED not in annotations or tells_other_notes(annotations[INJECTED], text)) and has_room(annotations, text):
        told[INJECTED] = text
    for key, value in told.items():
        yield Operation(path=f"/metadata/annotations/{key.replace('/', '~1')}", value=value)


def _add(path: str, present: Sequence[object] | None, parts: Sequence[Part]) -> Iterator[Operation]:
    """Append what is not there by name; nothing that is there is written again."""
    names = {getattr(each, "name", None) for each in present or ()}
    yield from _append(path, present, [part for part in parts if part["name"] not in names])


def _append(path: str, present: Sequence[object] | None, lacking: Sequence[Part]) -> Iterator[Operation]:
    if present is None and lacking:
        yield Operation(path=path, value=[*lacking])
        return
    yield from (Operation(path=f"{path}/-", value=part) for part in lacking)
