"""The channel's door: what carries bytes between a donor and a recipient."""

from checkpointheal.channel.channel import Channel, Pending, post_frame, receive_answer, receive_frame, send_frame
from checkpointheal.channel.patient import tell

__all__ = ["Channel", "Pending", "post_frame", "receive_answer", "receive_frame", "send_frame", "tell"]
