"""What the demo shows fits a terminal of 80 characters and leaves nothing out."""

from rich.console import Console

from checkpointheal_operator.core.phases import PHASES
from checkpointheal_operator.demo.result import Result
from checkpointheal_operator.demo.scenes import HealRow
from checkpointheal_operator.demo.screen import PROVED, heal_table, timeline, verdict_lines


def a_row(**phases: float) -> HealRow:
    return HealRow(
        recipient="2/0", donor="0/0", cause="Replaced", rung="Peer", step=7, bytes=1 << 20, attempt=1, phases=phases
    )


def a_result(*rows: HealRow, identical: bool = True, different: tuple[str, ...] = ()) -> Result:
    return Result(
        identical=identical,
        heals=rows,
        heal_seconds=(1.5,),
        restart_seconds=9,
        steps_lost=0,
        restart_steps_lost=12,
        different=different,
        missed=(),
    )


def test_a_timeline_gives_each_phase_its_share_and_its_seconds() -> None:
    bar, names = timeline(a_row(detect=1.0, transfer=3.0))
    assert bar.plain.count("━") == 48
    assert [len(span) for span in (bar.plain[span.start : span.end] for span in bar.spans)] == [12, 36]
    assert names.plain.split() == ["detect", "1.00", "transfer", "3.00"]


def test_a_phase_that_took_no_time_is_still_seen() -> None:
    bar, _ = timeline(a_row(choose=0.0, restart=10.0))
    assert bar.plain.count("━") == 49


def test_four_heals_with_every_phase_fit_into_80_characters() -> None:
    console = Console(width=80)
    with console.capture() as captured:
        console.print(heal_table(a_result(*[a_row(**dict.fromkeys(PHASES, 12.345))] * 4)))
    shown = captured.get()
    assert "…" not in shown
    assert all(f"{phase} s" in shown for phase in PHASES)


def test_only_an_identical_end_is_called_one() -> None:
    said = [line.plain for line in verdict_lines(a_result(identical=False, different=("rank 1: data",)))]
    assert PROVED not in said
    assert "differs: rank 1: data" in said
    assert PROVED in [line.plain for line in verdict_lines(a_result())]
