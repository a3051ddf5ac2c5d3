"""The page of benchmarks says what was measured, and nothing else."""

from pathlib import Path

from bench.page import PAGE, page
from bench.results import kept
from bench.samples import percentile


def test_the_page_is_what_the_kept_figures_give() -> None:
    assert Path(PAGE).read_text() == page(kept()), "make bench-page"


def test_a_broken_promise_is_told_as_one() -> None:
    rows = [
        {"what": what, "value": value, "unit": "s", "target": 2.0, "note": ""}
        for what, value in (("a", 1.0), ("b", 3.0))
    ]
    machine = dict.fromkeys(("date", "processor", "memory", "system"), "x")
    told = page({"one": {"title": "T", "machine": machine, "load before": "1", "load after": "2", "rows": rows}})
    assert [line for line in told.splitlines() if "broken" in line and "|" in line] == [
        "| b | 3 s | 2 s | **broken** |"
    ]


def test_a_percentile_is_a_sample_that_so_many_are_not_above() -> None:
    samples = [float(each) for each in range(1, 201)]
    assert [percentile(samples, part) for part in (0, 50, 99, 100)] == [1.0, 100.0, 198.0, 200.0]
