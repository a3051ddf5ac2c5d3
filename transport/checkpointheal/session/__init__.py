"""The session's door: what donor and recipient decide, without moving a byte."""

from checkpointheal.session.donor import DonorSession
from checkpointheal.session.heard import refusal
from checkpointheal.session.recipient import Expected, RecipientSession, Verdict

__all__ = ["DonorSession", "Expected", "RecipientSession", "Verdict", "refusal"]
