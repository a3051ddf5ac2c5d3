"""What stands in the API server of one kind, as far as was heard?

Pure: lists, events and our own writes go in, in any order and more than once; what is left is what the server has.
Versions are compared as numbers, which the API promises of one kind's objects. Must not know how anything was read.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from checkpointheal_operator.api.base import Json


class Key(NamedTuple):
    """By what an object is found."""

    namespace: str
    name: str


def key_of(found: Json) -> Key:
    """What an object is called."""
    return Key(found["metadata"].get("namespace", ""), found["metadata"]["name"])


def uid_of(found: Json) -> str:
    """Which life of its name an object is."""
    return str(found["metadata"]["uid"])


def as_it_is(found: Json) -> Json:
    """All of it is kept."""
    return found


Changed = Callable[[Json | None, Json | None], None]
"""Hears of an object as it was held and as it is held now; None: not at all."""


class _Gone(NamedTuple):
    at: int
    for_good: bool


class Mirror:
    """Objects of one kind. Whoever reads one must not change it. `changed` hears of each change of what is held."""

    def __init__(self, changed: Changed, slim: Callable[[Json], Json] = as_it_is) -> None:
        self._changed, self._slim = changed, slim
        self._held: dict[str, dict[str, Json]] = {}
        self._keys: dict[str, Key] = {}
        self._gone: dict[str, _Gone] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[Json]:
        return (each for names in self._held.values() for each in names.values())

    def get(self, namespace: str, name: str) -> Json | None:
        """One object."""
        return self._held.get(namespace, {}).get(name)

    def by_uid(self, uid: str) -> Json | None:
        """That life of whatever name."""
        return self.get(*self._keys[uid]) if uid in self._keys else None

    def inside(self, namespace: str) -> tuple[Json, ...]:
        """All of a namespace."""
        return tuple(self._held.get(namespace, {}).values())

    def namespaces(self) -> set[str]:
        """Where there is anything."""
        return set(self._held)

    def kept(self, found: Json) -> Json:
        """What is held of it, where that is the same version, else what would be: a list that is read needs no more."""
        held = self.by_uid(uid_of(found))
        return held if held is not None and _version(held) == _version(found) else self._slim(found)

    def replace(self, items: Iterable[Json], version: str) -> None:
        """A whole list as of `version`: what it lacks is gone, unless it was heard of later."""
        as_of, listed = _number(version), set()
        for each in items:
            listed.add(uid_of(each))
            self.put(each)
        missing = [each for each in self if uid_of(each) not in listed and _version(each) <= as_of]
        for each in missing:
            self._let_go(each)
        self.passed(version)

    def put(self, found: Json, *, ours: bool = False) -> None:
        """It is or was like this: an older truth than what is held changes nothing. What is `ours` nobody is told."""
        key, uid = key_of(found), uid_of(found)
        held = self.get(*key)
        if self._is_over(uid, _version(found)) or (held is not None and _version(found) <= _version(held)):
            return
        if held is not None:
            self._keys.pop(uid_of(held))
        now = self._held.setdefault(key.namespace, {})[key.name] = self._slim(found)
        self._keys[uid] = key
        if not ours and (held is None or _but_version(held) != _but_version(now)):
            self._changed(held, now)

    def drop(self, uid: str, version: str = "") -> None:
        """Nothing that was said of it up to then counts any more; without a `version`, that life is over for good.

        A watch that a selector narrows says so of an object that is not selected any more, and may be again.
        """
        held = self.by_uid(uid)
        before = self._gone.get(uid, _Gone(0, False))
        at = max(before.at, _number(version), _version(held) if held else 0)
        self._gone[uid] = _Gone(at, before.for_good or not version)
        if held is not None:
            self._let_go(held)

    def passed(self, version: str) -> None:
        """All that happened up to `version` was heard: nothing older can come late."""
        self._gone = {uid: each for uid, each in self._gone.items() if each.at > _number(version)}

    def _is_over(self, uid: str, version: int) -> bool:
        gone = self._gone.get(uid)
        return gone is not None and (gone.for_good or version <= gone.at)

    def _let_go(self, held: Json) -> None:
        key = self._keys.pop(uid_of(held))
        del self._held[key.namespace][key.name]
        if not self._held[key.namespace]:
            del self._held[key.namespace]
        self._changed(held, None)


def _but_version(found: Json) -> Json:
    """Most of what changes in a pod is not held: then nothing has changed but the version."""
    return found | {"metadata": found["metadata"] | {"resourceVersion": ""}}


def _version(found: Json) -> int:
    return _number(found["metadata"]["resourceVersion"])


def _number(version: str) -> int:
    return int(version) if version.isascii() and version.isdecimal() else 0
