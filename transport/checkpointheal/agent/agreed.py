"""Do operator, donor and recipient mean the same channel, and can this agent speak it?

Whoever cannot says so by name: bytes never cross over another channel than the one that was ordered. An agent of an
older build names none and speaks gloo. Must not know sockets, transfers or torch.
"""

from checkpointheal.agent.tls import Papers
from checkpointheal.contract.peer import No

TLS, GLOO = "tls", "gloo"


def disagreement(ordered: str, peers: str, papers: Papers | None) -> No | None:
    """Why nothing can cross; None where it can. `peers`: what the other side named; `papers`: what this side shows."""
    if ordered not in (TLS, GLOO):
        return No(
            reason="UnknownChannel", message=f"channel {ordered[:40]!r} is ordered, which this agent does not know"
        )
    if ordered == TLS and papers is None:
        message = "channel tls is ordered, but this agent has no certificate: order gloo, or have it certified"
        return No(reason="NoCertificate", message=message)
    if peers != ordered:
        message = f"channel {ordered} is ordered, but the other agent speaks {peers[:40]!r}: it may be an older build"
        return No(reason="ChannelDiffers", message=message)
    return None
