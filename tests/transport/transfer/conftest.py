"""Two agents' arenas, and the children that carry states between them."""

import asyncio
from collections.abc import Iterator

import pytest

import builders_transfer as build
from checkpointheal.agent.transfers import Transfers


@pytest.fixture(scope="module", params=[Transfers, build.SecuredTransfers], ids=["gloo", "tls"])
def transfers(request: pytest.FixtureRequest) -> Iterator[Transfers]:
    """Over each channel."""
    transfers: Transfers = request.param()
    asyncio.run(transfers.warm_up())
    yield transfers
    transfers.close()
