"""What may be set: every value is described, checked, documented, and means what the code means by it. Without Helm."""

import json
import re
import tomllib
from collections.abc import Iterator

import pytest
import yaml
from pydantic import ValidationError

from builders_chart import CHART, ROOT, Manifest, defaults, schema, script
from checkpointheal_operator.core.injection_settings import InjectionSettings

SCHEMA = schema()
CAMEL = {"cpuLimit": "cpu_limit", "tokenSeconds": "token_seconds", "imagePullPolicy": "image_pull_policy"}
QUANTITIES = {
    "memory": (
        "1Mi",
        "512Mi",
        "1.5Gi",
        "2G",
        "16M",
        "3Ti",
        "0",
        "0Gi",
        "1Ki",
        "1M",
        "512",
        "big",
        "-1Gi",
        "1Ei",
        "1gi",
    ),
    "cpu": ("1", "2", "1.5", "100m", "0.1", "900m", "0", "0m", "0.0", "-1", "1 core", "1Gi", ""),
}


def resolved(field: Manifest) -> Manifest:
    return SCHEMA["definitions"][field["$ref"].rpartition("/")[2]] if "$ref" in field else field


def parts(found: Manifest, place: str = "") -> Iterator[tuple[str, Manifest]]:
    """Every object of the schema whose fields are named, by its place."""
    yield place, found
    for key, field in found["properties"].items():
        if "properties" in resolved(field):
            yield from parts(resolved(field), f"{place}.{key}")


def test_nothing_unknown_is_taken():
    for place, part in parts(SCHEMA):
        assert part["additionalProperties"] is False, place


def test_every_value_is_described():
    for place, part in parts(SCHEMA):
        for key, field in part["properties"].items():
            assert resolved(field).get("description", "").endswith("."), f"{place}.{key}"


def test_every_value_has_a_default_and_every_default_is_a_value():
    def compare(part: Manifest, found: Manifest, place: str) -> None:
        optional = {"global", "enabled"} if not place else set()
        assert set(found) == set(part["properties"]) - optional == set(part["required"]), place
        for key, field in part["properties"].items():
            if "properties" in resolved(field) and found.get(key):
                compare(resolved(field), found[key], f"{place}.{key}")

    compare(SCHEMA, defaults(), "")


def test_the_readme_has_the_table_of_the_values():
    text = (CHART / "README.md").read_text()
    assert script(ROOT / "charts" / "document.py").readme(text) == text
    assert "`webhook.certificate.mode`" in text


def test_the_agents_defaults_are_those_of_the_webhook():
    agent = defaults()["agent"]
    said = InjectionSettings.model_validate_json(
        json.dumps(
            {CAMEL.get(key, key): value for key, value in agent.items() if value != ""} | {"gateway": "https://g"}
        )
    )
    plain = InjectionSettings(image=agent["image"], gateway="https://g")
    assert said == plain


@pytest.mark.parametrize(
    ("value", "field", "text"),
    [
        (value, field, text)
        for kind, values in (("memory", ("arena", "memory", "disk")), ("cpu", ("cpu", "cpuLimit")))
        for value in values
        for field in [CAMEL.get(value, value)]
        for text in QUANTITIES[kind]
    ],
)
def test_the_webhook_takes_every_quantity_that_the_schema_takes(value, field, text):
    if re.search(SCHEMA["properties"]["agent"]["properties"][value]["pattern"], text):
        assert getattr(InjectionSettings(image="a", gateway="https://g", **{field: text}), field) == text
    elif text in ("0", "0Gi", "1Ki", "big", "-1Gi", "0m", "0.0", "-1", "1 core", ""):
        with pytest.raises(ValidationError):
            InjectionSettings(image="a", gateway="https://g", **{field: text})


def test_bounds_are_those_of_the_webhook():
    agent = SCHEMA["properties"]["agent"]["properties"]
    fields = InjectionSettings.model_json_schema()["properties"]
    for value, field in (("port", "port"), ("user", "user"), ("tokenSeconds", "token_seconds")):
        assert agent[value]["minimum"] == fields[field]["minimum"], value


def test_the_chart_is_of_the_packages_version():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert (chart["version"], chart["appVersion"]) == (version, version)
    images = yaml.safe_load(chart["annotations"]["artifacthub.io/images"])
    named = {f"{defaults()[who]['image']}:{version}" for who in ("operator", "agent")}
    assert {each["image"] for each in images} == named
