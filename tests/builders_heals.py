"""Records of heals that are over, made by saying what is different."""

from builders_core import SCHEMA, digest_of, m
from checkpointheal.contract.identity import Endpoint
from checkpointheal.contract.orders import Assignment, Peer
from checkpointheal.contract.report import TransferFacts
from checkpointheal_operator.core.heal_record import HealRecord
from checkpointheal_operator.core.reasons import Cause, Rung


def a_peer(text: str) -> Peer:
    return Peer(
        member=m(text), pod=f"trainer-{m(text).replica}", pod_uid=f"u{text}", endpoint=Endpoint(host="h", port=1)
    )


def a_heal(**changes: object) -> HealRecord:
    """A heal of 1/0, healed from its own memory."""
    known = {
        "name": "h1",
        "recipient": m("1/0"),
        "pod_uid": "u1/0",
        "agent": "a1/0",
        "request": 2,
        "incarnation": "t1/0'",
        "cause": Cause.CRASHED,
        "noticed_at": 100.0,
        "opened_at": 103.0,
        "epoch": 2,
        "rung": Rung.OWN_MEMORY,
        "begun_at": 104.0,
        "concluded_at": 106.0,
        "healed": True,
        "reason": "Healed",
        "applied_seconds": 0.5,
    }
    return HealRecord.model_validate(known | changes)


def by_peer(spent: dict[str, float]) -> HealRecord:
    """A heal of 1/0 from 0/0, with 2/0 next, whose moments are so far apart."""
    opened = 100.0 + spent["restart"]
    assigned = opened + spent["choose"]
    begun = assigned + sum(spent[name] for name in ("hold", "transfer", "verify", "others"))
    assignment = Assignment(
        heal="h1",
        attempt=2,
        recipient=a_peer("1/0"),
        donors=(a_peer("0/0"), a_peer("2/0")),
        step=7,
        schema_digest=SCHEMA,
        state_digest=digest_of(0, 7),
        deadline=30,
    )
    transfer = TransferFacts(
        heal="h1",
        attempt=2,
        state="verified",
        donor="trainer-0",
        bytes=12_345,
        total=12_345,
        **{f"{name}_seconds": spent[name] for name in ("hold", "transfer", "verify")},
    )
    moments = {"noticed_at": 100.0, "opened_at": opened, "assigned_at": assigned, "begun_at": begun}
    return a_heal(cause=Cause.REPLACED, rung=Rung.PEER, assignment=assignment, transfer=transfer, **moments)
