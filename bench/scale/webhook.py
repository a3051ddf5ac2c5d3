"""How long does the API server wait for a review, at 50 pods a second?

An open loop over TLS, on kept connections as the API server's: a review is sent when its time has come, whether or not
the one before was answered, and what it waits is counted from that time. Every injected pod of the tests' golden set in
turn.
"""

import asyncio
import json
import ssl
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import yaml

from bench.samples import percentile
from bench.scale.processes import free_ports, started
from bench.table import Row
from checkpointheal_operator.gateway.authority import Authority

A_SECOND, SECONDS, ROUNDS = 50, 20, 3
P50, P99 = 0.010, 0.050
PODS = Path(__file__).parents[2] / "tests" / "injection" / "pods"
SETTINGS = {"image": "checkpointheal/agent:dev", "gateway": "https://checkpointheal.checkpointheal-system.svc:8443"}


def rows() -> list[Row]:
    """Medians of the rounds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tls = _certified(folder)
        port, metrics = free_ports(2)
        files = ["--certificate", str(folder / "tls.crt"), "--key", str(folder / "tls.key")]
        files += ["--settings", str(folder / "settings.json")]
        doors = ["--host", "127.0.0.1", "--port", str(port), "--metrics-port", str(metrics)]
        with started("webhook", *files, *doors):
            rounds = asyncio.run(_rounds(f"https://localhost:{port}/mutate", tls))
    middle = sorted(rounds, key=lambda each: percentile(each, 99))[len(rounds) // 2]
    note = f"the middle one of {ROUNDS} rounds of {len(middle)}"
    return [
        Row("review: p50", percentile(middle, 50) * 1e3, "ms", P50 * 1e3, note),
        Row("review: p99", percentile(middle, 99) * 1e3, "ms", P99 * 1e3, note),
        Row("best round: p99", min(percentile(each, 99) for each in rounds) * 1e3, "ms"),
        Row("worst round: p99", max(percentile(each, 99) for each in rounds) * 1e3, "ms"),
    ]


async def _rounds(url: str, tls: ssl.SSLContext) -> list[list[float]]:
    reviews = list(_reviews())
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls, limit=0)) as session:
        await _until_up(session, url.replace("mutate", "healthz"))
        await _round(session, url, reviews[:A_SECOND])
        return [await _round(session, url, reviews * (A_SECOND * SECONDS // len(reviews))) for _ in range(ROUNDS)]


async def _round(session: aiohttp.ClientSession, url: str, reviews: list[bytes]) -> list[float]:
    begun = time.monotonic()
    asking = []
    for number, body in enumerate(reviews):
        due = begun + number / A_SECOND
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        asking.append(asyncio.create_task(_ask(session, url, body, due)))
    return list(await asyncio.gather(*asking))


async def _ask(session: aiohttp.ClientSession, url: str, body: bytes, due: float) -> float:
    async with session.post(url, data=body, headers={"Content-Type": "application/json"}) as answer:
        said = await answer.json()
    if not said["response"]["allowed"] or "patch" not in said["response"]:
        raise ValueError(f"not injected: {said}")
    return time.monotonic() - due


async def _until_up(session: aiohttp.ClientSession, url: str) -> None:
    for _ in range(600):
        try:
            async with session.get(url) as answer:
                if answer.status == 200:
                    return
        except aiohttp.ClientError:
            await asyncio.sleep(0.1)
    raise TimeoutError("the webhook does not come up")


def _reviews() -> Iterator[bytes]:
    """Of all pods that are injected."""
    for file in sorted(PODS.glob("*.yaml")):
        expected = yaml.safe_load((PODS.parent / "expected" / file.name).read_text())
        if (expected.get("report") or {}).get("reason") == "Injected":
            request = {
                "uid": file.stem,
                "resource": {"group": "", "version": "v1", "resource": "pods"},
                "namespace": "research",
                "operation": "CREATE",
                "object": yaml.safe_load(file.read_text()),
            }
            review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
            yield json.dumps(review, default=str).encode()


def _certified(folder: Path) -> ssl.SSLContext:
    """A certificate of the operator's own authority, as it makes one for the webhook; and who believes it."""
    authority = Authority.begin(("localhost",), time.time() - 60)
    served = authority.serve(time.time())
    (folder / "tls.crt").write_text(served.chain)
    (folder / "tls.key").write_text(served.key)
    (folder / "settings.json").write_text(json.dumps(SETTINGS))
    return ssl.create_default_context(cadata=authority.trusted(time.time()))
