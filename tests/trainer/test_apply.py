"""Applying a generation changes live objects into exactly it, or says what it cannot change."""

from collections import defaultdict, deque

import pytest
import torch
from torch import nn
from torch.ao.quantization.observer import MinMaxObserver

import builders_classes as classes
from builders_trainer import given, state_digest
from checkpointheal import digest
from checkpointheal.errors import AppliedStateDiffers, SchemaDiffers
from checkpointheal.manifest import describe
from checkpointheal.trainer import apply as applying
from checkpointheal.trainer.apply import apply
from checkpointheal.trainer.parts import declare


class Box:
    """A part that holds one tree; `state_dict` and `load_state_dict` as given."""

    def __init__(self, held, give=lambda held: held, take=lambda box, state: setattr(box, "held", state)) -> None:
        self.held, self._give, self._take = held, give, take

    def state_dict(self):
        return self._give(self.held)

    def load_state_dict(self, state):
        self._take(self, state)


def digest_of(generation, chunk_bytes=digest.CHUNK_BYTES):
    chunks = digest.chunk_digests(generation.data, chunk_bytes)
    return digest.state_digest(digest.schema_digest(generation.schema), generation.values, chunks)


def copies(held):
    return {key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in held.items()}


def test_the_applied_digest_is_the_generation_s():
    generation = given(box=Box({"w": torch.rand(3), "n": 1}))
    parts = declare({"box": Box({"w": torch.zeros(3), "n": 2})}, {})
    assert apply(parts, generation) == digest_of(generation) == state_digest(describe(parts.replicated_state()))


def test_tensors_are_written_in_place_and_keep_none_of_the_given_memory():
    generation = given(box=Box({"w": torch.ones(3), "n": 1}))
    box = Box({"w": torch.zeros(3), "n": 2})
    kept = box.held["w"]
    apply(declare({"box": box}, {}), generation)
    generation.data[:] = bytes(len(generation.data))
    assert torch.equal(kept, torch.ones(3))
    assert torch.equal(box.held["w"], torch.ones(3))
    assert box.held["n"] == 1


def within_one(number):
    held = torch.full((3,), float(number))
    return {"box": Box({"whole": held, "again": held, "rest": held[1:], "n": number})}


def across_two(number):
    held = torch.full((3,), float(number))
    return {"one": Box({"w": held, "n": number}), "other": Box({"w": held, "n": number})}


def with_a_schedule_that_holds_the_rate(number):
    """As torch's own did until 2.6."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=torch.tensor(float(number)), foreach=False)
    return {"optimizer": optimizer, "schedule": Box({"last": [optimizer.param_groups[0]["lr"]], "n": number})}


@pytest.mark.parametrize("make", [within_one, across_two, with_a_schedule_that_holds_the_rate])
def test_what_keeps_the_tensors_it_is_given_stays_tied(make):
    kept, parts = make(1), make(2)
    generation = given(**kept)
    assert apply(declare(parts, {}), generation) == digest_of(generation)
    generation.data[:] = bytes(len(generation.data))
    held = describe(declare(parts, {}).replicated_state())
    assert state_digest(held) == state_digest(describe(declare(kept, {}).replicated_state()))


def test_one_whose_loading_clears_first_what_is_tied_is_given_copies():
    def clear_and_add(box, state):
        for name in ("a", "b"):
            box.held[name].zero_()
        box.held["a"] += state["a"]
        box.held["n"] = state["n"]

    def tied(number):
        held = torch.full((3,), float(number))
        return Box({"a": held, "b": held, "n": number}, take=clear_and_add)

    generation, box = given(box=tied(1)), tied(2)
    assert apply(declare({"box": box}, {}), generation) == digest_of(generation)


def test_an_object_that_shows_only_copies_is_reached_through_its_own_loading():
    box = Box({"w": torch.zeros(3)}, give=copies)
    apply(declare({"box": box}, {}), given(box=Box({"w": torch.ones(3)})))
    assert torch.equal(box.held["w"], torch.ones(3))


def test_an_object_that_does_not_keep_what_it_was_given_is_named():
    box = Box({"w": torch.zeros(3), "n": 1}, give=copies, take=lambda box, state: None)
    with pytest.raises(AppliedStateDiffers, match=r"box\.w, box\.n: after load_state_dict"):
        apply(declare({"box": box}, {}), given(box=Box({"w": torch.ones(3), "n": 2})))


@pytest.mark.parametrize("name", ["first", "last"])
def test_of_many_chunks_the_one_that_was_not_kept_is_named(monkeypatch, name):
    monkeypatch.setattr(digest, "CHUNK_BYTES", 64)
    held = {"first": torch.zeros(30), "middle": torch.zeros(30), "last": torch.zeros(30)}
    box = Box(held, give=copies, take=lambda box, state: None)
    with pytest.raises(AppliedStateDiffers, match=rf"^box\.{name}: after load_state_dict"):
        apply(declare({"box": box}, {}), given(box=Box({**held, name: torch.ones(30)})))


def test_what_is_held_as_it_was_given_is_read_back_once(monkeypatch):
    """A device's memory crosses to the host for it: for the digest alone, which every restore tells."""
    monkeypatch.delattr(applying, "differing")
    generation = given(box=Box({"w": torch.ones(100), "n": 1}))
    assert apply(declare({"box": Box({"w": torch.zeros(100), "n": 2})}, {}), generation) == digest_of(generation)


