"""The plugin, as kubectl calls it, on a cluster on which something was healed."""

import json
import tarfile

from builders_cluster import Job, plugin, until


def said(verb: str, *words: str) -> str:
    done = plugin(verb, *words)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def test_the_plugin_tells_of_a_job_that_was_healed(namespace, tmp_path):
    job = Job(namespace, steps=400).start()
    job.until_step(8)
    job.delete_pods(1)
    until(lambda: ("trainer-1", "Peer", "True") in job.verdicts(), "a heal", seen=job.look)
    until(lambda: job.condition("Degraded")["status"] == "False", "all is well again", seen=job.look)
    (heal,) = job.heals
    donor = heal["spec"]["assignment"]["donors"][0]["pod"]

    status = said("status", "-n", namespace)
    assert f"CheckpointHeal {namespace}/trainer" in status
    assert f"healed from {donor} at step {heal['status']['step']}" in status
    assert not status.startswith("!")

    explained = said("explain", "trainer-1", "-n", namespace)
    assert "member 1/0 of job trainer, as its" in explained
    assert f"{donor}: gives; " in explained
    assert ": takes over if the one before it is lost; " in explained

    (row,) = [each for each in said("history", "-n", namespace).splitlines() if "trainer-1" in each]
    assert row.split()[:5] == [heal["metadata"]["name"], "trainer-1", "Replaced", donor, "Peer"]
    (listed,) = json.loads(said("history", "-n", namespace, "-o", "json"))["items"]
    assert listed["metadata"]["uid"] == heal["metadata"]["uid"]

    file = tmp_path / "report.tar.gz"
    said("report", "-n", namespace, "-o", str(file))
    with tarfile.open(file) as report:
        names = {each.partition("/")[2] for each in report.getnames()}
        whole = b"".join(part.read() for each in report if (part := report.extractfile(each)) is not None)
    assert {"status.txt", "history.txt", "versions.json"} <= names
    assert any(each.startswith("logs/") and "trainer-1" in each for each in names), names
    assert heal["metadata"]["name"].encode() in whole
    assert b"PRIVATE KEY" not in whole

    done = plugin("explain", "trainer-9", "-n", namespace)
    assert done.returncode == 1
    assert "there is no pod trainer-9" in done.stderr
