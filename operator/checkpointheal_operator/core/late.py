"""Can an agent still be put beside a trainer that runs without one?

Only as an ephemeral container, which brings nothing along: arena, token and the trainer's variables must have been in
the pod from the beginning. It has no limits of its own and is not started again when it ends; the next pod gets a whole
one. Pure. Must not know who adds it.
"""

from collections.abc import Iterator, Mapping

from pydantic import JsonValue, TypeAdapter, ValidationError

from checkpointheal_operator.core.identity import Placed, place
from checkpointheal_operator.core.injected import NotInjected, refuse
from checkpointheal_operator.core.injection_parts import (
    ARENA,
    SCRATCH,
    SEATS_VARIABLES,
    TOKEN,
    TRAINER_VARIABLES,
    Part,
    Room,
    Seat,
    sidecar,
)
from checkpointheal_operator.core.injection_settings import InjectionSettings, wishes_of
from checkpointheal_operator.core.injection_trainer import user_of
from checkpointheal_operator.core.pod_manifest import Container, PodManifest
from checkpointheal_operator.core.reasons import Reason

NEVER = ("restartPolicy", "resources", "ports")
"""What an ephemeral container may not have."""


def late_agent(pod: Mapping[str, JsonValue], settings: InjectionSettings) -> Part | NotInjected:
    """The container to add to a pod that opted in and has no agent, or why none can be added."""
    try:
        manifest = PodManifest.model_validate(pod)
    except ValidationError as error:
        return refuse(Reason.UNREADABLE_POD, what=error.errors()[0]["msg"])
    trainer = next((each for each in manifest.spec.containers if each.sees(ARENA)), None)
    if trainer is None:
        return refuse(Reason.TOO_LATE, what=f"a container that mounts {ARENA}")
    if lacking := ", ".join(_lacking(manifest, trainer)):
        return refuse(Reason.TOO_LATE, what=lacking)
    found, wishes = place(manifest.metadata), wishes_of(manifest.metadata, settings)
    if isinstance(wishes, NotInjected):
        return wishes
    if not isinstance(found, Placed):
        return NotInjected(reason=found.reason, message=found.message)
    room = Room(
        user_of(manifest, trainer, manifest.spec.everyone(), settings), port=0, guaranteed=False, limited=frozenset()
    )
    seat = Seat.of(found)
    if lacking := ", ".join(_untold(trainer, seat)):
        return refuse(Reason.TOO_LATE, what=lacking)
    return _late(sidecar(settings, wishes.for_all(seat.local_ranks), seat, room), manifest)


def _lacking(pod: PodManifest, trainer: Container) -> Iterator[str]:
    volumes = {each.name for each in pod.spec.volumes or ()}
    yield from (f"the volume {each}" for each in (ARENA, TOKEN) if each not in volumes)
    yield from (f"the variable {each} in {trainer.name}" for each in TRAINER_VARIABLES if not trainer.sets(each))


def _untold(trainer: Container, seat: Seat) -> Iterator[str]:
    """Trainers that do not know that they are several would all use one arena."""
    told = SEATS_VARIABLES if seat.local_ranks > 1 else ()
    yield from (f"the variable {each} in {trainer.name}" for each in told if not trainer.sets(each))


def _late(agent: Part, pod: PodManifest) -> Part:
    """Without a scratch of its own it writes into its image's layer, which must then be writable."""
    late = {key: value for key, value in agent.items() if key not in NEVER}
    if any(each.name == SCRATCH for each in pod.spec.volumes or ()):
        return late
    mounts, security = TypeAdapter(list[Part]).validate_python(agent["volumeMounts"]), agent["securityContext"]
    return late | {
        "volumeMounts": [dict(each) for each in mounts if each["name"] != SCRATCH],
        "securityContext": TypeAdapter(Part).validate_python(security) | {"readOnlyRootFilesystem": False},
    }
