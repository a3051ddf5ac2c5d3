"""`kubectl checkpointheal inject -f FILE`: the webhook's answer, without a cluster."""

from collections.abc import Sequence

from checkpointheal_operator.webhook import inject_command

CALLED = "kubectl checkpointheal inject"


def main(argv: Sequence[str]) -> int:
    """Write the injected manifests."""
    return inject_command.main(argv, CALLED)
