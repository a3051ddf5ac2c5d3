"""What an agent is told about its secrets: one whole set of two, and it shows none of them."""

import itertools
from pathlib import Path

import pytest

import builders_trust as build
from checkpointheal.agent.__main__ import main
from checkpointheal.agent.credentials import GatewayAccess
from checkpointheal.agent.settings import AgentSettings
from checkpointheal.errors import Misuse

ROOT = build.Authority.begin(build.GATEWAY, build.NOW).trusted(build.NOW)
PLACE = {"JOB": "gpt", "MEMBER": "0/0", "POD": "trainer-0", "POD_UID": "uid-0", "ARENA": "/arena"}
SECRETS = {"TOKEN": "t0ken", "PEER_KEY": "k3y", "TOKEN_FILE": "/token", "GATEWAY_ROOT": ROOT}
WHOLE = {frozenset({"TOKEN", "PEER_KEY"}), frozenset({"TOKEN_FILE", "GATEWAY_ROOT"})}
SUBSETS = [set(names) for count in range(5) for names in itertools.combinations(SECRETS, count)]


def told(*names: str, **changes: str) -> dict[str, str]:
    values = PLACE | {"GATEWAY": "https://gateway"} | {name: SECRETS[name] for name in names} | changes
    return {f"CHECKPOINTHEAL_{name}": value for name, value in values.items()}


@pytest.mark.parametrize("names", SUBSETS, ids=lambda names: "+".join(sorted(names)) or "none")
def test_an_agent_starts_with_one_whole_set_and_no_other(names: set[str]) -> None:
    if names in WHOLE:
        assert AgentSettings.from_environment(told(*names)).certified == ("GATEWAY_ROOT" in names)
        return
    with pytest.raises(Misuse) as refused:
        AgentSettings.from_environment(told(*names))
    sentence = str(refused.value)
    assert "is not set" in sentence or "are set" in sentence
    if len(names) == 1:
        (missing,) = next(whole for whole in WHOLE if names < whole) - names
        assert f"CHECKPOINTHEAL_{missing} is not set" in sentence
    assert not any(SECRETS[name] in sentence for name in names)


def test_a_token_from_a_file_never_crosses_in_clear() -> None:
    with pytest.raises(Misuse, match="https"):
        AgentSettings.from_environment(told("TOKEN_FILE", "GATEWAY_ROOT", GATEWAY="http://gateway"))


def test_settings_show_no_secret() -> None:
    for names in WHOLE:
        shown = repr(AgentSettings.from_environment(told(*names)))
        assert not any(SECRETS[name] in shown for name in names - {"TOKEN_FILE"})
    with pytest.raises(Misuse) as refused:
        AgentSettings.from_environment(told("TOKEN", "PEER_KEY", PORT="-1"))
    assert "t0ken" not in str(refused.value)


def test_a_root_that_is_none_keeps_the_agent_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = AgentSettings.from_environment(told("TOKEN_FILE", "GATEWAY_ROOT", GATEWAY_ROOT="no PEM"))
    with pytest.raises(Misuse, match="GATEWAY_ROOT"):
        GatewayAccess(settings)
    for name, value in told("TOKEN_FILE", "GATEWAY_ROOT", GATEWAY_ROOT="no PEM", ARENA=str(tmp_path)).items():
        monkeypatch.setenv(name, value)
    assert main([]) == 2
    assert "GATEWAY_ROOT" in capsys.readouterr().err
