"""What an agent is told about its secrets: one whole set of two, and it shows none of them."""

import itertools
from pathlib import Path

import pytest

import builders_trust as build
from checkpointheal.agent.__main__ import main
from checkpointheal.agent.credentials import GatewayAccess
from checkpointheal.agent.settings import AgentSettings
from checkpointheal.contract.seats import seat_uid
from checkpointheal.errors import Misuse

ROOT = build.Authority.begin(build.GATEWAY, build.NOW).trusted(build.NOW)
PLACE = {"JOB": "gpt", "MEMBER": "0/0", "POD": "trainer-0", "POD_UID": "uid-0", "ARENA": "/arena"}
SECRETS = {"TOKEN": "t0ken", "PEER_KEY": "k3y", "TOKEN_FILE": "/token", "GATEWAY_ROOT": ROOT}
WHOLE = {frozenset({"TOKEN", "PEER_KEY"}), frozenset({"TOKEN_FILE", "GATEWAY_ROOT"})}
SUBSETS = [set(names) for count in range(5) for names in itertools.combinations(SECRETS, count)]


def told(*names: str, **changes: str) -> dict[str, str]:
    values = PLACE | {"GATEWAY": "https://gateway"} | {name: SECRETS[name] for name in names} | changes
    return {f"CHECKPOINTHEAL_{name}": value for name, value in values.items()}


def test_asked_for_help_it_says_who_tells_it_what(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "docs/injection.md" in capsys.readouterr().out


def test_what_it_is_not_told_is_as_its_settings_say() -> None:
    found = AgentSettings.from_environment(told("TOKEN", "PEER_KEY"))
    for name in ("HOST", "PORT", "SLOTS", "REPORT_EVERY"):
        assert getattr(found, name.lower()) == AgentSettings.model_fields[name.lower()].default


@pytest.mark.parametrize("names", SUBSETS, ids=lambda names: "+".join(sorted(names)) or "none")
def test_an_agent_starts_with_one_whole_set_and_no_other(names: set[str]) -> None:
    if names in WHOLE:
        assert AgentSettings.from_environment(told(*names)).certified == ("GATEWAY_ROOT" in names)
        return
    with pytest.raises(Misuse) as refused:
        AgentSettings.from_environment(told(*names))
    sentence = str(refused.value)
    assert ("are set" if all(whole & names for whole in WHOLE) else "is not set") in sentence
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


def test_a_pod_of_one_seat_has_one_agent_that_is_told_what_it_always_was() -> None:
    environment = told("TOKEN", "PEER_KEY", PORT="7460")
    (alone,) = AgentSettings.seats(environment)
    assert alone == AgentSettings.from_environment(environment)
    assert (alone.pod, alone.pod_uid, alone.arena, alone.port) == ("trainer-0", "uid-0", Path("/arena"), 7460)


def test_every_seat_has_its_own_place_name_arena_and_port() -> None:
    environment = told("TOKEN", "PEER_KEY", MEMBER="1/1", LOCAL_RANKS="2", RANKS="4", PORT="7460")
    found = AgentSettings.seats(environment)
    assert [str(each.member) for each in found] == ["1/2", "1/3"]
    assert [each.pod for each in found] == ["trainer-0/0", "trainer-0/1"]
    assert [each.pod_uid for each in found] == ["uid-0", seat_uid("uid-0", 1)]
    assert [str(each.arena) for each in found] == ["/arena/0", "/arena/1"]
    assert [each.port for each in found] == [7460, 7461]
    assert [(each.local_rank, each.local_ranks) for each in found] == [(0, 2), (1, 2)]
    assert {each.token for each in found} == {"t0ken"}


def test_where_any_port_will_do_it_will_do_for_every_seat() -> None:
    found = AgentSettings.seats(told("TOKEN", "PEER_KEY", LOCAL_RANKS="2", RANKS="1"))
    assert [each.port for each in found] == [0, 0]


def test_the_last_seat_may_have_the_last_port() -> None:
    found = AgentSettings.seats(told("TOKEN", "PEER_KEY", LOCAL_RANKS="2", RANKS="1", PORT="65534"))
    assert [each.port for each in found] == [65534, 65535]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"LOCAL_RANKS": "3", "RANKS": "4"}, "do not divide each other"),
        ({"LOCAL_RANKS": "two"}, "cannot be read"),
        ({"LOCAL_RANKS": "2", "PORT": "65535"}, "go beyond 65535"),
    ],
)
def test_seats_that_cannot_be_keep_the_agent_from_starting(said: dict[str, str], why: str) -> None:
    with pytest.raises(Misuse, match=why):
        AgentSettings.seats(told("TOKEN", "PEER_KEY", **said))
