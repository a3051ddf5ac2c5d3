"""What does a pod manifest say, of all that injection and identity ask about?

A reading of the JSON that the API server sends or a person wrote: only the fields that we use, everything else is
ignored. None where a field is missing, because a patch has to know. Must not know what follows from it.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import ConfigDict, Field, JsonValue, model_validator
from pydantic.alias_generators import to_camel

from checkpointheal.contract.base import Message

Somebody = Annotated[int, Field(ge=0, lt=1 << 31)]
"""A user or a group, as the API server takes them."""
Item = TypeVar("Item")
Listed = Annotated[tuple[Item, ...], Field(fail_fast=True)]
"""Of a list that is wrong the first fault is told: looking for all of a million takes longer than a pod may wait."""
MIRROR_POD = "kubernetes.io/config.mirror"


class Read(Message):
    """A part of a manifest. An explicit null means the same as a missing field, as it does to the API server."""

    model_config = Message.model_config | ConfigDict(alias_generator=to_camel, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, said: Any) -> Any:
        return {key: value for key, value in said.items() if value is not None} if isinstance(said, Mapping) else said


class Named(Read):
    """A volume or a claim."""

    name: str


class Variable(Named):
    """A variable of a container."""

    value: str = ""
    """The API server leaves an empty one out."""
    value_from: JsonValue = None

    @property
    def said(self) -> str | None:
        """Its value; None: that comes from elsewhere."""
        return self.value if self.value_from is None else None


class VolumeMount(Read):
    """Where a container sees a volume."""

    name: str
    mount_path: str
    read_only: bool | None = None


class Volume(Named):
    """A volume; of its sources those that nobody may write."""

    config_map: JsonValue = None
    downward_api: JsonValue = Field(default=None, alias="downwardAPI")
    projected: JsonValue = None
    secret: JsonValue = None

    @property
    def is_read_only(self) -> bool:
        """Whoever mounts it."""
        return any(each is not None for each in (self.config_map, self.downward_api, self.projected, self.secret))


class Resources(Read):
    """What a container may use and is promised."""

    limits: dict[str, str | int | float] = Field(default_factory=dict)
    requests: dict[str, str | int | float] = Field(default_factory=dict)
    claims: Listed[Named] = ()


class SecurityContext(Read):
    """Whose user a container, or a whole pod, runs as."""

    run_as_user: Somebody | None = None
    run_as_group: Somebody | None = None
    se_linux_options: dict[str, JsonValue] | None = None


class ContainerPort(Read):
    """A port that a container says it listens on."""

    container_port: int
    protocol: str = ""
    """TCP where it is empty."""


class Container(Read):
    """A container, or an init container."""

    name: str
    env: Listed[Variable] | None = None
    volume_mounts: Listed[VolumeMount] | None = None
    resources: Resources = Resources()
    security_context: SecurityContext = SecurityContext()
    ports: Listed[ContainerPort] = ()
    restart_policy: str | None = None

    def sees(self, volume: str) -> bool:
        """Whether it mounts that volume."""
        return any(mount.name == volume for mount in self.volume_mounts or ())

    def sets(self, variable: str) -> bool:
        """Whether its environment names that variable."""
        return any(each.name == variable for each in self.env or ())


class System(Read):
    """Which operating system the pod is for."""

    name: str = "linux"


class PodSpec(Read):
    """What the pod consists of."""

    containers: Listed[Container] = Field(min_length=1)
    init_containers: Listed[Container] | None = None
    volumes: Listed[Volume] | None = None
    security_context: SecurityContext = SecurityContext()
    host_network: bool = False
    share_process_namespace: bool = False
    host_pid: bool = Field(default=False, alias="hostPID")
    dns_policy: str = "ClusterFirst"
    dns_config: dict[str, JsonValue] | None = None
    os: System = System()
    resources: dict[str, JsonValue] | None = Field(default=None, description="Of the pod as a whole.")

    @property
    def asks_its_node(self) -> bool:
        """Whether it finds names as its node does, or by servers of its own: neither knows a Service's short name."""
        if self.dns_policy == "None":
            return not (self.dns_config or {}).get("searches")
        return self.dns_policy == "Default" or (self.host_network and self.dns_policy == "ClusterFirst")

    @property
    def shares_processes(self) -> bool:
        """Whether its containers see each other's processes, and by these each other's files."""
        return self.share_process_namespace or self.host_pid

    def user_of(self, container: Container) -> int | None:
        """Whom it runs as; None where its image says."""
        own = container.security_context.run_as_user
        return own if own is not None else self.security_context.run_as_user

    def is_read_only(self, volume: str) -> bool:
        """Whether nobody may write the volume of that name."""
        return any(each.name == volume and each.is_read_only for each in self.volumes or ())

    def everyone(self) -> Iterator[Container]:
        """Init containers and containers."""
        yield from self.init_containers or ()
        yield from self.containers

    def init_container(self, name: str) -> Container | None:
        """The init container of that name."""
        return next((each for each in self.init_containers or () if each.name == name), None)


class Owner(Read):
    """What made the pod."""

    kind: str
    name: str
    controller: bool = False


class Metadata(Read):
    """How the pod is called and marked."""

    name: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] | None = None
    owner_references: Listed[Owner] = ()

    def marks(self) -> dict[str, str]:
        """Labels and annotations as one: controllers write the same facts as either, or as both."""
        return (self.annotations or {}) | self.labels

    def owner(self) -> Owner | None:
        """The controller of the pod."""
        return next((each for each in self.owner_references if each.controller), None)


class PodManifest(Read):
    """A pod, or the template of one."""

    metadata: Metadata = Metadata()
    spec: PodSpec
