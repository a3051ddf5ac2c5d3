"""The installed chart, as an administrator handles it with Helm."""

import subprocess

from builders_cluster import CONTEXT, SYSTEM, Refused, until
from builders_jobs import json_of

RELEASE, CHART = "checkpointheal", "charts/checkpointheal"


def helm(*words: str, seconds: float = 300) -> str:
    """What it says; raises Refused with what it complains of."""
    command = ["helm", "--kube-context", CONTEXT, "-n", SYSTEM, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode:
        raise Refused(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def upgrade(*changes: str) -> None:
    """Values like `image.tag=next`, over those that stand; returns once every pod of ours is the new one."""
    options = [word for change in changes for word in ("--set", change)]
    helm("upgrade", RELEASE, CHART, "--reuse-values", *options, "--wait", "--timeout", "240s")


def until_the_webhook_is_believed() -> None:
    """The operator tells the API server whom to believe; before that, pods are made without agents."""

    def is_told() -> bool:
        (webhook,) = json_of("mutatingwebhookconfiguration", RELEASE)["webhooks"]
        return bool(webhook["clientConfig"].get("caBundle"))

    until(is_told, "the API server knows the webhook's root")
