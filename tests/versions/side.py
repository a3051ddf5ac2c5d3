"""One side of a transfer, to be run by any interpreter that has torch: `side.py give|take CHANNEL FOLDER`.

Writes torch's version and the digest of what it gave or took. Over `gloo` and `stream` a state crosses, as in a
trainer; over `meeting` bytes do, as between two agents. Both show and believe the certificate of the folder.
"""

import sys
import time
from datetime import timedelta
from pathlib import Path
from ssl import CERT_REQUIRED, PROTOCOL_TLS_CLIENT, PROTOCOL_TLS_SERVER, SSLContext
from typing import Any

import torch
import torch.distributed as dist

from builders_trainer import state_digest
from checkpointheal import PGTransport
from checkpointheal.agent.meeting import Meeting, Visit
from checkpointheal.channel import stream_group
from checkpointheal.manifest import describe

SECONDS = timedelta(seconds=300)
NAME = "rank"


def a_state(seed: int) -> dict[str, Any]:
    """What a trainer has: a model, its optimizer, values, and what both torches know of dtypes and layouts."""
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Linear(600, 1000))
    optimizer = torch.optim.AdamW(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    base = torch.randn(4096)
    return {
        "model": model.state_dict(),
        "moments": optimizer.state_dict()["state"],  # its groups have other options in each torch
        "parameters": list(model.parameters()),
        "views": [base[:100], base[50:], base.view(64, 64).t()],
        "last": torch.randn(2, 8, 4, 4).to(memory_format=torch.channels_last),
        "dtypes": [base.to(each) for each in (torch.bfloat16, torch.float8_e4m3fn, torch.complex64, torch.bool)],
        "empty": torch.zeros(0, 3),
        "many": {f"row{number}": torch.randn(number % 3 + 1) for number in range(20)},
        "rng": torch.get_rng_state(),
        "plain": (seed, 0.1, float("inf"), None, b"x", torch.float16, torch.Size([2, 3])),
    }


def a_trust(folder: Path) -> stream_group.Trust:
    contexts = [SSLContext(kind) for kind in (PROTOCOL_TLS_SERVER, PROTOCOL_TLS_CLIENT)]
    for context in contexts:
        context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
        context.load_verify_locations(folder / "certificate.pem")
        context.verify_mode = CERT_REQUIRED
    return stream_group.Trust(*contexts, name=lambda _rank: NAME)


def meet(channel: str, rank: int, folder: Path) -> Any:
    """The group of both, over the store that both can read."""
    if channel == "stream":
        stream_group.register(a_trust(folder))
    dist.init_process_group(
        stream_group.NAME if channel == "stream" else channel,
        store=dist.FileStore(str(folder / "store"), 2),
        rank=rank,
        world_size=2,
        timeout=SECONDS,
    )
    return dist.group.WORLD


def cross(role: str, channel: str, folder: Path) -> list[str]:
    """In place, then into new memory: the digests of both."""
    group = meet(channel, ["give", "take"].index(role), folder)
    given, live = a_state(1), a_state(2)
    if role == "give":
        PGTransport(group, SECONDS, torch.device("cpu")).send_checkpoint([1], given)
        PGTransport(group, SECONDS, torch.device("cpu")).send_checkpoint([1], given)
        found = [state_digest(describe(given))] * 2
    else:
        found = [
            state_digest(describe(PGTransport(group, SECONDS, torch.device("cpu"), target).recv_checkpoint(0)))
            for target in (lambda: live, None)
        ]
    dist.destroy_process_group()
    return found


def cross_as_agents(role: str, folder: Path) -> list[str]:
    """Their store, their lifeline and their group, forth and back."""
    place = folder / "port"
    if role == "give":
        meeting = Meeting("127.0.0.1", "heal/1", SECONDS.total_seconds())
        place.with_suffix(".new").write_text(str(meeting.store_port))
        place.with_suffix(".new").rename(place)
    else:
        while not place.exists():
            time.sleep(0.01)
        meeting = Visit("127.0.0.1", int(place.read_text()), "heal/1", SECONDS.total_seconds())
    line, channel = meeting.lifeline(), meeting.channel()
    given, back = torch.arange(3 << 20, dtype=torch.uint8), torch.zeros(3 << 20, dtype=torch.uint8)
    if role == "give":
        channel.send(given).wait(SECONDS.total_seconds())
        channel.receive(back).wait(SECONDS.total_seconds())
    else:
        channel.receive(back).wait(SECONDS.total_seconds())
        channel.send(back).wait(SECONDS.total_seconds())
    line.close()
    return [str(bool(torch.equal(given, back)))]


def main(role: str, channel: str, folder: Path) -> None:
    """Say which torch this is, and what crossed."""
    found = cross_as_agents(role, folder) if channel == "meeting" else cross(role, channel, folder)
    sys.stdout.write(" ".join([torch.__version__, *found]))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
