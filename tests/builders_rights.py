"""Rights as docs/rbac.md tells them and as a role of the chart grants them."""

import re
from typing import NamedTuple

from builders_chart import NAME, ROOT, Manifest

EVERYWHERE, HERE, PEOPLE = "The operator, in all namespaces", "The operator, in its own namespace", "People"


class Right(NamedTuple):
    """One verb on one resource; `name` is empty where any object is meant."""

    group: str
    resource: str
    name: str
    verb: str

    def __str__(self) -> str:
        return " ".join(each for each in (self.verb, self.resource, self.name) if each)

    @property
    def rule(self) -> Manifest:
        """As a role has it."""
        names = {"resourceNames": [self.name]} if self.name else {}
        return {"apiGroups": [self.group], "resources": [self.resource], "verbs": [self.verb]} | names

    def is_refused_in(self, line: str) -> bool:
        """Whether the API server's answer names just this one."""
        about = f'"{self.name}" is forbidden' if self.name else "forbidden"
        return about in line and f'cannot {self.verb} resource "{self.resource}" in API group "{self.group}"' in line


def sections() -> dict[str, list[dict[str, str]]]:
    """The rows of each section's table."""
    found = {}
    for part in (ROOT / "docs" / "rbac.md").read_text().split("\n## ")[1:]:
        title, _, text = part.partition("\n")
        lines = re.findall(r"^\|(.*)\|$", text, re.MULTILINE)
        rows = [[cell.strip() for cell in line.split("|")] for line in lines]
        found[title] = [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]
    return found


def right_of(row: dict[str, str]) -> Right:
    """What a row is about."""
    return Right(row["API group"], row["resource"], row.get("names", "").replace("NAME", NAME), row["verb"])


def granted(role: Manifest) -> set[Right]:
    """One by one."""
    return {
        Right(group, resource, name, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
        for verb in rule["verbs"]
    }
