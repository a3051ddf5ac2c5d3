"""The command line: help, versions, faults of the user's machine, and what has nothing to do with a cluster."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from builders_injection import ROOT, a_pod
from builders_plugin import Desktop
from checkpointheal_operator.plugin.__main__ import main
from checkpointheal_operator.plugin.asked import parser

RUN = "import sys; from checkpointheal_operator.plugin.__main__ import main; sys.exit(main(sys.argv[1:]))"
VERBS = ("status", "explain", "history", "watch", "report", "deadlines", "inject")


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_help_that_names_it(verb: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert said.startswith(f"usage: kubectl checkpointheal {verb}")
    assert max(map(len, said.splitlines())) <= 120


def test_the_help_names_every_verb_and_the_exit_statuses(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    assert all(f"    {verb} " in said for verb in VERBS)
    assert "0 fine, 1 something is amiss, 2 usage or no access" in " ".join(said.split())


def test_the_reports_help_says_what_is_inside(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["report", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "Secrets and your trainers' logs, which are never read" in said


def test_without_a_verb_it_shows_its_help_and_fails(capsys: pytest.CaptureFixture[str]):
    assert main([]) == 2
    assert "usage: kubectl checkpointheal" in capsys.readouterr().err


def test_it_tells_its_version(capsys: pytest.CaptureFixture[str]):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("kubectl checkpointheal ")


@pytest.mark.parametrize("argv", [["explain"], ["history", "-o", "xml"], ["nothing"], ["status", "--nothing"]])
def test_a_wrong_use_ends_with_2(argv: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert ended.value.code == 2
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize("verb", [["status"], ["explain", "p"], ["history"], ["watch"], ["report"]])
def test_without_a_kubeconfig_every_verb_says_so(desktop: Desktop, verb: list[str]):
    ran = desktop.run(*verb, KUBECONFIG=str(desktop.folder / "none"))
    assert (ran.status, ran.out) == (2, "")
    assert f"there is no kubeconfig at {desktop.folder / 'none'}" in ran.err


@pytest.mark.parametrize("verb", [["status"], ["explain", "p"], ["history"], ["watch"], ["report"]])
def test_a_server_that_is_not_there_is_named(desktop: Desktop, verb: list[str]):
    text = desktop.kubeconfig.read_text().replace(desktop.stage.url, "http://127.0.0.1:9")
    desktop.kubeconfig.write_text(text)
    ran = desktop.run(*verb)
    assert (ran.status, ran.out) == (2, "")
    assert "the API server http://127.0.0.1:9 (context 'here') does not answer" in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("verb", [["status"], ["explain", "p"], ["history"], ["watch"], ["report"]])
def test_credentials_that_have_expired_are_named(desktop: Desktop, verb: list[str]):
    desktop.says("", "Unauthorized", 401)
    ran = desktop.run(*verb)
    assert (ran.status, ran.out) == (2, "")
    assert "the credentials of context 'here' are wrong or have expired" in ran.err
    assert "-> log in to the cluster again" in ran.err


def test_a_context_that_there_is_not_is_named(desktop: Desktop):
    ran = desktop.run("status", "--context", "there")
    assert ran.status == 2
    assert "no context 'there'; there are: here" in ran.err


def test_a_kubeconfig_may_be_named(desktop: Desktop):
    ran = desktop.run("status", "--kubeconfig", str(desktop.kubeconfig), KUBECONFIG="/none")
    assert ran.status == 0


def test_a_busy_server_says_how_long_to_wait(desktop: Desktop):
    desktop.says("/heals", "slowly", 429)
    ran = desktop.run("history")
    assert "is busy" in ran.err
    assert "-> try again in 1 seconds" in ran.err


def manifest(folder: Path, pod: object) -> str:
    path = folder / "pod.yaml"
    path.write_text(yaml.safe_dump(pod))
    return str(path)


def test_inject_needs_no_cluster(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "root.pem").write_text(ROOT)
    argv = ["inject", "-f", manifest(tmp_path, a_pod()), "--gateway-root", str(tmp_path / "root.pem")]
    assert main(argv) == 0
    said = capsys.readouterr()
    assert "checkpointheal-agent" in said.out
    assert "Injected" in said.err


def test_inject_that_is_refused_ends_with_1(tmp_path: Path):
    assert main(["inject", "-f", manifest(tmp_path, a_pod(resources={"limits": {"cpu": "1"}}))]) == 1


def test_inject_of_no_file_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["inject", "-f", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith("kubectl checkpointheal inject: ")


def test_neither_torch_nor_kopf_nor_the_official_client_is_needed():
    program = (
        "import sys; from checkpointheal_operator.plugin import verbs, inject, __main__;"
        "sys.exit(bool({'torch', 'kopf', 'kubernetes', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_reader_that_leaves_early_is_no_fault(desktop: Desktop):
    environment = os.environ | {"KUBECONFIG": str(desktop.kubeconfig)}
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run(
        [sys.executable, "-c", RUN, "status"], env=environment, stdout=write, stderr=subprocess.PIPE, check=False
    )
    os.close(write)
    assert (process.returncode, process.stderr) == (0, b"")


def test_the_parser_takes_flags_after_the_verb():
    asked = parser().parse_args(["status", "-n", "x", "--context", "c", "-A"])
    assert (asked.namespace, asked.context, asked.all_namespaces) == ("x", "c", True)
