"""Which place in the arena does a state of this trainer get, and what does its seal say?

A state is described by the one before it, where it has the same form; what follows from a form alone is worked out
once. Must not know when a state is kept, nor how it is copied.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from checkpointheal import digest
from checkpointheal.arena import Arena, Writing
from checkpointheal.contract.base import Digest
from checkpointheal.contract.layout import Schema
from checkpointheal.contract.seal import Seal
from checkpointheal.ends import mixed
from checkpointheal.manifest import Described, describe, owner_of
from checkpointheal.trainer.forms import Forms
from checkpointheal.trainer.generation import Generation, or_abandon
from checkpointheal.trainer.room import Room
from checkpointheal.trainer.settings import TrainerSettings
from checkpointheal.trainer.signals import Told
from checkpointheal.trainer.unkept import SKIPPED, Telling

CHANGED, MANY = "FormChanged", "ManyValues"
NOBODY = (
    "which no part held at restore(), so what is newly made cannot know it: from now on no lost member can be healed"
)
SINGLE_VALUES = 10_000
"""A commit that looks at more of them stands still for more than a tenth of a second."""


class Commit(NamedTuple):
    """One call of `commit`. `is_over`: whether its epoch has ended; `told`: what the loop says of the step."""

    epoch: int
    step: int
    is_over: Callable[[], bool]
    told: Told
    begun: float


class Placing:
    """Of one trainer, in this life of it. What finds no place is said."""

    def __init__(self, settings: TrainerSettings, incarnation: str, room: Room, telling: Telling, forms: Forms) -> None:
        self._settings, self._incarnation, self._room, self._telling = settings, incarnation, room, telling
        self._forms = forms
        self._described: Described | None = None
        self._form: _Form | None = None
        self._has_told_many = False

    def describe(self, state: Mapping[str, Any]) -> Described:
        """To be placed. Raises TargetInvalid, and what `describe` raises."""
        described = self._described = describe(state, self._described)
        mixed.require_whole(described.regions)
        for each in self._forms.classes.found(described):
            self._telling.new_class(each, each.path, NOBODY)
        if len(described.schema.value_paths) > SINGLE_VALUES and not self._has_told_many:
            self._tell_many(described.schema.value_paths, state)
        return described

    def has_room(self, described: Described, own: int) -> bool:
        """Whether a slot could hold it, and a private part of so many bytes lie beside it. Says why not."""
        return self._room.is_there(self._form_of(described).slot_bytes, own)

    def place(self, arena: Arena, described: Described, commit: Commit) -> Generation | None:
        """The state beside a slot that is ready for it; None where every slot is being read."""
        writing = arena.begin()
        if writing is None:
            self._telling.not_kept(SKIPPED, f"step {commit.step} was not kept: every slot is being read")
            return None
        with or_abandon(writing):
            writing.prepare(described.schema)
            return Generation(described, writing, self._seal(writing, described, commit), commit.is_over)

    def _tell_many(self, paths: Sequence[str], names: Collection[str]) -> None:
        self._has_told_many = True
        ((name, count),) = Counter(owner_of(path, names) for path in paths).most_common(1)
        self._telling.once(
            MANY,
            f"{name} holds {count} single values, and each commit() looks at every one, which takes longer as "
            "they grow: keep long histories in one tensor, or in a file of your own",
        )

    def _form_of(self, described: Described) -> "_Form":
        if self._form is None or self._form.schema is not described.schema:
            self._form = _Form(described.schema)
            if (path := self._forms.changed(described.schema)) is not None:
                self._telling.once(
                    CHANGED,
                    f"{path} has another form than at restore(), which what is newly made cannot take: from now on no "
                    "lost member can be healed; give it that form before restore(), or keep it in a part of your own",
                )
        return self._form

    def _seal(self, writing: Writing, described: Described, commit: Commit) -> Seal:
        return Seal(
            job=self._settings.job,
            member=self._settings.member,
            incarnation=self._incarnation,
            epoch=commit.epoch,
            step=commit.step,
            schema_digest=self._form_of(described).schema_digest,
            header_bytes=writing.header_bytes,
            data_bytes=described.schema.data_bytes,
            values=described.values,
        )


class _Form:
    """What follows from a schema alone."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.schema_digest: Digest = digest.schema_digest(schema)
        self.slot_bytes = Arena.slot_bytes(schema)
