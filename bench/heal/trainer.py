"""A trainer that trains until it is told to leave, and tells how long it waited for its state.

The demo's GPT under DDP, three layers of width 392: 64.8 MiB of weights and moments. What is told is from before
`attach()` until `restore()` returns: Python, imports and the making of the model are over by then.
"""

import os
import time

import torch.distributed as dist

import checkpointheal
from checkpointheal.demo.reference import arguments, build, tell, train_step, wrapped

PACE = float(os.environ.get("PACE", "0.1"))


def main() -> None:
    options, rank = arguments(), int(os.environ["RANK"])
    model, optimizer, schedule, text = build(options, rank)
    at, begun = time.time(), time.monotonic()
    heal = checkpointheal.attach(model=model, optimizer=optimizer, schedule=schedule, private={"text": text})
    start = heal.restore()
    tell(options.out, rank, event="restored", step=start or 0, seconds=time.monotonic() - begun, began=at)
    dist.init_process_group("gloo")
    heal.agree()
    ddp = wrapped(model)
    for step in range(start or 0, options.steps):
        time.sleep(PACE)
        train_step(ddp, optimizer, schedule, text)
        heal.commit(step + 1)
        tell(options.out, rank, event="step", step=step + 1)


if __name__ == "__main__":
    main()
