"""The gateway's authority: roots made in process, and the certificates under them."""

from checkpointheal_operator.gateway.authority.authority import Authority, Served
from checkpointheal_operator.gateway.authority.issuing import Refused
from checkpointheal_operator.gateway.authority.roots import UnreadableRoots
from checkpointheal_operator.gateway.authority.terms import Terms

__all__ = ["Authority", "Refused", "Served", "Terms", "UnreadableRoots"]
