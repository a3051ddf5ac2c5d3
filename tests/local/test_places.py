"""What the processes of a pod find in their environment, and where it lives."""

import socket
from itertools import product
from pathlib import Path

import pytest
from pydantic import ValidationError

from builders_local import a_job, a_trainer
from checkpointheal.agent.settings import AgentSettings
from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.seats import Seats
from checkpointheal.run.ranks import variables
from checkpointheal.trainer.settings import TrainerSettings
from checkpointheal_operator.local import places
from checkpointheal_operator.local.places import Claim, Site, environment, free_port

SIZES = list(product([1, 2, 3], [1, 2, 3]))


def a_site(folder: Path, **changes: object) -> Site:
    return Site(a_job(folder, a_trainer(""), **changes), "http://127.0.0.1:1", "the-peer-key", 20_000)


def a_claim(member: MemberId | None = None, ranks: int = 1) -> Claim:
    return Claim(seats=Seats(pod=member or MemberId(replica=0), ranks=ranks), uid="u1", token="the-token")


def claims(replicas: int, ranks: int) -> list[Claim]:
    return [a_claim(MemberId(replica=r, rank=k), ranks) for r, k in product(range(replicas), range(ranks))]


@pytest.mark.parametrize(("replicas", "ranks"), SIZES)
def test_ranks_count_through_the_replicas_one_after_the_other(tmp_path: Path, replicas: int, ranks: int) -> None:
    site = a_site(tmp_path, replicas=replicas, ranks=ranks)
    found = [environment(site, claim, "run") for claim in claims(replicas, ranks)]
    assert [each["RANK"] for each in found] == [str(rank) for rank in range(replicas * ranks)]
    assert {each["WORLD_SIZE"] for each in found} == {str(replicas * ranks)}


@pytest.mark.parametrize(("replicas", "ranks"), SIZES)
def test_no_two_places_share_a_pod_name(replicas: int, ranks: int) -> None:
    assert len({claim.name for claim in claims(replicas, ranks)}) == replicas * ranks


def test_a_trainer_sees_no_secret_be_it_this_jobs_or_one_that_was_inherited(tmp_path: Path) -> None:
    site = a_site(tmp_path, environment=dict.fromkeys(places.SECRETS, "inherited"))
    found = environment(site, a_claim(), "run")
    assert not places.SECRETS & found.keys()
    assert not {"inherited", "the-token", "the-peer-key"} & set(found.values())


def test_what_the_user_has_set_is_left_alone_except_for_the_place(tmp_path: Path) -> None:
    theirs = {"GLOO_SOCKET_IFNAME": "eth9", "OMP_NUM_THREADS": "7", "RANK": "99", "MINE": "yes"}
    found = environment(a_site(tmp_path, environment=theirs), a_claim(), "run")
    assert {name: found[name] for name in theirs} == theirs | {"RANK": "0"}


def test_an_agent_finds_all_that_it_reads(tmp_path: Path) -> None:
    site, claim = a_site(tmp_path, slots=4, report_every=0.5), a_claim(MemberId(replica=2, rank=1), ranks=2)
    read = AgentSettings.from_environment(environment(site, claim, "agent"))
    assert (read.job, read.member, read.pod, read.pod_uid) == (site.settings.job, claim.member, "trainer-2-1", "u1")
    assert (read.token, read.peer_key, read.gateway) == ("the-token", "the-peer-key", "http://127.0.0.1:1")
    assert (read.arena, read.slots, read.report_every) == (site.arena("u1"), 4, 0.5)


@pytest.mark.parametrize("spare", [0, 1])
def test_what_an_agent_leaves_in_tmpdir_goes_with_its_pod_unless_a_socket_there_had_too_long_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spare: int
) -> None:
    site = a_site(tmp_path, environment={"TMPDIR": "theirs"})
    arena = str(site.arena("u1"))
    socket_path = arena + "/pymp-12345678/listener-12345678"
    monkeypatch.setattr(places, "_LONGEST_PATH", len(socket_path) - spare)
    assert environment(site, a_claim(), "agent")["TMPDIR"] == (arena if spare == 0 else "theirs")
    assert environment(site, a_claim(), "run")["TMPDIR"] == "theirs"


