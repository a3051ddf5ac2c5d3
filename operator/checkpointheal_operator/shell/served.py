"""Which namespaces does the webhook serve? Pods in the others are made without agents, and nothing is amiss.

The labels of namespaces are followed where somebody says by which of them the webhook goes. Who knows of a namespace
nothing, because nobody says or it may not be read, takes it for served. Must not know what follows for a pod.
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence

from checkpointheal_operator.api.base import Json
from checkpointheal_operator.api.policy import Requirement, holds
from checkpointheal_operator.shell.cluster import NAMESPACES, ClusterError
from checkpointheal_operator.shell.kube import Selection
from checkpointheal_operator.shell.mirror import Mirror
from checkpointheal_operator.shell.slim import slim_namespace
from checkpointheal_operator.shell.watching import Source, Watch


def is_served(wanted: Sequence[Requirement], labels: Mapping[str, str]) -> bool:
    """Whether a namespace with these labels is, as the API server would say."""
    return all(holds(each, labels) for each in wanted)


class Served:
    """Of one replica, whoever leads. `changed` hears the name of each namespace whose labels are other ones."""

    def __init__(self, source: Source, wanted: Sequence[Requirement], changed: Callable[[str], None]) -> None:
        self._wanted, self._changed = wanted, changed
        self._mirror = Mirror(self._told, slim_namespace)
        self._watch = Watch(source, Selection(NAMESPACES), self._mirror, time.monotonic)

    async def run(self) -> None:
        """Until cancelled; at once over where nobody says which are served."""
        if self._wanted:
            await self._watch.run()

    async def look_anew(self) -> None:
        """Before anybody is told anything."""
        if self._wanted:
            with contextlib.suppress(ClusterError):  # whoever follows them says so
                await self._watch.relist()

    def serves(self, namespace: str) -> bool:
        """As far as is known."""
        found = self._mirror.get("", namespace)
        return found is None or is_served(self._wanted, found["metadata"].get("labels") or {})

    def _told(self, before: Json | None, now: Json | None) -> None:
        self._changed(str((now or before or {})["metadata"]["name"]))
