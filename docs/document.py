"""Write the tables that the code makes into the pages that show them: `python docs/document.py`.

Into operations.md, what helps for each reason: reasons and their sentences come from the core, what helps from the
plugin. Into injection.md, what an agent is told: it comes from the agent's settings. So nothing is written twice.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic.fields import FieldInfo

from checkpointheal.agent.settings import PREFIX, AgentSettings
from checkpointheal.contract import log_lines, seats
from checkpointheal_operator.core.reasons import Cause, Reason
from checkpointheal_operator.core.status import NO_AGENT
from checkpointheal_operator.plugin.remedies import REMEDIES

DOCS = Path(__file__).parent
TOLD = "what the sentence says"
"""These name their own remedy."""
CAUSE = "{member} asks for a state"
NOT_TOLD = frozenset(("private_limit", "local_rank"))
"""Fields of an agent's settings that no variable sets."""
SECRETS = {"token": "peer_key", "peer_key": "token", "token_file": "gateway_root", "gateway_root": "token_file"}
"""Of each the one that goes with it."""


class Table(NamedTuple):
    """One that stands between two marks of its name."""

    page: str
    name: str
    head: tuple[str, str, str]
    rows: Callable[[], Iterable[tuple[str, str, str]]]

    def within(self, text: str) -> str:
        """The page, with the table as it should be."""
        begin, end = f"<!-- {self.name} -->\n", f"<!-- /{self.name} -->\n"
        head, _, rest = text.partition(begin)
        _, _, tail = rest.partition(end)
        table = "".join(f"| `{word}` | {says} | {last} |\n" for word, says, last in self.rows())
        return f"{head}{begin}| {' | '.join(self.head)} |\n| --- | --- | --- |\n{table}{end}{tail}"


def remedies() -> Iterator[tuple[str, str, str]]:
    """Word, sentence and remedy, in the order of the core."""
    for reason in Reason:
        if reason in REMEDIES:
            yield reason, reason.sentence, REMEDIES[reason]
        elif reason in {*NO_AGENT, Reason.NO_POLICY, Reason.PLACE_UNKNOWN, Reason.CONFLICTING}:
            yield reason, reason.sentence, TOLD
    for cause in Cause:
        yield cause, CAUSE, REMEDIES[cause]


def variables() -> Iterator[tuple[str, str, str]]:
    """Name, meaning and default of each that an agent reads."""
    for name, field in AgentSettings.model_fields.items():
        if name not in NOT_TOLD:
            yield PREFIX + name.upper(), field.description or "", _default(name, field)
    yield seats.RANKS, seats.Seats.model_fields["ranks"].description or "", "1"
    yield log_lines.VARIABLE, f"How its log is written: {log_lines.TEXT}, or {log_lines.JSON}.", log_lines.TEXT


def _default(name: str, field: FieldInfo) -> str:
    if name in SECRETS:
        return f"none; with `{PREFIX}{SECRETS[name].upper()}`"
    return "none" if field.is_required() else f"{field.default}".removesuffix(".0")


TABLES = (
    Table("operations.md", "remedies", ("reason", "says", "what helps"), remedies),
    Table("injection.md", "variables", ("variable", "says", "else"), variables),
)


def main() -> None:
    """Write them."""
    for table in TABLES:
        path = DOCS / table.page
        path.write_text(table.within(path.read_text()))


if __name__ == "__main__":
    main()
