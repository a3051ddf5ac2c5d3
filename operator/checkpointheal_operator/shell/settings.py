"""What does one replica of the operator need to be told? Read from its environment.

Must not know what is done with it.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, Json, ValidationError

from checkpointheal.contract.base import Frozen
from checkpointheal.contract.identity import any_address
from checkpointheal_operator.api.policy import Requirement
from checkpointheal_operator.gateway.authority import Terms
from checkpointheal_operator.gateway.authority.terms import DEFAULT

PREFIX = "CHECKPOINTHEAL_"
TOGETHER = (
    ("roots_secret", "gateway_hosts", "root_config_map"),
    ("webhook_secret", "webhook_hosts", "webhook_configuration"),
)
"""Of each of these all are needed, or none."""


class BadEnvironment(Exception):
    """A variable is missing or does not mean anything."""


def _split(text: object) -> object:
    return tuple(part for each in text.split(",") if (part := each.strip())) if isinstance(text, str) else text


Hosts = Annotated[tuple[str, ...], BeforeValidator(_split)]
"""With commas between."""


class OperatorSettings(Frozen):
    """Each is the variable of its name in capitals after CHECKPOINTHEAL_."""

    pod_name: str = Field(description="This replica's.")
    pod_ip: str = Field(description="Where the other replica reaches it.")
    namespace: str = Field(description="Where the lease lies.")
    lease: str = Field(default="checkpointheal", description="The lease's name.")
    audience: str = Field(default="checkpointheal", description="Whom agents' tokens are for.")
    host: str = Field(default="", description="Where to listen; empty: at all addresses of the family of `pod_ip`.")
    gateway_port: int = Field(default=8443, ge=0, le=65535, description="Where agents come.")
    leader_port: int = Field(default=8444, ge=0, le=65535, description="Where the leader's gateway is.")
    health_port: int = Field(default=8080, ge=0, le=65535, description="Where probes come.")
    gateway_hosts: Hosts = Field(default=(), description="The gateway's names, by which agents call it.")
    roots_secret: str = Field(default="", description="Where the authority's roots are kept; empty: no encryption.")
    root_config_map: str = Field(default="", description="Where new pods are told whom to believe.")
    webhook_secret: str = Field(default="", description="Where the webhook finds its certificate; empty: not ours.")
    webhook_hosts: Hosts = Field(default=(), description="The webhook's names, by which the API server calls it.")
    webhook_configuration: str = Field(default="", description="Where the API server is told whom to believe.")
    certificate_seconds: float = Field(
        default=DEFAULT.leaf, ge=60, description="How long an agent's certificate lives."
    )
    root_seconds: float = Field(
        default=DEFAULT.root, ge=60, description="How long a root lives; half-way a new one is made."
    )
    skew_seconds: float = Field(default=DEFAULT.skew, ge=0, description="How far clocks may be apart.")
    namespace_selector: Json[tuple[Requirement, ...]] = Field(
        default=(), description="Which namespaces the webhook serves: its matchExpressions, as JSON; empty: all."
    )
    injection_settings: Path | None = Field(
        default=None, description="The webhook's settings, by which a pod without an agent was refused one or missed."
    )
    late_agents: bool = Field(default=False, description="Pods that run without an agent get one by these settings.")
    kubeconfig: Path | None = Field(default=None, description="Instead of the pod's own account.")

    @property
    def listens(self) -> str:
        """The address to bind."""
        return self.host or any_address(self.pod_ip)

    @property
    def identity(self) -> str:
        """What stands in the lease while this replica leads."""
        return f"{self.pod_name}/{self.pod_ip}"

    @property
    def terms(self) -> Terms:
        """How long what the gateway signs lives."""
        return Terms(leaf=self.certificate_seconds, root=self.root_seconds, skew=self.skew_seconds)


def from_environment(environment: Mapping[str, str]) -> OperatorSettings:
    """Raises BadEnvironment."""
    found = {name: environment.get(PREFIX + name.upper()) for name in OperatorSettings.model_fields}
    try:
        settings = OperatorSettings.model_validate_strings({key: value for key, value in found.items() if value})
    except ValidationError as error:
        wrong = "; ".join(f"{PREFIX}{each['loc'][0]}".upper() + f": {each['msg']}" for each in error.errors())
        raise BadEnvironment(wrong) from error
    for names in TOGETHER:
        lacking = [name for name in names if not getattr(settings, name)]
        if 0 < len(lacking) < len(names):
            raise BadEnvironment(f"{_named(lacking)} not set: {_named(names)} belong together")
    if settings.webhook_secret and not settings.roots_secret:
        raise BadEnvironment(f"{_named(('webhook_secret',))} needs {_named(('roots_secret',))}: who would sign it?")
    if settings.late_agents and settings.injection_settings is None:
        raise BadEnvironment(f"{_named(('late_agents',))} needs {_named(('injection_settings',))}: which agents?")
    if not settings.terms.outlasts_a_change:
        least = 4 * settings.terms.overlap
        raise BadEnvironment(f"{_named(('root_seconds',))} is too short: more than {least:.0f} with such certificates")
    return settings


def _named(names: Iterable[str]) -> str:
    return ", ".join(f"{PREFIX}{name.upper()}" for name in names)