def test_an_object_that_casts_what_it_is_given_is_named():
    def cast(box, state):
        box.held = {"w": state["w"].bfloat16(), "n": state["n"]}

    box = Box({"w": torch.zeros(3), "n": 1}, take=cast)
    with pytest.raises(AppliedStateDiffers, match=r"box\.w: dtype is float32, here bfloat16"):
        apply(declare({"box": box}, {}), given(box=Box({"w": torch.ones(3), "n": 2})))


def objects(fill):
    return {
        "pair": classes.Pair(torch.full((3,), fill), classes.Colour.RED if fill else classes.Colour.BLUE),
        "wrapped": classes.a_wrapped(fill),
        "queue": deque([torch.full((2,), fill)], maxlen=3),
        "default": defaultdict(list, n=fill),
        "plain": classes.Held(n=fill),
    }


def test_objects_come_from_the_live_state_and_wrapped_tensors_are_written_inside():
    box = Box(objects(0.0))
    wrapped, pair = box.held["wrapped"], box.held["pair"]
    apply(declare({"box": box}, {}), given(box=Box(objects(3.0))))
    assert wrapped.scale.tolist() == [3.0, 3.0]
    assert pair.left.tolist() == [3.0] * 3
    assert (type(box.held["pair"]), box.held["pair"].right) == (classes.Pair, classes.Colour.RED)
    assert box.held["default"] == {"n": 3.0}
    assert box.held["default"]["new"] == []


def test_objects_that_are_loaded_hold_none_of_the_given_memory():
    generation = given(box=Box(objects(3.0)))
    box = Box(
        objects(0.0), give=lambda held: {**held, "queue": deque([each.clone() for each in held["queue"]], maxlen=3)}
    )
    apply(declare({"box": box}, {}), generation)
    generation.data[:] = bytes(len(generation.data))
    assert box.held["queue"][0].tolist() == [3.0, 3.0]
    assert box.held["pair"].left.tolist() == [3.0] * 3


def test_a_state_that_does_not_fit_changes_nothing():
    box, model = Box({"w": torch.zeros(3)}), nn.Linear(1, 2)
    with pytest.raises(SchemaDiffers, match=r"model\.bias: shape is \(4,\), here \(2,\)"):
        apply(declare({"box": box, "model": model}, {}), given(box=Box({"w": torch.ones(3)}), model=nn.Linear(1, 4)))
    assert not box.held["w"].any()


def test_a_module_with_extra_state_and_private_buffers_gets_what_is_not_private():
    class Extra(nn.BatchNorm1d):
        extra = 0

        def get_extra_state(self):
            return {"extra": self.extra}

        def set_extra_state(self, state):
            self.extra = state["extra"]

    source, target = Extra(3), Extra(3)
    source.extra = 5
    nn.init.ones_(source.bias)
    source.running_mean.fill_(9)
    apply(declare({"model": target}, {}), given(model=source))
    assert target.extra == 5
    assert torch.equal(target.bias, source.bias)
    assert not target.running_mean.any()


