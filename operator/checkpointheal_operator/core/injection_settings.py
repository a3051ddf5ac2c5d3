"""What does an agent get, by the installation's settings and by what the pod's annotations ask for instead?"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from checkpointheal.contract.base import Frozen
from checkpointheal_operator.core.annotations import AGENT_MEMORY, ARENA_SIZE, LOCAL_RANKS, PREFIX
from checkpointheal_operator.core.identity import GROUP_SIZE, JOB, RANK, RANKS, REPLICA
from checkpointheal_operator.core.injected import NotInjected, refuse
from checkpointheal_operator.core.pod_manifest import Metadata
from checkpointheal_operator.core.quantities import amount, whole, written
from checkpointheal_operator.core.reasons import Reason, quoted

INJECT = PREFIX + "inject"
INJECTED = PREFIX + "injected"
TRAINER = PREFIX + "trainer-container"
AGENT_IMAGE, AGENT_CPU = PREFIX + "agent-image", PREFIX + "agent-cpu"
ANNOTATIONS = (
    *(TRAINER, ARENA_SIZE, AGENT_IMAGE, AGENT_MEMORY, AGENT_CPU),
    *(JOB, REPLICA, RANK, RANKS, LOCAL_RANKS, GROUP_SIZE, INJECTED),
)
"""All that mean something to injection."""
LARGEST = 1 << 60
SMALLEST = 1 << 20


def _memory(text: str) -> str:
    if not SMALLEST <= whole(text) <= LARGEST:
        raise ValueError(f"{text!r} is not between 1Mi and 1Ei")
    return text


def _cpu(text: str) -> str:
    if not 0 < amount(text) <= LARGEST:
        raise ValueError(f"{text!r} is no share of a processor")
    return text


def _image(text: str) -> str:
    if not text or any(character.isspace() for character in text):
        raise ValueError(f"{text!r} is not an image")
    return text


Memory = Annotated[str, AfterValidator(_memory)]
Cpu = Annotated[str, AfterValidator(_cpu)]
Image = Annotated[str, AfterValidator(_image)]


class InjectionSettings(Frozen):
    """What the installation says, for all pods."""

    build: str = Field(default="", description="Version of the webhook; written on every injected pod.")
    image: Image = Field(description="The agent's image.")
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    gateway: str = Field(pattern=r"^https?://", description="Where agents report to.")
    gateway_root: str = Field(default="", description="PEM of who signs the gateway's certificate.")
    audience: str = Field(default="checkpointheal", description="Whom an agent's token is for.")
    token_seconds: int = Field(default=3600, ge=600, description="Lifetime of a token; the kubelet renews it.")
    arena: Memory = Field(default="1Gi", description="Size of the arena, for each local rank.")
    memory: Memory = Field(default="512Mi", description="What the agent needs besides, for each local rank.")
    cpu: Cpu = Field(default="100m", description="What the agent is promised.")
    cpu_limit: Cpu = Field(
        default="900m",
        description="What it may use in a pod whose containers are all limited. No whole number: a static CPU manager "
        "would take a core from the trainers.",
    )
    disk: Memory = Field(
        default="256Mi", description="What its log may take, where all containers are limited in that."
    )
    port: int = Field(default=7460, ge=1, le=65535, description="Where other agents reach it.")
    user: int = Field(default=65532, ge=1, description="Whom it runs as where the pod names no user of its trainer.")
    log: Literal["text", "json"] = Field(default="text", description="How the lines of its log look.")
    accelerators: tuple[str, ...] = Field(
        default=(
            *("nvidia.com/", "amd.com/gpu", "gpu.intel.com/", "habana.ai/gaudi", "google.com/tpu"),
            *("aws.amazon.com/neuron", "huawei.com/Ascend"),
        ),
        description="How the names of accelerators begin, as resources.",
    )
    bystanders: tuple[str, ...] = Field(
        default=("istio-proxy", "linkerd-proxy", "daprd", "vault-agent"),
        description="Containers that others inject: never the trainer unless named.",
    )


class Wishes(Frozen):
    """What this pod's agent gets, for each local rank until `for_all`."""

    image: Image
    arena: Memory
    memory: Memory
    cpu: Cpu
    cpu_limit: Cpu = Field(description="What it may use where every container of the pod is limited.")
    cpu_fixed: Cpu = Field(description="Promise and limit in one, where the pod's quality of service is Guaranteed.")

    def for_all(self, local_ranks: int) -> "Wishes":
        """Memory of all of them. Processors are shared: they digest what they hold when they have the time."""
        if local_ranks == 1:
            return self
        arena, memory = (written(whole(each) * local_ranks) for each in (self.arena, self.memory))
        return self.but(arena=arena, memory=memory)


_ASKED = {
    "image": (AGENT_IMAGE, _image, "an image"),
    "arena": (ARENA_SIZE, _memory, "an amount of memory of at least 1Mi, as in 2Gi"),
    "memory": (AGENT_MEMORY, _memory, "an amount of memory of at least 1Mi, as in 512Mi"),
    "cpu": (AGENT_CPU, _cpu, "an amount of processors, as in 100m"),
}


def wishes_of(metadata: Metadata, settings: InjectionSettings) -> Wishes | NotInjected:
    """The settings, where the pod's annotations do not ask for something else. A bad annotation is refused by name."""
    annotations, got = metadata.annotations or {}, dict[str, str]()
    for field, (key, check, wanted) in _ASKED.items():
        text = annotations.get(key, getattr(settings, field))
        try:
            got[field] = check(text)
        except ValueError:
            return refuse(Reason.BAD_ANNOTATION, key=key, text=quoted(text), wanted=wanted)
    got["cpu_limit"] = max(got["cpu"], settings.cpu_limit, key=amount)
    got["cpu_fixed"] = annotations.get(AGENT_CPU, settings.cpu_limit)
    return Wishes.model_validate(got)
