"""Write the table of remedies into operations.md: `python docs/document.py`.

Reasons and their sentences come from the core, what helps from the plugin; so neither is written twice.
"""

from collections.abc import Iterator
from pathlib import Path

from checkpointheal_operator.core.reasons import Cause, Reason
from checkpointheal_operator.core.status import NO_AGENT
from checkpointheal_operator.plugin.remedies import REMEDIES

PAGE = Path(__file__).parent / "operations.md"
BEGIN, END = "<!-- remedies -->\n", "<!-- /remedies -->\n"
HEAD = "| reason | says | what helps |\n| --- | --- | --- |\n"
TOLD = "what the sentence says"
"""These name their own remedy."""
CAUSE = "{member} asks for a state"


def rows() -> Iterator[tuple[str, str, str]]:
    """Word, sentence and remedy, in the order of the core."""
    for reason in Reason:
        if reason in REMEDIES:
            yield reason, reason.sentence, REMEDIES[reason]
        elif reason in {*NO_AGENT, Reason.NO_POLICY, Reason.PLACE_UNKNOWN, Reason.CONFLICTING}:
            yield reason, reason.sentence, TOLD
    for cause in Cause:
        yield cause, CAUSE, REMEDIES[cause]


def page(text: str) -> str:
    """It, with the table as it should be."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    table = "".join(f"| `{word}` | {sentence} | {helps} |\n" for word, sentence, helps in rows())
    return head + BEGIN + HEAD + table + END + tail


def main() -> None:
    """Write it."""
    PAGE.write_text(page(PAGE.read_text()))


if __name__ == "__main__":
    main()
