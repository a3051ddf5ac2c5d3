"""A fact is never changed: another one is made of it, of the same fields."""

import pytest
from pydantic import ValidationError

from checkpointheal.contract.identity import Endpoint
from checkpointheal.contract.report import TransferFacts
from checkpointheal_operator.api.base import Metadata

HERE = Endpoint(host="10.0.0.7", port=7000)


def test_what_is_not_named_stays_and_so_does_what_it_was_made_of() -> None:
    here = Endpoint(host="10.0.0.7", port=7000)
    assert here.but(port=7001) == Endpoint(host="10.0.0.7", port=7001)
    assert here == Endpoint(host="10.0.0.7", port=7000)


@pytest.mark.parametrize("each", [HERE, TransferFacts.model_construct(), Metadata(name="gpt")])
def test_a_field_that_there_is_not_is_refused_by_its_name(each: Endpoint | TransferFacts | Metadata) -> None:
    with pytest.raises(TypeError, match=rf"^{type(each).__name__} has no prot, wrod$"):
        each.but(wrod="heal", prot=7001)


def test_only_so_can_it_be_another_one() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        HERE.port = 7001  # type: ignore[misc]
