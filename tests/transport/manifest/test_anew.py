"""What is made anew is nobody else's, each time that it is asked for."""

import numpy as np
import torch

from checkpointheal.manifest import Anew, describe, pack, unpack_apart, write_out

STATE = {"it": {"mean": np.arange(3.0), "seen": list(range(40)), "z": torch.ones(2), "log": [1.5, 2.5]}}


def test_each_time_is_in_other_memory():
    described = describe(STATE)
    data = bytearray(described.schema.data_bytes)
    write_out(described, data)
    anew = Anew(described.schema, described.values, data)
    first = anew.of(["it"])["it"]
    first["mean"][0], first["seen"][0], first["z"][0], first["log"][0] = 7.0, 7, 7.0, 7.0
    for again in (anew.of(["it"])["it"], anew.whole()["it"]):
        assert again["mean"].tolist() == [0.0, 1.0, 2.0]
        assert again["seen"] == list(range(40))
        assert again["z"].tolist() == [1.0, 1.0]
        assert again["log"] == [1.5, 2.5]


def test_parts_that_held_one_tensor_hold_one_again():
    latent = torch.ones(2, requires_grad=True)
    blob = pack({"parts": {"first": {"z": latent}, "second": {"z": latent}}})
    state, _ = unpack_apart(blob, "parts")
    assert state["parts"]["first"]["z"] is state["parts"]["second"]["z"]
