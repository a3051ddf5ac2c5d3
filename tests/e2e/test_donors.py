"""Whoever gives may go in the middle of it: the next one goes on where it was."""

import pytest

from builders_cluster import LARGE, Job, Json, kubectl, until

pytestmark = pytest.mark.core

CHUNK = 8 << 20
"""A transfer is resumed by whole chunks of this many bytes."""


def test_the_next_donor_goes_on_where_the_deleted_one_was(namespace, same):
    job = Job(namespace, **LARGE).start()
    job.until_step(8)
    job.delete_pods(1)

    def well_under_way() -> Json | None:
        heal = job.receiving(1)
        return heal if heal and heal["status"]["transfer"]["bytes"] >= CHUNK else None

    heal = until(well_under_way, "a chunk of the first attempt has crossed", seen=job.look)
    first = heal["spec"]["assignment"]
    donor = first["donors"][0]["pod"]
    kubectl("delete", "pod", "-n", namespace, donor, "--grace-period=1", "--wait=false")

    def healed() -> Json | None:
        (heal,) = job.heals_of(1)
        return heal if heal.get("status", {}).get("concludedAt") else None

    heal = until(healed, "the heal has ended", seen=job.look)
    second, transfer = heal["spec"]["assignment"], heal["status"]["transfer"]
    assert heal["status"]["rung"] == "Peer", job.look()
    assert second["attempt"] > first["attempt"]
    assert second["donors"][0]["pod"] not in (donor, "trainer-1")
    assert (second["step"], second["stateDigest"]) == (first["step"], first["stateDigest"])
    assert (transfer["attempt"], transfer["donor"]) == (second["attempt"], second["donors"][0]["pod"])
    assert 0 < transfer["bytes"] <= transfer["total"] - CHUNK
    same(job)
