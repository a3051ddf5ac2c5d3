"""Write the CustomResourceDefinitions into the chart: `python -m checkpointheal_operator.api.generate [FOLDER]`.

They are committed, so that a reader and a reviewer see what the models mean to the API server. Helm must be able to
leave them out, to label them, and to leave them alone at the end. What it reads stands in comments, for it looks into
those too: so each file is a template and, as it lies there, plain YAML.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from checkpointheal_operator.api.definitions import definitions

FOLDER = Path("charts/checkpointheal/templates/crds")
HEAD = "# Generated from operator/checkpointheal_operator/api by `python -m checkpointheal_operator.api.generate`.\n"
KEPT = ("annotations:", "helm.sh/resource-policy: keep")
"""The lines that `crds.keep` is about."""
LABELS = (
    r'  #{{ printf "\n  labels:" }}'
    '{{ include "checkpointheal.labels" (dict "root" . "component" "operator") | nindent 4 }}'
)
"""The first line of what Helm writes stays a comment."""


def files() -> Mapping[str, str]:
    """Each file's name and text."""
    return {f"{each['metadata']['name']}.yaml": _template(each) for each in definitions()}


def main(folder: Path) -> None:
    """Write them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (folder / name).write_text(text)


def _template(definition: Mapping[str, Any]) -> str:
    text = yaml.safe_dump(definition, sort_keys=False, width=120)
    if "{{" in text:
        raise ValueError(f"Helm would take a part of {definition['metadata']['name']} for its own")
    return "\n".join([HEAD + "#{{ if .Values.crds.enabled }}", *_keeping(text.splitlines()), "#{{ end }}", ""])


def _keeping(lines: list[str]) -> Iterator[str]:
    """Labels; the annotation only if it is wanted: it is the only one."""
    at = next(number for number, line in enumerate(lines) if line.strip() == KEPT[0])
    if lines[at + 1].strip() != KEPT[1]:
        raise ValueError(f"{lines[at + 1].strip()} is no annotation that Helm can be asked about")
    yield from (*lines[:at], LABELS)
    yield from ("  #{{ if .Values.crds.keep }}", *lines[at : at + 2], "  #{{ end }}")
    yield from lines[at + 2 :]


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
