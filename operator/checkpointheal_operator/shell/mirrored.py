"""How is the API read without asking it each time? The `Cluster` whose lists come from mirrors.

What is written is put into the mirrors as it was stored, so that a look sees what the look before it wrote, however
late the stream is, and nobody is woken by it: who wrote it knows. What the API server does not find is held no longer,
though no stream has told of its end.
Heals and pods that are asked for by name are read from the API: whoever does that wants the truth of this moment. Must
not know how mirrors are kept.
"""

from collections.abc import Awaitable, Mapping

from checkpointheal_operator.api.base import Json
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS, Cluster, Kind, NotThere, Ref
from checkpointheal_operator.shell.mirror import Mirror


class Mirrored:
    """Implements `Cluster`. Every method raises ClusterError."""

    def __init__(self, cluster: Cluster, mirrors: Mapping[Kind, Mirror]) -> None:
        self._cluster, self._mirrors = cluster, mirrors

    async def get(self, ref: Ref) -> Json:
        """One object; a policy as it was last heard of, because each look begins with it."""
        if ref.kind != CHECKPOINTHEALS:
            return await self._found(ref, self._cluster.get(ref))
        found = self._mirrors[CHECKPOINTHEALS].get(ref.namespace, ref.name)
        if found is None:
            raise NotThere(f"{ref.kind.kind} {ref.namespace}/{ref.name} was not heard of")
        return found

    async def list(self, kind: Kind, namespace: str, labels: str = "") -> list[Json]:
        """All of a namespace that the labels pick, as they were last heard of."""
        wanted = [each.split("=", 1) for each in labels.split(",") if each]
        return [
            each
            for each in self._mirrors[kind].inside(namespace)
            if all(each["metadata"].get("labels", {}).get(key) == value for key, value in wanted)
        ]

    async def create(self, kind: Kind, body: Json) -> Json:
        """A new object, as it was stored."""
        return self._seen(kind, await self._cluster.create(kind, body))

    async def patch(self, ref: Ref, body: Json, *, status: bool = False) -> Json:
        """A merge patch."""
        return self._seen(ref.kind, await self._found(ref, self._cluster.patch(ref, body, status=status)))

    async def delete(self, ref: Ref, uid: str) -> None:
        """That life of the name."""
        await self._cluster.delete(ref, uid)
        if ref.kind in self._mirrors:
            self._mirrors[ref.kind].drop(uid)

    async def _found(self, ref: Ref, asking: Awaitable[Json]) -> Json:
        try:
            return await asking
        except NotThere:
            held = self._mirrors[ref.kind].get(ref.namespace, ref.name) if ref.kind in self._mirrors else None
            if held is not None:
                self._mirrors[ref.kind].drop(held["metadata"]["uid"])
            raise

    def _seen(self, kind: Kind, stored: Json) -> Json:
        if kind in self._mirrors:
            self._mirrors[kind].put(stored, ours=True)
        return stored
