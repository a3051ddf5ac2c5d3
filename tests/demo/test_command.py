"""`checkpointheal demo --keep`: a folder that cannot be used is told before anything trains."""

from pathlib import Path

import pytest

from checkpointheal_operator.demo.command import HEALED, main


@pytest.mark.parametrize(
    ("folder", "why"), [("twice", "holds an earlier demo: name another folder"), ("file", "File exists")]
)
def test_a_folder_that_cannot_be_used_is_one_sentence(
    folder: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "twice" / HEALED).mkdir(parents=True)
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as ended:
        main(["--keep", str(tmp_path / folder)])
    assert ended.value.code == 2
    assert f"{tmp_path / folder}" in (said := capsys.readouterr().err)
    assert why in said
