"""The CustomResourceDefinitions: what is committed is what the models say, and every part of it is structural."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from pydantic import BaseModel, Field

from checkpointheal_operator.api.definitions import definitions
from checkpointheal_operator.api.generate import FOLDER, files, main
from checkpointheal_operator.api.schema import KEPT, NotStructural, structural
from structural import CEL, TYPES

ROOT = Path(__file__).parents[2]
BOTH = pytest.mark.parametrize("manifest", definitions(), ids=lambda each: each["spec"]["names"]["kind"])
Schema = dict[str, Any]


def parts(schema: Schema, place: str = "") -> Iterator[tuple[str, Schema]]:
    """The schema and everything below it."""
    yield place, schema
    for name, each in schema.get("properties", {}).items():
        yield from parts(each, f"{place}.{name}")
    for below in ("items", "additionalProperties"):
        if below in schema:
            yield from parts(schema[below], f"{place}.{below}")


def schema_of(manifest: Schema) -> Schema:
    return manifest["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def test_what_is_committed_is_what_the_models_say(tmp_path: Path):
    main(tmp_path)
    for name in files():
        assert (ROOT / FOLDER / name).read_text() == (tmp_path / name).read_text()
    assert {path.name for path in (ROOT / FOLDER).iterdir()} == set(files())


@BOTH
def test_the_yaml_says_what_the_manifest_says(manifest):
    assert yaml.safe_load(files()[f"{manifest['metadata']['name']}.yaml"]) == manifest


@BOTH
def test_every_part_is_structural(manifest):
    allowed = KEPT | {"properties", "items", "additionalProperties"}
    for place, part in parts(schema_of(manifest)):
        assert part["type"] in TYPES, place
        assert {key for key in part if not key.startswith("x-kubernetes-")} <= allowed, place
        assert not ("properties" in part and "additionalProperties" in part), place
        assert (part["type"] == "array") == ("items" in part), place
        assert part["type"] not in ("integer", "number") or part["format"] in ("int64", "double"), place
        assert set(part.get("required", ())) <= set(part.get("properties", ())), place
        assert "null" not in json.dumps(part.get("default", "")), place


@BOTH
def test_every_field_is_described(manifest):
    for place, part in parts(schema_of(manifest)):
        for name, field in part.get("properties", {}).items():
            assert field.get("description") or (place, name) == ("", "metadata"), f"{place}.{name}"


@BOTH
def test_whatever_a_rule_compares_has_a_greatest_size(manifest):
    """Or the API server finds its cost without bound and refuses the definition."""
    compared = (part for _, part in parts(schema_of(manifest)) if "x-kubernetes-validations" in part)
    for part in compared:
        for place, below in parts(part):
            sized = {"string": {"maxLength", "enum", "format"}, "array": {"maxItems"}}.get(below["type"])
            assert sized is None or sized & below.keys(), place
            assert "additionalProperties" not in below or "maxProperties" in below, place


@BOTH
def test_every_rule_has_a_sentence_and_is_tried_here(manifest):
    found = [rule for _, part in parts(schema_of(manifest)) for rule in part.get("x-kubernetes-validations", ())]
    assert found
    assert all(rule["message"] and rule["rule"] in CEL for rule in found)


@BOTH
def test_a_list_by_key_has_that_key_in_every_item(manifest):
    for place, part in parts(schema_of(manifest)):
        keys = part.get("x-kubernetes-list-map-keys", [])
        assert set(keys) <= set(part.get("items", {}).get("required", ())), place


@BOTH
def test_a_column_shows_a_field_that_exists(manifest):
    fields = {place for place, _ in parts(schema_of(manifest))}
    for column in manifest["spec"]["versions"][0]["additionalPrinterColumns"]:
        path = column["jsonPath"].partition("[")[0]
        assert path in fields or path == ".metadata.creationTimestamp", column


def test_heals_are_shown_as_the_readme_shows_them():
    columns = definitions()[1]["spec"]["versions"][0]["additionalPrinterColumns"]
    shown = [each["name"].upper() for each in columns if "priority" not in each]
    assert shown == ["RECIPIENT", "DONOR", "RUNG", "STEP", "BYTES", "DURATION", "HEALED", "AGE"]


@BOTH
def test_status_is_apart_and_the_objects_outlive_the_chart(manifest):
    assert manifest["spec"]["versions"][0]["subresources"] == {"status": {}}
    assert manifest["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


class OfTwoTypes(BaseModel):
    field: int | str = Field(description="Either.")


class Undescribed(BaseModel):
    field: int


class OfAnything(BaseModel):
    field: object = Field(description="Anything.")


class OpenBelow(BaseModel):
    field: int = Field(gt=0, description="More than nothing.")


class OneWord(BaseModel):
    field: Literal["Only"] = Field(description="One word.")


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (OfTwoTypes, "field: may be of 2 types"),
        (Undescribed, "field: has no description"),
        (OfAnything, "field: has no single type"),
        (OpenBelow, "field: exclusiveMinimum has no structural form"),
    ],
)
def test_what_has_no_structural_form_is_refused_with_its_place(model, why):
    with pytest.raises(NotStructural, match=why):
        structural(model)


def test_one_word_is_an_enumeration_of_one():
    assert structural(OneWord)["properties"]["field"]["enum"] == ["Only"]
