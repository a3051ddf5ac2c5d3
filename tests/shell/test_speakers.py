"""Who has spoken is found by the namespace of its pod, which may be told of later than the pod speaks."""

from checkpointheal_operator.api.base import Json
from checkpointheal_operator.shell.mirror import Mirror
from checkpointheal_operator.shell.speakers import Speakers


def a_pod(uid: str, namespace: str = "n") -> Json:
    return {"metadata": {"name": f"pod-of-{uid}", "namespace": namespace, "uid": uid, "resourceVersion": "1"}}


def speakers(*pods: Json) -> tuple[Speakers, Mirror]:
    mirror = Mirror(lambda *_: None)
    for each in pods:
        mirror.put(each)
    return Speakers(mirror), mirror


def test_only_who_has_spoken_counts_and_only_where_it_lives() -> None:
    found, _ = speakers(a_pod("u1"), a_pod("u2"), a_pod("u3", "other"))
    assert [found.namespace(uid) for uid in ("u1", "u3")] == ["n", "other"]
    assert (found.inside("n"), found.inside("other"), found.inside("nowhere")) == (("u1",), ("u3",), ())


def test_a_pod_that_speaks_before_the_watch_has_told_of_it_is_found_once_it_has() -> None:
    found, mirror = speakers()
    assert found.namespace("u1") == ""
    mirror.put(a_pod("u1"))
    assert found.inside("n") == ("u1",)


def test_a_pod_that_no_watch_tells_of_lives_where_its_token_proves_until_it_is_told_of() -> None:
    found, mirror = speakers()
    found.spoke("u1", "n")
    assert (found.inside("n"), found.unlisted("n"), found.unlisted("other")) == (("u1",), {"u1"}, set())
    mirror.put(a_pod("u1"))
    found.spoke("u1", "n")
    assert (found.namespace("u1"), found.unlisted("n")) == ("n", set())


def test_a_pod_whose_opt_in_label_is_taken_away_is_unlisted_once_it_has_spoken_since() -> None:
    found, mirror = speakers(a_pod("u1"))
    found.spoke("u1", "n")
    mirror.drop("u1", "2")
    assert found.unlisted("n") == set(), "it may be gone"
    found.spoke("u1", "n")
    assert found.unlisted("n") == {"u1"}
    found.keep_only(set())
    assert (found.unlisted("n"), found.inside("n")) == (set(), ())


def test_a_pod_that_is_gone_stays_where_it_lived_until_it_is_forgotten() -> None:
    found, mirror = speakers(a_pod("u1"), a_pod("u2"))
    for uid in ("u1", "u2", "never seen"):
        found.namespace(uid)
    mirror.drop("u1", "2")
    assert found.inside("n") == ("u1", "u2")
    found.keep_only({"u2"})
    assert (found.namespace("u1"), found.inside("n")) == ("", ("u2",))
