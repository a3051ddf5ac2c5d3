"""What the pages name is there: files, headings, targets, reasons, fields. Tables that the code makes are its own."""

import importlib.util
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from checkpointheal.contract.layout import Form, Kind, Regions, Schema, Tensors
from checkpointheal_operator.core.annotations import DRILL
from checkpointheal_operator.core.identity import SOURCES
from checkpointheal_operator.core.injection_settings import ANNOTATIONS, INJECT
from checkpointheal_operator.core.reasons import Cause, Reason
from checkpointheal_operator.core.status import NO_AGENT
from checkpointheal_operator.plugin.remedies import REMEDIES

ROOT = Path(__file__).parents[2]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "charts").rglob("*.md"))
}
each_page = pytest.mark.parametrize("name", PAGES)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
WORD = re.compile(r"\b(?:[A-Z][a-z0-9]+){2,}\b")
TARGETS = frozenset(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
SAID = frozenset(
    word
    for folder, kind in (("operator", "*.py"), ("transport", "*.py"), ("charts", "*.yaml"))
    for path in (ROOT / folder).rglob(kind)
    for word in WORD.findall(path.read_text())
)
"""Reasons, rungs, causes, errors, kinds and whatever else the code spells in this way."""
FOREIGN = frozenset(("FailedCreate", "OrderedDict", "OrderedReady"))
"""Words that only others say."""


def slug(heading: str) -> str:
    """The anchor that a heading gets where pages are shown."""
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "").strip().lower()).replace(" ", "-")


def anchors(text: str) -> set[str]:
    return {slug(found) for found in re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)}


def links(text: str) -> Iterator[tuple[str, str]]:
    """File and anchor of each link into this tree."""
    for target in LINK.findall(FENCE.sub("", text)):
        if not target.startswith(("https://", "http://", "mailto:")):
            file, _, anchor = target.partition("#")
            yield file, anchor


def code(text: str) -> Iterator[str]:
    """Everything that is set as code: lines of blocks, and what stands between backticks."""
    for block in FENCE.findall(text):
        yield from block.splitlines()[1:-1]
    yield from CODE.findall(FENCE.sub("", text))


@each_page
def test_every_link_leads_somewhere(name):
    here = ROOT / name
    for file, anchor in links(PAGES[name]):
        target = (here.parent / file).resolve() if file else here
        assert target.exists(), f"{name}: {file}"
        if anchor:
            assert anchor in anchors(target.read_text()), f"{name}: {file}#{anchor}"


@each_page
def test_every_make_target_is_there(name):
    told = {word for part in code(PAGES[name]) for word in re.findall(r"(?:^|\$ )make ([a-z0-9-]+)", part)}
    assert told <= TARGETS, name


@pytest.mark.parametrize("name", [name for name in PAGES if "/decisions/" not in name and "reference" not in name])
def test_every_word_of_ours_is_one_that_is_said(name):
    told = {word for word in CODE.findall(FENCE.sub("", PAGES[name])) if WORD.fullmatch(word)}
    assert told <= SAID | FOREIGN, sorted(told - SAID - FOREIGN)


def test_every_word_of_the_remedies_is_a_reason_or_a_cause():
    table = PAGES["docs/operations.md"].split("<!-- remedies -->")[1].split("<!-- /remedies -->")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) <= {*Reason, *Cause}


@each_page
def test_every_annotation_and_every_file_of_the_tree_is_there(name):
    others = {"checkpointheal.dev/policy", "checkpointheal.dev/v1alpha1", DRILL}
    for part in code(PAGES[name]):
        assert set(re.findall(r"checkpointheal\.dev/[a-z][\w-]*", part)) <= {*ANNOTATIONS, INJECT, *others}, part
        for path in re.findall(r"\b(?:tests|examples|docs)/[\w./*-]*\w", part):
            assert any(True for _ in ROOT.glob(f"{path}*")), f"{name}: {path}"


def test_no_page_is_left_without_a_way_to_it():
    led_to = {(ROOT / name).parent / file for name, text in PAGES.items() for file, _ in links(text) if file}
    found = {path.resolve() for path in led_to}
    for path in (ROOT / "docs").glob("*.md"):
        assert path in found, path.name


def test_every_target_of_the_makefile_says_what_it_does():
    listed = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert {line.split()[1] for line in listed.splitlines()} == TARGETS


@pytest.fixture(scope="module")
def document():
    """The script that writes them."""
    spec = importlib.util.spec_from_file_location("document", ROOT / "docs" / "document.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_every_table_that_the_code_makes_is_the_codes(document):
    for table in document.TABLES:
        text = PAGES[f"docs/{table.page}"]
        assert table.within(text) == text
    for word in (*REMEDIES, *NO_AGENT):
        assert f"| `{word}` | " in PAGES["docs/operations.md"]


def test_the_table_of_what_an_agent_is_told_has_all_that_it_reads(document):
    told = {word for word, says, _ in document.variables() if says}
    settings = (ROOT / "transport" / "checkpointheal" / "agent" / "settings.py").read_text()
    assert {f"{document.PREFIX}{name}" for name in re.findall(r'read\("(\w+)"', settings)} <= told
    assert {document.seats.MEMBER, document.seats.LOCAL_RANKS, document.seats.RANKS} <= told


def test_every_field_of_the_spec_that_operations_names_is_there():
    reference = PAGES["docs/reference.md"]
    fields = set(re.findall(r"^\| `([\w.\[\]]+)` \|", reference, re.MULTILINE))
    parts = {each.split(".")[0] for each in fields if "." in each}
    for part in CODE.findall(PAGES["docs/operations.md"]):
        if part.split(".")[0] in parts and re.fullmatch(r"[a-z]\w*\.\w+", part):
            assert part in fields, part


def test_every_workload_that_is_known_has_a_row_and_what_was_run_names_with_what():
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \| ([^|]+) \|$", PAGES["docs/workloads.md"], re.MULTILINE)
    told = "; ".join(workload for workload, _ in rows)
    for source in SOURCES:
        assert source.name in told
    for workload, seen in rows[2:]:
        assert seen.startswith(("parsed", "refused")) or re.search(r"`(tests/e2e/test_|examples/)", seen), workload


def test_the_schema_of_the_pages_is_the_codes():
    arena, wire = PAGES["docs/arena.md"], PAGES["docs/wire.md"]
    told = arena.partition("The schema is what a donor offers")[2].partition("## A seal")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", told, re.MULTILINE))
    assert list(rows) == list(Schema.model_fields)
    for columns in (Tensors, Regions):
        assert set(columns.model_fields) <= set(CODE.findall(rows[columns.__name__.lower()]))
    state = wire.partition("## The state")[2].partition("## Digests")[0]
    spelled = {
        word for cell in re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", state, re.MULTILINE) for word in CODE.findall(cell)
    }
    for model in (Tensors, Regions, Form):
        assert set(model.model_fields) <= spelled, model
    assert {"d", "od", "ct", "l", "t", "T", "V", "R", "K", "c", "x", "dt", "sh"} <= spelled
    assert set(get_args(Kind)) <= set(CODE.findall(state))
