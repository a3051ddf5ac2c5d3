"""What does one replica of the operator need to be told? Read from its environment.

Must not know what is done with it.
"""

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, ValidationError

from checkpointheal.contract.base import Frozen

PREFIX = "CHECKPOINTHEAL_"


class BadEnvironment(Exception):
    """A variable is missing or does not mean anything."""


class OperatorSettings(Frozen):
    """Each is the variable of its name in capitals after CHECKPOINTHEAL_."""

    pod_name: str = Field(description="This replica's.")
    pod_ip: str = Field(description="Where the other replica reaches it.")
    namespace: str = Field(description="Where the lease lies.")
    lease: str = Field(default="checkpointheal", description="The lease's name.")
    audience: str = Field(default="checkpointheal", description="Whom agents' tokens are for.")
    host: str = Field(default="0.0.0.0", description="Where to listen.")  # noqa: S104 a pod's own
    gateway_port: int = Field(default=8443, ge=0, le=65535, description="Where agents come.")
    leader_port: int = Field(default=8444, ge=0, le=65535, description="Where the leader's gateway is.")
    health_port: int = Field(default=8080, ge=0, le=65535, description="Where probes come.")
    certificate: Path | None = Field(default=None, description="PEM that agents are shown; None: no encryption.")
    key: Path | None = Field(default=None, description="PEM of the certificate's private key.")
    kubeconfig: Path | None = Field(default=None, description="Instead of the pod's own account.")

    @property
    def identity(self) -> str:
        """What stands in the lease while this replica leads."""
        return f"{self.pod_name}/{self.pod_ip}"


def from_environment(environment: Mapping[str, str]) -> OperatorSettings:
    """Raises BadEnvironment."""
    found = {name: environment.get(PREFIX + name.upper()) for name in OperatorSettings.model_fields}
    try:
        settings = OperatorSettings.model_validate_strings({key: value for key, value in found.items() if value})
    except ValidationError as error:
        wrong = "; ".join(f"{PREFIX}{each['loc'][0]}".upper() + f": {each['msg']}" for each in error.errors())
        raise BadEnvironment(wrong) from error
    if (settings.certificate is None) != (settings.key is None):
        raise BadEnvironment(f"{PREFIX}CERTIFICATE and {PREFIX}KEY are both needed, or neither")
    return settings