def test_a_module_that_would_change_a_state_of_an_older_version_is_told_that_it_is_of_its_own():
    class Extra(MinMaxObserver):  # of version 3; without a version it takes its eps for one that is to be made
        extra = 0

        def get_extra_state(self):
            return {"extra": self.extra}

        def set_extra_state(self, state):
            self.extra = state["extra"]

    source, target = Extra(eps=0.5), Extra(eps=0.25)
    source.extra = 5
    apply(declare({"model": target}, {}), given(model=source))
    assert (target.extra, target.eps.tolist()) == (5, [0.5])


def trained_by_lbfgs(model):
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)

    def closure():
        optimizer.zero_grad()
        loss = (model(torch.ones(1, 2)) - 3).square().sum()
        loss.backward()
        return loss

    for _ in range(3):
        optimizer.step(closure)
    return optimizer


def test_an_optimizer_whose_state_cannot_be_made_beforehand_takes_it_by_its_own_loading():
    generation = given(optimizer=trained_by_lbfgs(nn.Linear(2, 2)))
    for target in (torch.optim.LBFGS(nn.Linear(2, 2).parameters()), trained_by_lbfgs(nn.Linear(2, 2))):
        assert apply(declare({"optimizer": target}, {}), generation) == digest_of(generation)


class Experts(nn.Module):
    """Of two experts the second one is chosen first; the first layer is frozen until the step 2."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.experts = nn.Linear(2, 2), nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])

    def train_until(self, optimizer, steps, begin=0):
        for step in range(begin, steps):
            self.first.requires_grad_(step >= 2)
            optimizer.zero_grad()
            self.experts[step % 2 == 0](self.first(torch.ones(1, 2))).square().sum().backward()
            optimizer.step()


BEGUN_LATER = {
    "AdamW": torch.optim.AdamW,
    "SGD momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    "AdamW fused": lambda parameters: torch.optim.AdamW(parameters, fused=True),
}


@pytest.mark.parametrize("make", BEGUN_LATER.values(), ids=BEGUN_LATER)
@pytest.mark.parametrize("lived", [0, 1, 5])
def test_layers_and_experts_that_began_to_train_one_after_another_come_back_and_go_on_bit_for_bit(make, lived):
    """`lived`: how many steps whoever takes that state has made: none, one, or all of them in its own order."""
    kept, fresh = Experts(), Experts()
    used, target = make(kept.parameters()), make(fresh.parameters())
    kept.train_until(used, 4)
    fresh.train_until(target, lived)
    generation = given(model=kept, optimizer=used)
    assert next(iter(used.state_dict()["state"])) != 0
    assert apply(declare({"model": fresh, "optimizer": target}, {}), generation) == digest_of(generation)
    for model, optimizer in ((kept, used), (fresh, target)):
        model.train_until(optimizer, 6, begin=4)
    assert digest_of(given(model=fresh, optimizer=target)) == digest_of(given(model=kept, optimizer=used))


class Ordered(torch.optim.SGD):
    """Makes what it keeps when it is made, in an order that nobody else knows; its own loading takes another."""

    def __init__(self, parameters, backwards) -> None:
        super().__init__(parameters, lr=0.1)
        self.held = {each: {"n": 1} for each in (0, 1)[:: -1 if backwards else 1]}

    def state_dict(self):
        return {**super().state_dict(), "state": self.held}

    def load_state_dict(self, state):
        self.held = state["state"]


def test_an_optimizer_that_keeps_its_state_in_an_order_of_its_own_takes_another_by_its_own_loading():
    generation = given(optimizer=Ordered(nn.Linear(2, 2).parameters(), backwards=True))
    target = Ordered(nn.Linear(2, 2).parameters(), backwards=False)
    assert apply(declare({"optimizer": target}, {}), generation) == digest_of(generation)
    assert list(target.held) == [1, 0]


def test_an_optimizer_of_other_groups_is_refused_and_not_loaded():
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    used = torch.optim.SGD(first.parameters(), lr=0.1)
    used.add_param_group({"params": [nn.Parameter(torch.ones(1))]})
    target = torch.optim.SGD(second.parameters(), lr=0.2)
    with pytest.raises(SchemaDiffers, match=r"optimizer\.param_groups\.1\.lr.*: make the parts as they were"):
        apply(declare({"optimizer": target}, {}), given(optimizer=used))
    assert target.param_groups[0]["lr"] == 0.2


def test_parts_whose_names_have_dots_are_told_apart():
    generation = given(**{"box.0": Box({"n": 1, "w": torch.ones(2)}), "box.1": Box({"n": 2, "w": torch.ones(3)})})
    boxes = {f"box.{at}": Box({"n": 0, "w": torch.zeros(at + 2)}, give=copies) for at in range(2)}
    assert apply(declare(boxes, {}), generation) == digest_of(generation)
    assert [box.held["n"] for box in boxes.values()] == [1, 2]


FORMS = {
    "a longer list": ([1.5, 2.5], []),
    "a shorter list": ([1.5], [2.5] * 9),
    "a list of tensors": ([torch.ones(2)] * 9, []),
    "a deque": (deque([1.5], maxlen=4), deque(maxlen=4)),
    "a longer tensor": (torch.ones(5), torch.zeros(0)),
    "a tensor for nothing": (torch.ones(5), None),
    "another dtype": (torch.ones(2, dtype=torch.float64), torch.zeros(2)),
    "another stride": (torch.arange(24.0).view(4, 6)[:, ::2], torch.zeros(4, 3)),
    "more keys": ({"b": 1, "c.d": 2}, {"b": 0}),
}


@pytest.mark.parametrize(("held", "made"), FORMS.values(), ids=FORMS)
def test_a_part_of_the_user_s_takes_another_form_while_weights_are_written_where_they_lie(held, made):
    model, box = nn.Linear(2, 2), Box({"x": made})
    before = [each.data_ptr() for each in model.parameters()]
    generation = given(model=(source := nn.Linear(2, 2)), box=Box({"x": held}))
    assert apply(declare({"model": model, "box": box}, {}), generation) == digest_of(generation)
    assert [each.data_ptr() for each in model.parameters()] == before
    assert torch.equal(model.weight, source.weight)
    generation.data[:] = bytes(len(generation.data))
    assert state_digest(describe({"box": box.held})) == state_digest(describe({"box": {"x": held}}))


def frozen(*values):
    return nn.Parameter(torch.tensor(values), requires_grad=False)


PARAMETERS = {
    "trains since": (frozen(1.5, 2.5), lambda: nn.Parameter(torch.zeros(2))),
    "is frozen since": (nn.Parameter(torch.ones(2)), lambda: frozen(0.0, 0.0)),
    "is no parameter any more": (nn.Parameter(torch.ones(2)), lambda: torch.zeros(2)),
    "is a longer one": (nn.Parameter(torch.ones(3)), lambda: torch.zeros(2)),
}


@pytest.mark.parametrize(("held", "made"), PARAMETERS.values(), ids=PARAMETERS)
@pytest.mark.parametrize("give", [lambda held: held, copies], ids=["live", "copies"])
def test_a_part_that_gives_its_parameters_is_restored_whether_or_not_they_train_alike(held, made, give):
    """Its state is what was given: healthy memory would be called damaged for another digest."""
    box = Box({"x": made()}, give=give)
    generation = given(box=Box({"x": held, "n": 1}), model=(source := nn.Linear(2, 2)))
    box.held["n"] = 0
    model = nn.Linear(2, 2)
    assert apply(declare({"box": box, "model": model}, {}), generation) == digest_of(generation)
    assert torch.equal(box.held["x"], held)
    assert torch.equal(model.weight, source.weight)


def refuses(box, state):
    raise KeyError("x")


@pytest.mark.parametrize("take", [refuses, lambda box, state: None], ids=["raises", "takes nothing"])
def test_a_part_that_cannot_take_the_other_form_is_named_and_no_weight_is_written(take):
    model, box = nn.Linear(2, 2), Box({"x": [1.5]}, take=take)
    before = model.weight.clone()
    with pytest.raises(SchemaDiffers, match=r"box\.x\.1 is a value in the offered state and is not here"):
        apply(declare({"model": model, "box": box}, {}), given(model=nn.Linear(2, 2), box=Box({"x": [1.5, 2.5]})))
    assert torch.equal(model.weight, before)


def test_no_part_is_loaded_where_a_module_s_form_differs():
    box = Box({"x": []})
    with pytest.raises(SchemaDiffers, match=r"model\.weight: shape is"):
        apply(declare({"model": nn.Linear(2, 2), "box": box}, {}), given(model=nn.Linear(2, 3), box=Box({"x": [1.5]})))
    assert box.held == {"x": []}


class Nested(torch.optim.Optimizer):
    """Keeps a count, and tensors in a list, a tuple, a mapping and an object, as second order methods do."""

    def __init__(self, parameters, keep) -> None:
        super().__init__(parameters, {"lr": 0.1, "decays": (torch.tensor(0.9), torch.tensor(0.99))})
        for parameter in self.param_groups[0]["params"]:
            self.state[parameter] = {"step": 0, "factors": keep(torch.zeros(3))}

    def step(self) -> None:
        for group in self.param_groups:
            group["lr"] /= 2
            group["decays"][0].mul_(0.5)
        for each in self.state.values():
            each["step"] += 1
            describe({"it": each["factors"]}).leaves.tensors[0].add_(1)


@pytest.mark.parametrize(
    "keep",
    [lambda each: [each], lambda each: (each, 1), lambda each: {"deep": {"q": each}}, lambda each: deque([[each]])],
    ids=["list", "tuple", "mapping", "object"],
)
def test_tensors_inside_of_an_optimizer_s_containers_are_the_live_ones_though_values_beside_them_differ(keep):
    used, fresh = Nested(nn.Linear(2, 2).parameters(), keep), Nested(nn.Linear(2, 2).parameters(), keep)
    used.step()
    before = [each.data_ptr() for each in describe(fresh.state_dict()).leaves.tensors]
    assert apply(declare({"optimizer": fresh}, {}), generation := given(optimizer=used)) == digest_of(generation)
    assert [each.data_ptr() for each in describe(fresh.state_dict()).leaves.tensors] == before
    assert [each["step"] for each in fresh.state.values()] == [1, 1]


def test_two_decays_of_adam_that_are_tensors_stay_the_live_ones():
    def adam(lr, decay):
        decays = (torch.tensor(decay), torch.tensor(0.99))
        return torch.optim.Adam(nn.Linear(2, 2).parameters(), lr, betas=decays, foreach=False, capturable=True)

    fresh = adam(0.1, 0.5)
    first = fresh.param_groups[0]["betas"][0]
    apply(declare({"optimizer": fresh}, {}), given(optimizer=adam(0.2, 0.9)))
    assert fresh.param_groups[0]["betas"][0] is first
    assert first == torch.tensor(0.9)


class OfAll(torch.optim.SGD):
    """Keeps something under a key that is no parameter, as torch's own `state_dict()` lets it."""

    def __init__(self, parameters, held=lambda: {"n": 1, "mean": torch.ones(2), "log": [1.5]}, **options) -> None:
        super().__init__(parameters, lr=0.1, momentum=0.9, **options)
        self._held = held

    def step(self, closure=None) -> None:
        super().step()
        self.state["global"] = self._held()


