"""Write the CustomResourceDefinitions into the chart: `python -m checkpointheal_operator.api.generate [FOLDER]`.

They are committed, so that a reader and a reviewer see what the models mean to the API server.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

import yaml

from checkpointheal_operator.api.definitions import definitions

FOLDER = Path("charts/checkpointheal/templates/crds")
HEAD = "# Generated from operator/checkpointheal_operator/api by `python -m checkpointheal_operator.api.generate`.\n"


def files() -> Mapping[str, str]:
    """Each file's name and text."""
    return {
        f"{each['metadata']['name']}.yaml": HEAD + yaml.safe_dump(each, sort_keys=False, width=120)
        for each in definitions()
    }


def main(folder: Path) -> None:
    """Write them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
