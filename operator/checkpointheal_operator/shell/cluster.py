"""What do we ask of a cluster, and how may it refuse?

Five verbs on plain JSON objects. Whoever reads or writes the API does it through this door, so that one fake serves
every test. Must not know what our objects mean.

    ClusterError            the world's: look again later, nothing was decided wrongly
    ├── NotThere            no such object
    ├── AlreadyThere        an object of that name exists
    ├── Conflict            it was changed since it was read
    ├── TooManyRequests     the API server wants a pause
    ├── Expired             the list or watch to go on with is forgotten: begin anew
    ├── Unreachable         no answer: it may or may not have been done
    │   └── Silent          a stream of which nothing came for long: it is dead, or nothing happened
    └── Refused             ours: the object or the right to write it is at fault
        ├── NotKnown        whoever asks is nobody to it
        └── Forbidden       whoever asks may not
"""

from typing import NamedTuple, Protocol

from checkpointheal_operator.api.base import GROUP, VERSION, Json


class ClusterError(Exception):
    """The API server did not do what it was asked."""

    @property
    def reason(self) -> str:
        """The fact in one word."""
        return type(self).__name__


class NotThere(ClusterError):
    """No such object."""


class AlreadyThere(ClusterError):
    """An object of that name exists."""


class Conflict(ClusterError):
    """It was changed since it was read, or is another life of its name."""


class TooManyRequests(ClusterError):
    """The API server wants a pause of `after` seconds."""

    def __init__(self, message: str, after: float = 1.0) -> None:
        super().__init__(message)
        self.after = after


class Expired(ClusterError):
    """The API server has forgotten the version that a list or a watch wants to go on from."""


class Unreachable(ClusterError):
    """No answer came: it may or may not have been done."""


class Silent(Unreachable):
    """Nothing came of a stream for so long that nobody knows whether it is dead or nothing happened."""


class Refused(ClusterError):
    """The object is invalid or we may not write it: a fault of ours or of the installation."""


class NotKnown(Refused):
    """Whoever asks is nobody to it: the token or the certificate is wrong, or was good once."""


class Forbidden(Refused):
    """Whoever asks is known, and may not."""


class Kind(NamedTuple):
    """A resource, as the API server names it."""

    api: str
    kind: str
    plural: str


class Ref(NamedTuple):
    """One object."""

    kind: Kind
    namespace: str
    name: str


CHECKPOINTHEALS = Kind(f"{GROUP}/{VERSION}", "CheckpointHeal", "checkpointheals")
HEALS = Kind(f"{GROUP}/{VERSION}", "Heal", "heals")
PODS = Kind("v1", "Pod", "pods")
EVENTS = Kind("v1", "Event", "events")
NAMESPACES = Kind("v1", "Namespace", "namespaces")
SECRETS, CONFIG_MAPS = Kind("v1", "Secret", "secrets"), Kind("v1", "ConfigMap", "configmaps")
WEBHOOKS = Kind("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations")


class Cluster(Protocol):
    """The API server. Every method raises ClusterError."""

    async def get(self, ref: Ref) -> Json:
        """One object."""

    async def list(self, kind: Kind, namespace: str, labels: str = "") -> list[Json]:
        """All objects of a namespace that a label selector picks."""

    async def create(self, kind: Kind, body: Json) -> Json:
        """A new object, as it was stored; its status is left out."""

    async def patch(self, ref: Ref, body: Json, *, status: bool = False) -> Json:
        """A merge patch of all but the status, or of the status alone; with a resourceVersion in it, conditional."""

    async def delete(self, ref: Ref, uid: str) -> None:
        """That life of the name."""