def stepped(model, optimizer, times=1):
    for _ in range(times):
        optimizer.zero_grad()
        model(torch.ones(1, 2, dtype=model.weight.dtype)).sum().backward()
        optimizer.step()
    return optimizer


HELD = {
    "a mapping": lambda: {"n": 1, "mean": torch.ones(2), "log": [1.5]},
    "a number": lambda: 3,
    "a tensor": lambda: torch.ones(2),
    "a list": lambda: [torch.ones(2), 2],
}


@pytest.mark.parametrize("held", HELD.values(), ids=HELD)
def test_what_an_optimizer_keeps_under_no_parameter_comes_back_into_a_fresh_one_and_into_one_that_went_on(held):
    generation = given(optimizer=stepped(source := nn.Linear(2, 2), OfAll(source.parameters(), held)))
    fresh, live = nn.Linear(2, 2), nn.Linear(2, 2)
    further = stepped(live, OfAll(live.parameters(), held), 3)
    for key in further.state:
        if key == "global" and isinstance(further.state[key], dict):
            further.state[key].update(n=9, later=1)
    never = OfAll(nn.Linear(2, 2).parameters(), lambda: None)
    for target in (OfAll(fresh.parameters(), held), further, never):
        assert apply(declare({"optimizer": target}, {}), generation) == digest_of(generation)
        assert repr(target.state["global"]) == repr(held())


