"""Two pods with two trainers each: a trainer comes back by itself, a pod with both of its."""

from builders_cluster import ARENA, Job, Json, until

SEATS = 2


class SeatedJob(Job):
    """Four ranks in two pods."""

    def template(self, rank: str = "") -> Json:
        """`run` says to each trainer which rank it is."""
        template = super().template()
        template["metadata"]["annotations"] |= {"checkpointheal.dev/local-ranks": str(SEATS)}
        (container,) = template["spec"]["containers"]
        container["env"] = [each for each in container["env"] if each["name"] != "RANK"]
        run, *trainer = container["command"][1:]
        container["command"] = ["checkpointheal", run, "--nproc-per-node", str(SEATS), *trainer]
        return template

    def statefulset(self) -> Json:
        body = super().statefulset()
        body["spec"]["replicas"] = self.replicas // SEATS
        return body

    def pod_of(self, rank: int) -> str:
        return f"{self.name}-{rank // SEATS}"

    def arena_of(self, rank: int) -> str:
        return f"{super().arena_of(rank)}/{rank % SEATS}"

    def healed(self) -> list[tuple[str, str, str]]:
        """Member, cause and rung of each heal that ended well, in their order."""
        over = [each for each in self.heals if each.get("status", {}).get("concludedAt")]
        told = [(each["spec"]["recipient"]["member"], each["spec"]["cause"], each["status"]["rung"]) for each in over]
        return sorted(told)


def test_a_trainer_is_healed_alone_and_a_pod_with_both_of_its_trainers(namespace, same):
    job = SeatedJob(namespace, replicas=4, annotations={"checkpointheal.dev/arena-size": ARENA}).start()
    job.until_step(8)
    job.kill_between_steps(1)
    one = ("1/0", "Crashed", "OwnMemory")
    until(lambda: job.healed() == [one], "the second trainer of the first pod is healed", seen=job.look)
    job.until_step(14)
    job.delete_pods(3)
    both = [("2/0", "Replaced", "Peer"), ("3/0", "Replaced", "Peer")]
    until(lambda: job.healed() == [one, *both], "both trainers of the second pod are healed", seen=job.look)
    donors = {heal["spec"]["assignment"]["donors"][0]["pod"] for heal in job.heals if "assignment" in heal["spec"]}
    assert {donor.partition("/")[0] for donor in donors} == {"trainer-0"}, job.look()
    same(job)
