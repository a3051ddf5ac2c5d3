"""A member's agent says why it is not protected: what was found, and what follows from how things stand."""

from pathlib import Path
from typing import Any

import pytest

import builders_agent as build
from checkpointheal.agent import unprotected as room
from checkpointheal.agent.flaws import Flaws
from checkpointheal.agent.peer_trust import ByCertificate
from checkpointheal.agent.private_parts import PrivateParts
from checkpointheal.agent.unprotected import Unprotected
from checkpointheal.arena import Arena
from checkpointheal.contract.orders import Orders
from checkpointheal.contract.report import Flaw

DAMAGED = Flaw(reason="SlotDamaged", message="slot 1")
HELD = Orders(revision=1)
WITHDRAWN = Orders(revision=1, withdrawn=True, reason="Conflicting", message="two policies")
SOMETHING: Any = object()


def reasons(
    home: Path, orders: Orders = HELD, certificates: ByCertificate | None = None, found: Flaw | None = None
) -> list[str]:
    flaws = Flaws(lambda: 0.0)
    if found is not None:
        flaws.found("slot", found)
    private = PrivateParts(build.a_member(0), Arena.create(home), SOMETHING, lambda _step, _kept: None)
    unprotected = Unprotected(flaws, private, lambda: orders, certificates)
    return [flaw.reason for flaw in unprotected.flaws()]


def test_where_nothing_is_wrong_there_is_no_reason(tmp_path: Path) -> None:
    assert reasons(tmp_path) == []


def test_what_was_found_and_what_was_ordered_are_told_in_the_order_of_their_reasons(tmp_path: Path) -> None:
    assert reasons(tmp_path, WITHDRAWN, found=DAMAGED) == ["Conflicting", "SlotDamaged"]


def test_a_first_certificate_may_take_a_while(tmp_path: Path) -> None:
    assert reasons(tmp_path, certificates=ByCertificate()) == []


def test_an_agent_that_needs_a_certificate_and_has_none_in_time_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "CERTIFIED_WITHIN", 0.0)
    assert reasons(tmp_path, certificates=ByCertificate()) == ["NoCertificate"]
    certified = ByCertificate()
    certified.credentials = SOMETHING
    assert reasons(tmp_path, certificates=certified) == []
    assert reasons(tmp_path, certificates=None) == []