def test_what_an_optimizer_keeps_under_no_parameter_since_is_taken_away():
    generation = given(optimizer=stepped(source := nn.Linear(2, 2), torch.optim.SGD(source.parameters(), 0.1, 0.9)))
    target = stepped(live := nn.Linear(2, 2), OfAll(live.parameters()))
    assert apply(declare({"optimizer": target}, {}), generation) == digest_of(generation)
    assert "global" not in target.state


def test_what_is_kept_under_no_parameter_stays_the_live_one_where_only_its_values_differ():
    generation = given(optimizer=stepped(source := nn.Linear(2, 2), OfAll(source.parameters())))
    target = stepped(live := nn.Linear(2, 2), OfAll(live.parameters()))
    held, mean = target.state["global"], target.state["global"]["mean"]
    held["n"], held["log"] = 5, [2.5]
    mean.zero_()
    apply(declare({"optimizer": target}, {}), generation)
    assert target.state["global"] is held
    assert held["mean"] is mean
    assert repr(held) == repr({"n": 1, "mean": torch.ones(2), "log": [1.5]})


class Bare(torch.optim.SGD):
    """Keeps no mapping for a parameter, but a tensor, or a list."""

    keep = staticmethod(lambda gradient: gradient.clone())

    def step(self, closure=None) -> None:
        for parameter in self.param_groups[0]["params"]:
            if parameter.grad is not None:
                self.state[parameter] = self.keep(parameter.grad)


