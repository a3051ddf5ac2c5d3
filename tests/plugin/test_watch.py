"""`watch`: lines as things happen, a picture where there is a terminal, an end by Ctrl-C."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from rich.console import Console

from builders_plugin import (
    NOW,
    POLICY,
    Desktop,
    a_training_job,
    healed,
    receiving,
    replaced,
    seen_of,
    without_colours,
)
from checkpointheal_operator.plugin.live import BAR, LiveScreen, bar, picture
from checkpointheal_operator.plugin.news import first, news
from checkpointheal_operator.plugin.seen import Seen
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS
from cluster_simulation import ClusterSimulation

RUN = "import sys; from checkpointheal_operator.plugin.__main__ import main; sys.exit(main(sys.argv[1:]))"
PATIENCE = 30.0


def looks(*steps: Callable[[ClusterSimulation], object]) -> list[str]:
    """What is told while a job is replaced, transfers and heals."""
    job = a_training_job()
    before, lines = seen_of(job.cluster), []
    for step in steps:
        step(job)
        after = seen_of(job.cluster)
        lines += news(before, after, job.now)
        before = after
    return lines


def test_a_heal_is_told_from_its_opening_to_its_end():
    lines = looks(replaced, lambda job: receiving(job, 1 << 29), lambda job: receiving(job, 1 << 30), healed)
    who = "training/pod-1-0-10 (heal-fe2725990e19): "
    assert [line.removeprefix(who) for line in lines if line.startswith(who)] == [
        "opened, Replaced: 1/0 asks for a state: Replaced",
        "attempt 1: step 5 from pod-0-0-1, because 1/0 holds no usable state of step 5",
        "receives step 5 from pod-0-0-1, 25% of 2.0 GiB (attempt 1)",
        "receives step 5 from pod-0-0-1, 50% of 2.0 GiB (attempt 1)",
        "healed from pod-0-0-1 at step 5 in 15.5s, 0s ago",
    ]


def test_epochs_and_conditions_are_told_when_they_change():
    lines = looks(replaced, healed)
    assert any(line.startswith("training/demo: epoch 1 is over for ") for line in lines)
    assert any(line.startswith("training/demo: epoch 2 for ") for line in lines)
    assert any(line.startswith("training/demo: Degraded: yes: ") for line in lines)
    assert "training/demo: Degraded: no: nothing is amiss" in lines


def test_what_has_not_changed_is_not_told():
    job = receiving(replaced(a_training_job()), 1 << 29)
    seen = seen_of(job.cluster)
    assert list(news(seen, seen, job.now)) == []


def test_a_step_of_less_than_a_tenth_is_not_told():
    assert looks(replaced, lambda job: receiving(job, 0), lambda job: receiving(job, 1 << 20))[-1].endswith(
        "receives step 5 from pod-0-0-1, 0% of 2.0 GiB (attempt 1)"
    )


def test_a_policy_that_comes_and_one_that_goes_are_told():
    seen = seen_of(a_training_job().cluster)
    assert next(iter(news(Seen(), seen, NOW))).startswith("training/demo: epoch 1")
    assert list(news(seen, Seen(), NOW)) == ["training/demo: it was deleted"]


def test_at_first_every_job_and_open_heal_is_told():
    job = receiving(replaced(a_training_job()), 1 << 29)
    job_line, heal_line = first(seen_of(job.cluster), job.now)
    assert job_line.startswith("training/demo: epoch 1 is over")
    assert "receives step 5 from pod-0-0-1, 25% of 2.0 GiB" in heal_line


def test_at_first_a_policy_that_cannot_be_read_is_told_and_not_waited_for():
    job = a_training_job()
    job.cluster.objects[POLICY]["spec"]["fallback"] = "Newer"
    (said,) = first(seen_of(job.cluster), job.now)
    assert said.startswith("CheckpointHeal demo cannot be read: spec.fallback")


def shown(job: ClusterSimulation, *lines: str, width: int = 80) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, force_terminal=True).print(picture(seen_of(job.cluster), lines, job.now))
    return without_colours(stream.getvalue())


def test_the_picture_has_a_bar_for_each_transfer():
    said = shown(receiving(replaced(a_training_job()), 1 << 30), "a line")
    assert "█" * (BAR // 2) + "░" * (BAR // 2) + " 50% of 2.0 GiB" in said
    assert "training/demo  not Training  Protected  Degraded" in said
    assert said.rstrip().endswith("a line")
    assert max(map(len, said.splitlines())) <= 80


def test_without_an_assignment_the_bar_says_what_is_waited_for():
    job = replaced(a_training_job())
    heal = next(iter(seen_of(job.cluster).heals))
    without = heal.model_copy(update={"spec": heal.spec.model_copy(update={"assignment": None})})
    assert bar(without) == "no donor is assigned yet"


def test_an_empty_namespace_has_a_picture_too():
    stream = io.StringIO()
    with LiveScreen(Console(file=stream, width=80, force_terminal=True), lambda: NOW) as screen:
        screen.show(Seen(), [])
    assert "there is no CheckpointHeal here" in stream.getvalue()


# The command.


@contextlib.contextmanager
def started(desktop: Desktop) -> Iterator[subprocess.Popen[str]]:
    environment = os.environ | {"KUBECONFIG": str(desktop.kubeconfig)}
    command = [sys.executable, "-u", "-c", RUN, "watch"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_without_a_terminal_it_writes_lines_until_it_is_interrupted(desktop: Desktop):
    desktop.has(a_training_job())
    with started(desktop) as process:
        assert process.stdout is not None
        assert "training/demo: epoch 1" in process.stdout.readline()
        until(lambda: desktop.stage.call(lambda: desktop.stage.api.held) == 2)
        changed = desktop.stage.call(lambda: desktop.stage.cluster.objects[POLICY])
        changed["status"]["epoch"] |= {"number": 2}
        desktop.put(CHECKPOINTHEALS, changed)
        line = process.stdout.readline()
        assert "training/demo: epoch 2" in line
        assert "\x1b" not in line
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_in_an_empty_namespace_it_says_that_it_waits(desktop: Desktop):
    with started(desktop) as process:
        assert process.stdout is not None
        assert "there is no CheckpointHeal here yet: waiting for one" in process.stdout.readline()


@pytest.mark.parametrize("verb", ["list", "watch"])
def test_a_missing_right_ends_it_and_is_named(desktop: Desktop, verb: str):
    desktop.has(a_training_job())
    desktop.forbids("/heals", verb)
    ran = desktop.run("watch")
    assert ran.status == 2
    assert f"you may not {verb} heals.checkpointheal.dev in namespace training" in ran.err


def test_without_the_definitions_it_ends_and_says_so(desktop: Desktop):
    desktop.says("/checkpointheals", "404 page not found", 404)
    ran = desktop.run("watch")
    assert ran.status == 1
    assert "CheckpointHeal is not installed" in ran.err
