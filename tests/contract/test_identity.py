"""How an endpoint is written, so that it can stand in a URL."""

import pytest
from yarl import URL

from checkpointheal.contract.identity import Endpoint


@pytest.mark.parametrize(
    ("host", "written"),
    [
        ("10.0.0.7", "10.0.0.7:7000"),
        ("trainer-0.gpt", "trainer-0.gpt:7000"),
        ("fd00::7", "[fd00::7]:7000"),
        ("::1", "[::1]:7000"),
    ],
)
def test_an_endpoint_is_read_back_from_a_url(host: str, written: str) -> None:
    assert str(Endpoint(host=host, port=7000)) == written
    url = URL(f"https://{Endpoint(host=host, port=7000)}/v1/ask")
    assert (url.host, url.port) == (host, 7000)