class Listed(Bare):
    keep = staticmethod(lambda gradient: [gradient.clone(), float(gradient.sum())])


@pytest.mark.parametrize("kind", [Bare, Listed])
def test_a_state_of_a_parameter_that_is_no_mapping_comes_back(kind):
    generation = given(optimizer=stepped(source := nn.Linear(2, 2), kind(source.parameters())))
    live = nn.Linear(2, 2)
    further = stepped(live, kind(live.parameters()))
    for each in (kind(nn.Linear(2, 2).parameters()), further):
        assert apply(declare({"optimizer": each}, {}), generation) == digest_of(generation)


class Sharp(torch.optim.SGD):
    """Takes no step without what the loop gives it, and has moved the weights by then."""

    def step(self, closure=None) -> None:
        for parameter in self.param_groups[0]["params"]:
            if parameter.grad is not None:
                parameter.data.add_(1)
        assert closure is not None, "requires a closure"
        closure()
        super().step()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_optimizer_that_takes_no_step_by_itself_takes_its_state_by_its_own_loading_however_wide(dtype):
    def make():
        return (model := nn.Linear(2, 2).to(dtype)), Sharp(model.parameters(), lr=0.1, momentum=0.9)

    source, used = make()
    source(torch.ones(1, 2, dtype=dtype)).sum().backward()
    used.step(lambda: None)
    for held in used.state.values():
        held["momentum_buffer"] = torch.rand(held["momentum_buffer"].shape, dtype=torch.float32)
    model, optimizer = make()
    weights = [each.data_ptr() for each in model.parameters()]
    generation = given(model=source, optimizer=used)
    assert apply(declare({"model": model, "optimizer": optimizer}, {}), generation) == digest_of(generation)
    assert [each.data_ptr() for each in model.parameters()] == weights


def test_weights_that_are_no_part_stay_as_they_were_whatever_the_step_of_their_optimizer_does():
    source = nn.Linear(2, 2)
    used = Sharp(source.parameters(), lr=0.1, momentum=0.9)
    source(torch.ones(1, 2)).sum().backward()
    used.step(lambda: None)
    model = nn.Linear(2, 2)
    before = model.weight.clone()
    apply(declare({"optimizer": Sharp(model.parameters(), lr=0.1, momentum=0.9)}, {}), given(optimizer=used))
    assert torch.equal(model.weight, before)


@pytest.mark.parametrize("chunk", [1, 7])
def test_a_state_across_many_chunks_and_regions_has_one_digest(monkeypatch, chunk):
    monkeypatch.setattr(digest, "CHUNK_BYTES", chunk * 64)
    sizes = (1, 40, 3, 100, 0, 16)
    generation = given(box=Box({"ts": [torch.rand(size) for size in sizes]}))
    applied = apply(declare({"box": Box({"ts": [torch.zeros(size) for size in sizes]})}, {}), generation)
    assert applied == digest_of(generation, chunk * 64)


def test_a_generation_is_applied_where_tensors_are_made_elsewhere_by_default():
    generation = given(box=Box({"w": torch.ones(3), "v": torch.ones(5)}))
    box = Box({"w": torch.zeros(3), "v": torch.zeros(5)})
    with torch.device("meta"):
        applied = apply(declare({"box": box}, {}), generation)
    assert applied == digest_of(generation)
    assert torch.equal(box.held["v"], torch.ones(5))