def test_a_trainer_finds_all_that_it_reads(tmp_path: Path) -> None:
    site, claim = a_site(tmp_path), a_claim(MemberId(replica=1))
    read = TrainerSettings.from_environment(environment(site, claim, "run"), private_limit=1)
    assert (read.job, read.member, read.arena) == (site.settings.job, claim.member, site.arena("u1"))
    assert (read.restore_budget, read.store_ports) == (site.settings.policy.restore_budget, frozenset({20_000}))


def test_a_pod_of_two_seats_tells_its_agents_and_its_trainers_where_they_sit(tmp_path: Path) -> None:
    site = a_site(tmp_path, replicas=4, local_ranks=2)
    (first, second) = [Claim(seats=each, uid="u1", token="t") for each in site.settings.pods()]
    assert (first.name, second.name, str(second.member)) == ("trainer-0", "trainer-1", "2/0")
    agents = AgentSettings.seats(environment(site, second, "agent"))
    assert [(str(each.member), each.arena) for each in agents] == [
        ("2/0", site.arena("u1") / "0"),
        ("3/0", site.arena("u1") / "1"),
    ]
    told = environment(site, second, "run")
    assert {"RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"}.isdisjoint(told)
    for rank, each in enumerate(variables(told, 2)):
        read = TrainerSettings.from_environment(told | each, private_limit=1)
        assert (read.member, read.arena) == (agents[rank].member, agents[rank].arena)
        assert (each["RANK"], each["LOCAL_RANK"], told["WORLD_SIZE"]) == (str(2 + rank), str(rank), "4")
    assert "--nproc-per-node" in site.command("run")


@pytest.mark.parametrize(
    ("replicas", "ranks", "local_ranks", "names"),
    [
        (1, 4, 2, ["trainer-0-0", "trainer-0-1"]),
        (2, 2, 2, ["trainer-0", "trainer-1"]),
        (4, 1, 4, ["trainer-0"]),
        (2, 4, 2, ["trainer-0-0", "trainer-0-1", "trainer-1-0", "trainer-1-1"]),
    ],
)
def test_pods_are_named_by_replica_and_block(
    tmp_path: Path, replicas: int, ranks: int, local_ranks: int, names: list[str]
) -> None:
    settings = a_site(tmp_path, replicas=replicas, ranks=ranks, local_ranks=local_ranks).settings
    assert [Claim(seats=each, uid="u", token="t").name for each in settings.pods()] == names
    assert [member for each in settings.pods() for member in each.members] == list(settings.policy.members())


@pytest.mark.parametrize(
    ("replicas", "ranks", "local_ranks", "why"),
    [(3, 1, 2, "3 replicas of 1 ranks do not fill pods of 2"), (2, 3, 2, "do not divide each other")],
)
def test_members_that_do_not_fill_their_pods_are_refused(
    tmp_path: Path, replicas: int, ranks: int, local_ranks: int, why: str
) -> None:
    with pytest.raises(ValidationError, match=why):
        a_site(tmp_path, replicas=replicas, ranks=ranks, local_ranks=local_ranks)


def test_without_shared_memory_an_arena_lies_in_a_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "SHARED_MEMORY", tmp_path / "missing")
    monkeypatch.setattr(places.tempfile, "gettempdir", lambda: str(tmp_path))
    assert a_site(tmp_path).arena("u1").is_relative_to(tmp_path)


def test_the_master_port_is_free_and_never_given_to_an_outgoing_connection() -> None:
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    for _ in range(20):
        port = free_port()
        assert not low <= port <= high
        with socket.socket() as listening:
            listening.bind((places.LOOPBACK, port))


def test_a_port_that_somebody_listens_on_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind((places.LOOPBACK, free_port()))
        taken.listen()
        free = free_port()
        monkeypatch.setattr(places, "_candidates", lambda _: iter((taken.getsockname()[1], free)))
        assert free_port() == free
