"""The same training with CheckpointHeal: attach, restore, commit. Everything else is the plain script's.

Run it with `checkpointheal local --replicas 3 -- python train.py --out FOLDER`.
"""

import os

import torch.distributed as dist

import checkpointheal
from checkpointheal.demo.reference import arguments, build, fingerprint, save_fingerprint, tell, train_step, wrapped


def main() -> None:
    """Train, whatever happens to the others."""
    options = arguments()
    rank = int(os.environ["RANK"])
    model, optimizer, schedule, text = build(options, rank)

    heal = checkpointheal.attach(model=model, optimizer=optimizer, schedule=schedule, private={"text": text})
    tell(options.out, rank, event="waits")
    start = heal.restore()
    dist.init_process_group("gloo")
    heal.agree()

    ddp = wrapped(model)
    tell(options.out, rank, event="start", step=start or 0)
    for step in range(start or 0, options.steps):
        loss = train_step(ddp, optimizer, schedule, text)
        heal.commit(step + 1)
        tell(options.out, rank, event="step", step=step + 1, loss=loss)
    save_fingerprint(options.out, rank, fingerprint(model, optimizer, schedule, text))
    heal.done()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
