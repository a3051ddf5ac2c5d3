"""The session's door: what donor and recipient decide, without moving a byte."""

from checkpointheal.session.donor import DonorSession
from checkpointheal.session.heard import refusal
from checkpointheal.session.pool import Pool
from checkpointheal.session.recipient import Expected, RecipientSession, Verdict
from checkpointheal.session.vote import elected, require_elected

__all__ = [
    "DonorSession",
    "Expected",
    "Pool",
    "RecipientSession",
    "Verdict",
    "elected",
    "refusal",
    "require_elected",
]
