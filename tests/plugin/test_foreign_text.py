"""What others have written reaches whoever runs the plugin as letters: it moves no cursor and hides no line."""

import io
import json

import pytest
from rich.console import Console

from builders_api import WHERE
from builders_core import m
from builders_plugin import (
    NOW,
    a_training_job,
    an_event,
    drawn,
    replaced,
    seen_of,
    text,
    with_agents,
    without_colours,
)
from checkpointheal_operator.api.base import Json
from checkpointheal_operator.plugin.explaining import page
from checkpointheal_operator.plugin.live import PlainLines, picture
from checkpointheal_operator.plugin.pages import Block, Grid, Title, Told
from checkpointheal_operator.plugin.seen import Seen, seen
from checkpointheal_operator.plugin.trouble import Trouble
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS, HEALS, PODS, Ref

EVIL = "\x1b[2J\x1b]52;c;ZXZpbA==\x07all is well\x1b[8m\x9b8m\u2028\u202e"
WRITTEN_OUT = r"\x1b[2J\x1b]52;c;ZXZpbA==\x07all is well\x1b[8m\x9b8m\u2028\u202e"


def is_harmless(said: str) -> bool:
    """Nothing but letters, ends of lines and our own colours."""
    return all(line.isprintable() for line in without_colours(said).split("\n"))


@pytest.mark.parametrize("width", [40, 80, 4000])
@pytest.mark.parametrize(
    "block",
    [
        Title(EVIL),
        Told(EVIL),
        Told("", EVIL),
        Told(f"a sentence about {EVIL} and more", "! ", 2, "bad"),
        Grid(("NAME", "STATE"), (("pod-0", EVIL), (EVIL, "fine"))),
        Grid(("NAME", "STATE"), (("pod-0", f"is {EVIL} and more"),), folds=True),
    ],
)
def test_no_block_of_a_page_passes_on_what_cannot_be_printed(block: Block, width: int) -> None:
    assert is_harmless(drawn((block,), width))
    assert WRITTEN_OUT in text((block,))
    assert is_harmless(text((block,)))


def test_our_own_colours_stay() -> None:
    assert "\x1b[1;31m! bad\x1b[0m" in drawn((Told("bad", "! ", tone="bad"),))
    assert "\x1b[1mHEAD" in drawn((Grid(("HEAD",), (("cell",),)),))


def test_a_sentence_of_several_lines_stays_a_sentence() -> None:
    assert text((Told("the probe\nfailed"),)) == "the probe failed\n"


@pytest.mark.parametrize("by", ["annotation", "event", "phase"])
def test_a_pod_that_is_explained_writes_nothing_into_a_terminal(by: str) -> None:
    job = a_training_job()
    with_agents(job.cluster)
    pod: Json = job.cluster.objects[Ref(PODS, WHERE, job.pods[m("1/0")].name)]
    events = ()
    if by == "annotation":
        pod["metadata"]["annotations"]["checkpointheal.dev/injected"] = json.dumps({"trainer": EVIL, "notes": [EVIL]})
    elif by == "event":
        events = (an_event(pod, "Unhealthy", EVIL, "2026-12-01T00:00:00Z"),)
    else:
        pod["status"]["phase"] = EVIL
    said = page(pod, seen_of(job.cluster), events, job.now)
    assert WRITTEN_OUT in text(said)
    assert is_harmless(text(said))
    assert is_harmless(drawn(said))


def test_a_mark_that_is_nested_without_end_is_one_that_cannot_be_read() -> None:
    job = a_training_job()
    with_agents(job.cluster)
    pod: Json = job.cluster.objects[Ref(PODS, WHERE, job.pods[m("1/0")].name)]
    pod["metadata"]["annotations"]["checkpointheal.dev/injected"] = "[" * 100_000
    assert "injected; its annotation cannot be read" in text(page(pod, seen_of(job.cluster), (), job.now))


def evil_job() -> Seen:
    """Its conditions, and whom its open heal is for, say what they like."""
    job = replaced(a_training_job())
    policy, heal = job.cluster.all(CHECKPOINTHEALS)[0], job.cluster.all(HEALS)[-1]
    policy["status"]["epoch"]["message"] = policy["metadata"]["name"] = EVIL
    heal["spec"]["recipient"]["pod"] = EVIL
    for each in policy["status"]["conditions"]:
        each["type"] = each["message"] = EVIL
    return seen((policy,), (heal,), ())


def test_what_is_watched_writes_nothing_into_a_terminal() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=200, force_terminal=True, highlight=False, markup=False, emoji=False)
    console.print(picture(evil_job(), (f"training/demo: {EVIL}",), NOW))
    assert is_harmless(stream.getvalue())
    assert stream.getvalue().count("all is well") >= 3


def test_lines_that_are_watched_stay_lines() -> None:
    stream = io.StringIO()
    PlainLines(stream).show(Seen(), [f"training/demo: {EVIL}"])
    assert stream.getvalue().endswith(f"  training/demo: {WRITTEN_OUT}\n")


def test_what_an_api_server_answers_is_told_on_its_lines() -> None:
    lines = Trouble(f"it refused: {EVIL}", "mend \x1b[2J\nor not").lines
    assert lines == (f"it refused: {WRITTEN_OUT}", r"mend \x1b[2J", "or not")
