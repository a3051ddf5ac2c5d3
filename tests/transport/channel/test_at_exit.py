"""What waits inside torch when the program ends is ended before."""

import threading
from typing import Any

import torch

import builders_ends as build
from checkpointheal.channel import at_exit
from checkpointheal.channel.group import GroupChannel
from checkpointheal.errors import PeerLost


def test_a_thread_that_waits_is_ended_and_one_that_no_longer_waits_is_let_be() -> None:
    groups = build.gloo_groups(2)
    channel, waits, outcome = GroupChannel(groups[0], 1), threading.Event(), list[Any]()

    def wait() -> None:
        with at_exit.ended(channel):
            pending = channel.receive(torch.empty(8, dtype=torch.uint8))
            waits.set()
            try:
                pending.wait(60)
            except PeerLost as error:
                outcome.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    waits.wait(20)
    at_exit._end_all()
    thread.join(20)
    assert isinstance(outcome[0], PeerLost)
    assert not any(isinstance(each, at_exit._Call) and each._thread is thread for each in at_exit._waiting)
