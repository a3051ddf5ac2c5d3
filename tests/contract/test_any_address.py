"""Where to listen is of the family of a pod's own address."""

import pytest

from checkpointheal.contract.identity import any_address


@pytest.mark.parametrize(
    ("own", "bound"), [("10.0.0.7", "0.0.0.0"), ("fd00::7", "::"), ("", "0.0.0.0")], ids=["IPv4", "IPv6", "unknown"]
)
def test_a_pod_listens_in_its_own_family(own: str, bound: str) -> None:
    assert any_address(own) == bound
