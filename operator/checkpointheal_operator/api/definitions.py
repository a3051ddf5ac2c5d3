"""What does the API server need to know of our objects? The two CustomResourceDefinitions.

Names, columns and scope are spelled here, the fields come from the models. Must not know where they are written to.
"""

from typing import NamedTuple

from checkpointheal_operator.api.base import GROUP, VERSION, Json, Part
from checkpointheal_operator.api.checkpointheal import CheckpointHeal
from checkpointheal_operator.api.heal import Heal
from checkpointheal_operator.api.schema import structural

KEEP = {"helm.sh/resource-policy": "keep"}
"""Uninstalling the chart must not delete the users' objects."""


class Column(NamedTuple):
    """What `kubectl get` prints. Of priority 1: only with `-o wide`."""

    name: str
    type: str
    path: str
    priority: int = 0


class Naming(NamedTuple):
    """How people call an object."""

    kind: str
    plural: str
    short: str
    columns: tuple[Column, ...]


def _condition(kind: str) -> str:
    return f'.status.conditions[?(@.type=="{kind}")].status'


CHECKPOINTHEAL = Naming(
    "CheckpointHeal",
    "checkpointheals",
    "ckh",
    (
        Column("Training", "string", _condition("Training")),
        Column("Protected", "string", _condition("Protected")),
        Column("Degraded", "string", _condition("Degraded")),
        Column("Epoch", "integer", ".status.epoch.number"),
        Column("Reason", "string", '.status.conditions[?(@.type=="Training")].reason', 1),
        Column("Age", "date", ".metadata.creationTimestamp"),
    ),
)
HEAL = Naming(
    "Heal",
    "heals",
    "hl",
    (
        Column("Recipient", "string", ".spec.recipient.pod"),
        Column("Donor", "string", ".spec.assignment.donors[0].pod"),
        Column("Rung", "string", ".status.rung"),
        Column("Step", "integer", ".status.step"),
        Column("Bytes", "integer", ".status.transfer.bytes"),
        Column("Duration", "string", ".status.duration"),
        Column("Healed", "string", _condition("Healed")),
        Column("Cause", "string", ".spec.cause", 1),
        Column("Attempt", "integer", ".spec.assignment.attempt", 1),
        Column("Reason", "string", '.status.conditions[?(@.type=="Healed")].reason', 1),
        Column("Age", "date", ".metadata.creationTimestamp"),
    ),
)


def definitions() -> tuple[Json, Json]:
    """Both, as manifests."""
    return definition(CHECKPOINTHEAL, CheckpointHeal), definition(HEAL, Heal)


def definition(naming: Naming, model: type[Part]) -> Json:
    """One manifest."""
    singular = naming.kind.lower()
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{naming.plural}.{GROUP}", "annotations": dict(KEEP)},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": naming.kind,
                "listKind": f"{naming.kind}List",
                "plural": naming.plural,
                "singular": singular,
                "shortNames": [naming.short],
            },
            "versions": [_version(naming, model)],
        },
    }


def _version(naming: Naming, model: type[Part]) -> Json:
    return {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [_printed(each) for each in naming.columns],
        "schema": {"openAPIV3Schema": _whole(model)},
    }


def _whole(model: type[Part]) -> Json:
    """The API server knows metadata itself and wants it bare; status is absent until it is first written."""
    schema = structural(model)
    properties = schema["properties"]
    properties["metadata"] = {"type": "object"}
    properties["status"].pop("default", None)
    head = {
        "apiVersion": {"type": "string", "description": "Version of this schema."},
        "kind": {"type": "string", "description": "What this object is."},
    }
    return schema | {"properties": head | properties, "required": ["spec"]}


def _printed(column: Column) -> Json:
    printed: Json = {"name": column.name, "type": column.type, "jsonPath": column.path}
    return printed | ({"priority": column.priority} if column.priority else {})
