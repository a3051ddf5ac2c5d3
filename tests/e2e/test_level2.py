"""On level 2 only who was lost starts again: the others keep their process, and all end with the same bits."""

from builders_cluster import Job, Json, healed_by, one, until
from builders_jobs import restarts

SLOW = {"PACE": "1"}
"""Two disturbances, one after another, are to end before the training does."""
SCRIPT = """
import os, signal, time
import checkpointheal
from checkpointheal.demo.reference import arguments, build, fingerprint, save_fingerprint, tell, train_step, wrapped

options, rank, pace = arguments(), int(os.environ["RANK"]), float(os.environ["PACE"])
hold = f"/out/hold-{rank}"
model, optimizer, schedule, text = build(options, rank)
heal = checkpointheal.attach(model=model, optimizer=optimizer, schedule=schedule, private={"text": text})
heal.process_group()
ddp = wrapped(model)
for epoch in heal.epochs():
    with epoch:
        tell(options.out, rank, event="start", step=epoch.step, epoch=epoch.number)
        for step in range(epoch.step, options.steps):
            loss = train_step(ddp, optimizer, schedule, text)
            heal.commit(step + 1)
            tell(options.out, rank, event="step", step=step + 1, loss=loss)
            time.sleep(0 if os.path.exists("/out/hurry") else pace)
            if os.path.exists(hold):
                tell(options.out, rank, event="held")
            while os.path.exists(hold):
                time.sleep(0.05)
save_fingerprint(options.out, rank, fingerprint(model, optimizer, schedule, text))
if os.environ.get("STAY"):
    signal.pause()
"""


class SurvivingJob(Job):
    """The same training, three lines of its loop changed."""

    def script(self) -> Json:
        return super().script() | {"data": {"train.py": SCRIPT}}


def begun(job: Job, rank: int) -> list[tuple[int, int]]:
    """Process and step of each epoch that this rank's pod has trained in."""
    return [(each["pid"], each["step"]) for each in job.events(rank) if each["event"] == "start"]


def processes(job: Job, rank: int) -> set[int]:
    return {pid for pid, _ in begun(job, rank)}


def container_restarts(job: Job, rank: int) -> int:
    pod = one("pod", job.namespace, job.pod_of(rank))
    assert pod is not None
    return restarts(pod, "trainer")


def test_who_outlives_a_killed_trainer_and_a_deleted_pod_keeps_its_process(namespace, same):
    job = SurvivingJob(namespace, environment=SLOW).start()
    job.until_step(8)
    (first,), (survivor,) = processes(job, 1), processes(job, 2)
    job.kill_between_steps(1)
    healed_by(job, 1, "OwnMemory")
    until(lambda: all(len(begun(job, rank)) == 2 for rank in range(3)), "all train on", seen=job.look)
    (second,) = processes(job, 1) - {first}
    assert len(processes(job, 0)) == 1, job.look()

    job.delete_pods(0)  # the first rank: nobody needs its address
    healed_by(job, 0, "Peer")
    same(job)
    assert job.verdicts() == [("trainer-0", "Peer", "True"), ("trainer-1", "OwnMemory", "True")], job.look()
    assert (processes(job, 1), processes(job, 2)) == ({first, second}, {survivor}), job.look()
    assert [container_restarts(job, rank) for rank in range(3)] == [0, 0, 0]
    later = [step for _, step in begun(job, 2)[1:]]
    assert len(later) >= 2
    assert min(later) >= 8, "it went back further than it had to"
