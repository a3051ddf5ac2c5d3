"""Which container is the trainer, whose user is it, and how are the pod's containers limited?"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import NamedTuple

from checkpointheal_operator.core.injected import NotInjected, refuse
from checkpointheal_operator.core.injection_settings import TRAINER, InjectionSettings
from checkpointheal_operator.core.pod_manifest import Container, PodManifest
from checkpointheal_operator.core.quantities import amount
from checkpointheal_operator.core.reasons import MOST_NAMED, Reason, named, quoted

LAST_USER = (1 << 31) - 1


class User(NamedTuple):
    """Whom the agent runs as; the group is None where the pod's own stands."""

    uid: int
    gid: int | None


def choose_trainer(pod: PodManifest, settings: InjectionSettings) -> Container | NotInjected:
    """The annotated container, else the first that asks for an accelerator, else the only one; else a refusal."""
    wanted, containers = (pod.metadata.annotations or {}).get(TRAINER), pod.spec.containers
    names = _names(containers)
    if wanted is not None:
        found = next((each for each in containers if each.name == wanted), None)
        return found or refuse(Reason.TRAINER_NOT_FOUND, key=TRAINER, name=quoted(wanted), containers=names)
    if (accelerated := next((each for each in containers if _accelerated(each, settings)), None)) is not None:
        return accelerated
    own = [each for each in containers if each.name not in settings.bystanders]
    return own[0] if len(own) == 1 else refuse(Reason.TRAINER_AMBIGUOUS, containers=names, key=TRAINER)


def _names(containers: Sequence[Container]) -> str:
    more = len(containers) - MOST_NAMED
    return named([each.name for each in containers]) + (f" and {more} more" if more > 0 else "")


def user_of(pod: PodManifest, trainer: Container, others: Iterable[Container], settings: InjectionSettings) -> User:
    """The trainer's own user where the pod names one that is not root, so that both own the arena's files.

    Who sees the agent's process and is the same user reads its token: there it is none of the `others`, which are all
    the pod's containers but the agent.
    """
    uid = pod.spec.user_of(trainer)
    if pod.spec.shares_processes:
        uid = _above(pod.spec.user_of(each) for each in others)
    if uid is None or uid == 0:
        return User(settings.user, settings.user)
    return User(uid, trainer.security_context.run_as_group)


def _above(users: Iterable[int | None]) -> int | None:
    """The next one: a namespace may allow only some from one number on. None where none is named, or none is left."""
    highest = max((each for each in users if each is not None), default=0)
    return highest + 1 if 0 < highest < LAST_USER else None


def is_guaranteed(containers: list[Container]) -> bool:
    """Whether every container is promised exactly what it may use: the pod's quality of service is Guaranteed."""
    return all(_fixed(each, "cpu") and _fixed(each, "memory") for each in containers)


def is_limited(containers: list[Container], resource: str) -> bool:
    """Whether every container has a limit: where a quota demands one, a container without would stop the pod."""
    return all(resource in each.resources.limits for each in containers)


def _accelerated(container: Container, settings: InjectionSettings) -> bool:
    asked = {**container.resources.requests, **container.resources.limits}
    named = (name for name in asked if name.startswith(settings.accelerators))
    return bool(container.resources.claims) or any(_amount(asked[name]) != 0 for name in named)


def _fixed(container: Container, resource: str) -> bool:
    limit = container.resources.limits.get(resource)
    return limit is not None and _amount(limit) == _amount(container.resources.requests.get(resource, limit))


def _amount(text: str | float) -> Decimal | str:
    """A quantity that cannot be read is only equal to itself; the API server will say what is wrong with it."""
    try:
        return amount(text)
    except ValueError:
        return str(text)
