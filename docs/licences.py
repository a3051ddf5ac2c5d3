"""Write licences.md from an SBOM: `python docs/licences.py SBOM`.

The SBOM is that of the environment in which the tests ran (`make sbom`); the page holds what of it ships: what is asked
for by the operator, the transport or both, and what that needs in turn. An SBOM's own edges do not tell which of them
are some package's option that only our tests have installed; the packages do.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OURS = "checkpointheal"
WINGS = ("operator", "transport")
OSI = "License :: OSI Approved :: "
PAGE = Path(__file__).parent / "licences.md"
HEAD = """# Licences

What ships with CheckpointHeal, in the versions that the tests ran with, and the licence that each says it has. Ours is
in [LICENSE](../LICENSE). `make sbom` writes this page, and `dist/sbom.json` (CycloneDX) of all that is installed, what
only tests need included. NVIDIA's libraries belong to torch's default build; the images can be made with its build for
the CPU.

| package | version | licence | for |
| --- | --- | --- | --- |
"""

Json = dict[str, Any]


def needed(name: str, extras: Iterable[str] = ("",)) -> Iterator[Requirement]:
    """What a package asks for here, with these of its options; nothing where it is not installed here."""
    try:
        asked = [Requirement(each) for each in requires(name) or ()]
    except PackageNotFoundError:
        return
    for each in asked:
        if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in extras):
            yield each


def closure(asked: Iterable[Requirement]) -> set[str]:
    """Names of all that these bring in."""
    found: set[tuple[str, frozenset[str]]] = set()
    left = list(asked)
    while left:
        each = left.pop()
        key = canonicalize_name(each.name), frozenset(each.extras)
        if key not in found:
            found.add(key)
            left += needed(each.name, ("", *each.extras))
    return {name for name, _ in found}


def rows(sbom: Json) -> Iterator[str]:
    """Name, version, licence and wings of each package that ships, by name."""
    reached = {wing: closure(needed(OURS, ("", wing))) for wing in WINGS}
    for component in sorted(sbom["components"], key=lambda each: canonicalize_name(each["name"])):
        wings = [wing for wing, names in reached.items() if canonicalize_name(component["name"]) in names]
        if wings:
            yield f"| {component['name']} | {component['version']} | {licence(component)} | {', '.join(wings)} |\n"


def licence(component: Json) -> str:
    """As its metadata say: an SPDX expression where there is one, else what stands there, on one line."""
    said = [each.get("expression") or each.get("license", {}) for each in component.get("licenses", [])]
    words = [each if isinstance(each, str) else each.get("id") or each.get("name", "") for each in said]
    lines = dict.fromkeys(" ".join(each.split()).removeprefix(OSI) for each in words if each)
    short = [each for each in lines if not each.startswith("declared license")]
    return ", ".join(short).replace("|", "/") or "not said"


def main() -> None:
    """Rewrite the page."""
    PAGE.write_text(HEAD + "".join(rows(json.loads(Path(sys.argv[1]).read_text()))))


if __name__ == "__main__":
    main()
