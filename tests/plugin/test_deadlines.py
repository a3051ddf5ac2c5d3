"""All deadlines on one page, from one number."""

import pytest

from checkpointheal_operator.plugin.__main__ import main
from checkpointheal_operator.plugin.deadlines import Wanted, rows_of

GIB = 1 << 30


def seconds(**changes: object) -> dict[str, float]:
    wanted = Wanted(patience=5, state=0, rate=None, pod_seconds=120)._replace(**changes)
    return {row.name: row.seconds for row in rows_of(wanted)}


def test_what_is_printed_is_what_the_policy_comes_to(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deadlines", "--patience", "20", "--state", "100Gi", "--rate", "1Gi"]) == 0
    said = capsys.readouterr().out
    assert "agentSilenceSeconds              " in said
    assert "    24 s  1.2 x patienceSeconds" in said
    assert said.endswith("spec:\n  deadlines: {patienceSeconds: 20}\n  donors: {floorBytesPerSecond: 1073741824}\n")


def test_a_larger_state_gives_the_transfer_and_all_that_covers_it_more_time() -> None:
    small, large = seconds(), seconds(state=100 * GIB)
    assert (small["a transfer"], large["a transfer"]) == (30, 100 * GIB / 50_000_000)
    longer = {name for name in small if large[name] > small[name]}
    assert longer == {"a transfer", "CHECKPOINTHEAL_RESTORE_BUDGET", "init_process_group(timeout=)"}


def test_what_a_script_is_told_covers_what_it_waits_for() -> None:
    for patience in (4, 5, 60, 2_400):
        found = seconds(patience=patience, state=40 * GIB)
        attempts = 2 * found["a transfer"] + found["reportSeconds"] + found["epochEndSeconds"]
        assert found["CHECKPOINTHEAL_RESTORE_BUDGET"] >= attempts
        assert found["init_process_group(timeout=)"] > found["CHECKPOINTHEAL_RESTORE_BUDGET"]


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--patience", "3"], "3 is not between 4 and 2400"),
        (["--patience", "abc"], "abc is not between 4 and 2400 whole seconds"),
        (["--pod-seconds", "-500"], "-500 is not between 0 and 604800 whole seconds"),
        (["--state", "5GiB"], "not a quantity"),
        (["--rate", "0"], "0 is not between 1 and"),
        (["--rate", "9Ei"], "9Ei is not between 1 and"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(argv: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["deadlines", *argv])
    assert ended.value.code == 2
    assert told in capsys.readouterr().err
