"""VITA: each form of what f_A minimises, whose turn it is, and members that start anew."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from toys import FakeLoop, State, moved, part, state, toy_batch, toy_players, watch

from velatura import losses
from velatura.errors import BadInput
from velatura.layout import ClipSet
from velatura.methods import vita
from velatura.training import batches, loop
from velatura.training.batches import Batch
from velatura.training.players import Players

FORMS = ["entropy", "cross_entropy", "k_beam", "ones"]
each_form = pytest.mark.parametrize("form", FORMS)
BEARERS = ["clips", "images"]
each_bearer = pytest.mark.parametrize("bearer", BEARERS)


def players_of(bearer: str = "clips", norm: bool = False) -> Players:
    """Two members that differ; the attributes are the clips' or the images'."""
    players = toy_players("adversaries", norm=norm)
    players.bearer = bearer
    players.teacher = None
    return players


def batch_of(seed: int = 0, n: int = 4) -> Batch:
    """A batch whose images bear attributes that no clip of it has in the same place."""
    batch = toy_batch(seed, n)
    return replace(batch, told=1 - batch.attributes)


def naive_sight(players: Players, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """The released clips; what adversaries look at; what they are told. One call for each."""
    clips = torch.stack([players.f_A(clip) for clip in batch.clips])
    if players.bearer == "clips":
        return clips, clips, batch.attributes
    pairs = zip(batch.first, batch.second, strict=True)
    images = torch.stack([torch.stack([players.f_A(a), players.f_A(b)]) for a, b in pairs])
    return clips, images, batch.told


def naive_bce(logits: Tensor, truth: Tensor) -> Tensor:
    """Item by item, attribute by attribute."""
    rows = []
    for answers, row in zip(logits, truth, strict=True):
        chances = [torch.sigmoid(z) for z in answers]
        rows.append(
            -sum(
                p.log() if t == 1 else (1 - p).log() for p, t in zip(chances, row, strict=True)
            ) / len(row)
        )  # fmt: skip
    return torch.stack(rows)


def naive_surety(logits: Tensor) -> Tensor:
    p = torch.sigmoid(logits)
    return (p * p.log() + (1 - p) * (1 - p).log()).mean()


def naive_budget(players: Players, batch: Batch, form: str) -> Tensor:
    """What each form adds, before gamma."""
    clips, seen, told = naive_sight(players, batch)
    one, other = (f(seen) for f in players.f_B)
    if form == "entropy":
        a, b = naive_surety(one), naive_surety(other)
        return a if a > b else b
    if form == "cross_entropy":
        return -(naive_bce(one, told).mean() + naive_bce(other, told).mean()) / 2
    if form == "k_beam":
        a, b = naive_bce(one, told).mean(), naive_bce(other, told).mean()
        return -(a if a < b else b)
    one, other = (naive_bce(f(clips), torch.ones_like(batch.attributes)) for f in players.f_B)
    each = [a if a > b else b for a, b in zip(one, other, strict=True)]
    return sum(each) / len(each)


def chosen(players: Players, batch: Batch) -> dict[str, int]:
    """The member that counts, for entropy and K-Beam."""
    with torch.no_grad():
        _, seen, told = naive_sight(players, batch)
        answers = [f(seen) for f in players.f_B]
    surety = [float(naive_surety(a)) for a in answers]
    errors = [float(losses.supervised(a, told)) for a in answers]
    return {"entropy": surety.index(max(surety)), "k_beam": errors.index(min(errors))}


@each_bearer
@each_form
def test_the_loss_of_step_1(form: str, bearer: str):
    """L_T and gamma times the form's part, and its slope, written out."""
    players, batch = players_of(bearer), batch_of()
    terms, released = vita.step_anonymizer(players, batch, vita.Config(form=form, gamma=0.7))
    terms["loss"].backward()
    twin = players_of(bearer)
    clips = torch.stack([twin.f_A(clip) for clip in batch.clips])
    target = torch.nn.functional.cross_entropy(twin.f_T(clips), batch.actions)
    budget = naive_budget(twin, batch, form)
    loss = target + 0.7 * budget
    loss.backward()
    expected = {
        "loss": loss, "target": target, "budget": budget,
        "rms": losses.rms(batch.clips, clips).mean(),
    }  # fmt: skip
    assert set(terms) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(terms[name].detach(), value.detach(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        players.f_A.conv.weight.grad, twin.f_A.conv.weight.grad, atol=1e-6, rtol=1e-3
    )
    torch.testing.assert_close(released.clips, clips)
    assert torch.equal(released.actions, batch.actions)
    assert torch.equal(released.attributes, batch.attributes)
    assert torch.equal(released.told, batch.told)


def test_the_released_programs_weight_is_the_default():
    cfg = vita.Config()
    assert (cfg.form, cfg.gamma, cfg.restart_every, cfg.joint) == ("entropy", 0.5, 0, False)
    assert (cfg.lr_anonymizer, cfg.lr_target, cfg.lr_budget) == (1e-4, 1e-5, 1e-4)


# Which member counts


def logits_of(*rows: tuple[float, float]) -> Tensor:
    return torch.tensor(rows).requires_grad_()


SURE = ((4.0, -4.0), (4.0, -4.0))  # certain, and wrong where the truth is the other way round
UNSURE = ((0.4, -0.4), (0.4, -0.4))
RIGHT = torch.tensor([[1.0, 0.0], [1.0, 0.0]])


def slopes_of(form: str, truth: Tensor, *rows: Any) -> tuple[float, list[bool]]:
    """The form's part, and which members it has a slope to."""
    answers = [logits_of(*row) for row in rows]
    value = vita.leakage(answers, truth, form)
    value.backward()
    return float(value.detach()), [bool(a.grad is not None and a.grad.any()) for a in answers]


@pytest.mark.parametrize("truth", [RIGHT, 1 - RIGHT], ids=["right", "wrong"])
def test_entropy_counts_the_surest_member_right_or_wrong(truth: Tensor):
    for order in ((SURE, UNSURE, UNSURE), (UNSURE, SURE, UNSURE), (UNSURE, UNSURE, SURE)):
        value, reached = slopes_of("entropy", truth, *order)
        assert reached == [row is SURE for row in order]
        assert value == pytest.approx(-float(losses.entropy(torch.tensor(SURE))), rel=1e-5)


def test_k_beam_counts_the_member_with_the_lowest_error():
    for order in ((SURE, UNSURE), (UNSURE, SURE)):
        value, reached = slopes_of("k_beam", RIGHT, *order)
        assert reached == [row is SURE for row in order]
        assert value == pytest.approx(-float(losses.supervised(torch.tensor(SURE), RIGHT)))
        _, reached = slopes_of("k_beam", 1 - RIGHT, *order)  # sure and wrong: a large error
        assert reached == [row is UNSURE for row in order]


def test_gradient_reversal_counts_all_members_alike():
    value, reached = slopes_of("cross_entropy", RIGHT, SURE, UNSURE)
    assert reached == [True, True]
    both = [losses.supervised(torch.tensor(row), RIGHT) for row in (SURE, UNSURE)]
    assert value == pytest.approx(-float(both[0] + both[1]) / 2)


def test_ones_chooses_a_member_for_each_clip_and_does_not_ask_for_the_truth():
    """The first clip is furthest from all ones for one member, the second for the other."""
    low, high = (-3.0, -3.0), (3.0, 3.0)
    for truth in (RIGHT, 1 - RIGHT):
        answers = [logits_of(low, high), logits_of(high, low)]
        value = vita.leakage(answers, truth, "ones")
        value.backward()
        assert [a.grad.abs().sum(1).gt(0).tolist() for a in answers] == [
            [True, False], [False, True]
        ]  # fmt: skip
        assert float(value.detach()) == pytest.approx(float(np.log1p(np.exp(3.0))), rel=1e-5)
        assert all((a.grad <= 0).all() for a in answers)  # up: everybody has everything


def test_a_tie_has_the_slope_of_one_member():
    _, reached = slopes_of("entropy", RIGHT, SURE, SURE)
    assert sum(reached) == 1
    _, reached = slopes_of("k_beam", RIGHT, SURE, SURE)
    assert sum(reached) == 1


@each_form
def test_one_member_is_an_ensemble(form: str):
    value, reached = slopes_of(form, RIGHT, UNSURE)
    assert np.isfinite(value)
    assert reached == [True]


@pytest.mark.parametrize("size", [0.0, 100.0, 1e4])
@each_form
def test_every_form_is_finite_for_members_beyond_doubt(form: str, size: float):
    answers = [logits_of((size, -size), (-size, size)) for _ in range(2)]
    value = vita.leakage(answers, RIGHT, form)
    value.backward()
    assert torch.isfinite(value)
    for a in answers:
        assert a.grad is None or torch.isfinite(a.grad).all()


@pytest.mark.parametrize("form", ["entropy", "k_beam"])
def test_f_A_plays_against_the_member_that_counts_alone(form: str):
    """Through the networks: the others might as well not be there."""
    batch = batch_of()
    which = chosen(players_of(), batch)[form]
    grads = []
    for kept in (slice(None), slice(which, which + 1), slice(1 - which, 2 - which)):
        players = players_of()
        players.f_B = nn.ModuleList(list(players.f_B)[kept])
        vita.step_anonymizer(players, batch, vita.Config(form=form))[0]["loss"].backward()
        grads.append(players.f_A.conv.weight.grad)
    torch.testing.assert_close(grads[0], grads[1])
    assert not torch.allclose(grads[0], grads[2])


def descend(players: Players, terms: dict[str, Tensor]) -> None:
    """A short step down, the same length for each weight."""
    weights = [p for m in players.modules().values() for p in m.parameters()]
    for weight in weights:
        weight.grad = None
    terms["loss"].backward()
    with torch.no_grad():
        for weight in weights:
            if weight.grad is not None:
                weight -= 0.02 * weight.grad / (1e-8 + weight.grad.norm())


@each_bearer
@each_form
def test_f_A_moves_the_part_of_each_form_down(form: str, bearer: str):
    players, batch = players_of(bearer), batch_of()
    cfg = vita.Config(form=form, gamma=1000.0)
    first, _ = vita.step_anonymizer(players, batch, cfg)
    descend(players, first)
    second, _ = vita.step_anonymizer(players, batch, cfg)
    assert float(second["budget"]) < float(first["budget"]) - 1e-5


@each_form
def test_what_it_does_to_the_adversaries(form: str):
    """Errors rise; or doubt rises; or, by the quirk, everything is said to be there."""
    players, batch = players_of(), batch_of()

    def sight() -> dict[str, float]:
        with torch.no_grad():
            answers = [f(players.f_A(batch.clips)) for f in players.f_B]
        return {
            "cross_entropy": float(
                sum(losses.supervised(a, batch.attributes) for a in answers)
            ),
            "k_beam": float(min(losses.supervised(a, batch.attributes) for a in answers)),
            "entropy": float(min(losses.entropy(a) for a in answers)),
            "ones": float(torch.stack(answers).mean()),
        }  # fmt: skip

    before = sight()[form]
    for _ in range(3):
        cfg = vita.Config(form=form, gamma=1000.0)
        descend(players, vita.step_anonymizer(players, batch, cfg)[0])
    assert sight()[form] > before + 1e-5


def test_f_A_keeps_the_action_readable():
    players, batch, cfg = players_of(), batch_of(), vita.Config(gamma=0.0)
    first, _ = vita.step_anonymizer(players, batch, cfg)
    descend(players, first)
    second, _ = vita.step_anonymizer(players, batch, cfg)
    assert float(second["target"]) < float(first["target"]) - 1e-4


# Step 2


@each_bearer
def test_the_loss_of_step_2(bearer: str):
    """Every member learns from its own error; the log shows the best."""
    players, batch = players_of(bearer), batch_of()
    terms = vita.step_adversaries(players, batch, vita.Config())
    clips, seen, told = naive_sight(players, batch)
    target = torch.nn.functional.cross_entropy(players.f_T(clips), batch.actions)
    errors = [naive_bce(f(seen), told).mean() for f in players.f_B]
    expected = {
        "loss": target + sum(errors), "target": target,
        "budget": sum(errors), "adversary": min(errors),
    }  # fmt: skip
    assert set(terms) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(terms[name].detach(), value.detach(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_the_form_is_f_As_alone(form: str):
    players, batch = players_of(), batch_of()
    one = vita.step_adversaries(players, batch, vita.Config(form=form))["loss"]
    assert torch.equal(one, vita.step_adversaries(players, batch, vita.Config())["loss"])


def test_all_learn_in_step_2():
    players, batch = players_of(), batch_of()
    each = []
    for _ in range(2):
        with torch.no_grad():
            clips = players.f_A(batch.clips)
            errors = [float(losses.supervised(f(clips), batch.attributes)) for f in players.f_B]
            each.append([*errors, float(losses.cross_entropy(players.f_T(clips), batch.actions))])
        descend(players, vita.step_adversaries(players, batch, vita.Config()))
    assert all(after < before - 1e-4 for before, after in zip(*each, strict=True))


@each_bearer
def test_step_2_may_reuse_what_step_1_released(bearer: str):
    players, batch, cfg = players_of(bearer), batch_of(), vita.Config()
    _, released = vita.step_anonymizer(players, batch, cfg)
    again = vita.step_adversaries(players, batch, cfg)
    reused = vita.step_adversaries(players, batch, cfg, released)
    torch.testing.assert_close(again["loss"], reused["loss"])


@pytest.mark.parametrize(
    ("turn", "movers", "names"),
    [
        ({"ensemble": False}, {"f_T"}, {"loss", "target"}),
        ({"target": False}, {"f_B"}, {"loss", "budget", "adversary"}),
        ({}, {"f_T", "f_B"}, {"loss", "target", "budget", "adversary"}),
    ],
)
def test_only_whose_turn_it_is_moves_in_step_2(turn: dict, movers: set[str], names: set[str]):
    """Buffers included: whoever looks on does not even run."""
    players = players_of(norm=True)
    before = state(players)
    optimizer = torch.optim.SGD([p for m in players.modules().values() for p in m.parameters()])
    terms = vita.step_adversaries(players, batch_of(), vita.Config(), **turn)
    terms["loss"].backward()
    optimizer.step()
    assert moved(before, state(players)) == movers
    assert set(terms) == names


def test_joint_lets_f_A_follow_the_target_and_nothing_else():
    """It must not help the adversaries: of their error f_A sees nothing."""
    batch, grads = batch_of(), []
    for joint in (True, False):
        players = players_of()
        cfg = vita.Config(joint=joint)
        if joint:
            _, released = vita.step_anonymizer(players, batch, cfg)  # may be handed over
            vita.step_adversaries(players, batch, cfg, released)["loss"].backward()
        else:
            clips = players.f_A(batch.clips)
            losses.cross_entropy(players.f_T(clips), batch.actions).backward()
        grads.append([p.grad for p in players.f_A.parameters()])
    for ours, expected in zip(*grads, strict=True):
        torch.testing.assert_close(ours, expected)
    assert grads[0][0].any()


def test_joint_moves_f_A_only_where_f_T_moves():
    players, before = players_of(norm=True), state(players_of(norm=True))
    vita.step_adversaries(players, batch_of(), vita.Config(joint=True), target=False)[
        "loss"
    ].backward()
    assert all(p.grad is None for p in players.f_A.parameters())
    assert "f_A" not in moved(before, state(players))


# Attributes that images bear


def test_of_images_adversaries_are_told_the_images_attributes():
    """Not the clips': in both steps, and in every form that asks for the truth at all."""
    batch = batch_of()
    other_clips = replace(batch, attributes=1 - batch.attributes)
    other_images = replace(batch, told=1 - batch.told)

    def found(bearer: str, form: str, given: Batch) -> list[float]:
        players, cfg = players_of(bearer), vita.Config(form=form)
        terms, released = vita.step_anonymizer(players, given, cfg)
        two = vita.step_adversaries(players, given, cfg, released)
        three = vita.step_adversaries(players, given, cfg)
        return [float(x["loss"].detach()) for x in (terms, two, three)]

    for form in ("cross_entropy", "k_beam"):
        truth = found("images", form, batch)
        assert found("images", form, other_clips) == truth
        assert not set(found("images", form, other_images)) & set(truth)
        truth = found("clips", form, batch)
        assert found("clips", form, other_images) == truth
        assert not set(found("clips", form, other_clips)) & set(truth)
    for form in ("entropy", "ones"):
        assert found("images", form, other_images)[0] == found("images", form, batch)[0]


def test_of_images_adversaries_look_at_both_views_as_a_clip():
    players, batch = players_of("images"), batch_of()
    with torch.no_grad():
        first, second = players.f_A(batch.first), players.f_A(batch.second)
    seen: dict[str, list[Tensor]] = {"f_A": [], "f_T": [], "f_B": []}
    watch(players.f_A, seen["f_A"], lambda m, x: x.detach())
    watch(players.f_T, seen["f_T"], lambda m, x: x.detach())
    for member in players.f_B:
        watch(member, seen["f_B"], lambda m, x: x.detach())
    _, released = vita.step_anonymizer(players, batch, vita.Config())
    vita.step_adversaries(players, batch, vita.Config(), released)
    assert len(seen["f_A"]) == 1  # clips and both views in one call
    assert torch.equal(seen["f_A"][0][:12], batch.clips.flatten(0, 1))
    assert torch.equal(seen["f_A"][0][12:], torch.cat([batch.first, batch.second]))
    assert len(seen["f_B"]) == 4
    for found in seen["f_B"]:
        assert found.shape == (4, 2, 3, 8, 8)
        torch.testing.assert_close(found[:, 0], first)
        torch.testing.assert_close(found[:, 1], second)
    assert all(found.shape == batch.clips.shape for found in seen["f_T"])


def test_ones_asks_about_clips_whatever_bears_the_attributes():
    """As released; f_B has learnt from images."""
    batch, values = batch_of(), []
    for bearer in BEARERS:
        terms, _ = vita.step_anonymizer(players_of(bearer), batch, vita.Config(form="ones"))
        values.append(float(terms["budget"]))
    assert values[0] == pytest.approx(values[1], rel=1e-5)
    other, _ = vita.step_anonymizer(players_of("images"), batch, vita.Config(form="entropy"))
    clips, _ = vita.step_anonymizer(players_of("clips"), batch, vita.Config(form="entropy"))
    assert float(other["budget"]) != pytest.approx(float(clips["budget"]), rel=1e-5)


def test_where_clips_bear_them_f_A_is_not_asked_for_views():
    players, calls = players_of("clips"), []
    watch(players.f_A, calls, lambda m, x: x)
    vita.step_anonymizer(players, batch := batch_of(), vita.Config())
    assert len(calls) == 1
    assert torch.equal(calls[0], batch.clips)  # as clips: an f_A may look at neighbours


# Whose turn it is


def turns(total: int, **options: Any) -> str:
    """A: f_A, T: f_T, B: the ensemble, !: it has started anew."""
    cfg = vita.Config(**options)
    found = []
    for step in range(total):
        now = vita.turn(step, cfg)
        marks = zip("!ATB", (now.restart, now.anonymizer, now.target, now.ensemble), strict=True)
        found.append("".join(mark for mark, yes in marks if yes))
    return " ".join(found)


def test_turns_by_hand():
    assert turns(5) == "A TB A TB A"
    assert turns(3, alternate="both") == "ATB ATB ATB"
    assert turns(7, adversary_steps=3) == "A TB B B A TB B"
    assert turns(5, alternate="both", adversary_steps=3) == "ATB B B ATB B"
    assert turns(5, alternate="both", target_steps=2) == "ATB T ATB T ATB"
    assert turns(6, adversary_steps=2, target_steps=4) == "A TB TB T T A"


def test_turns_with_restarts_by_hand():
    """Game, then a restart, its steps, and the game again where it was."""
    both = {"alternate": "both", "restart_every": 2}
    assert turns(9, **both, restart_steps=2) == "ATB ATB !B B ATB ATB !B B ATB"
    assert turns(5, **both, restart_steps=0) == "ATB ATB !ATB ATB !ATB"
    assert turns(9, restart_every=3, restart_steps=1) == "A TB A !B TB A TB !B A"


class Counted(FakeLoop):
    """Asks for the number of steps."""

    def steps(self, total: int) -> Any:
        self.total = total
        return super().steps(total)


def played(players: Players | None = None, **options: Any) -> Counted:
    players = players or players_of(norm=True)
    made = Counted(players, batch=lambda step: batch_of(step))
    vita.train(players, vita.Config(**options), made)
    return made


A, T, B = {"f_A"}, {"f_T"}, {"f_B"}


def test_training_takes_turns():
    assert played(steps=4).movers() == [A, T | B, A, T | B]
    made = played(steps=4, alternate="both", adversary_steps=2)
    assert made.movers() == [A | T | B, B, A | T | B, B]
    assert made.diary == [
        (0, "anonymizer"), (0, "adversaries"), (1, "adversaries"),
        (2, "anonymizer"), (2, "adversaries"), (3, "adversaries"),
    ]  # fmt: skip
    assert played(steps=3, joint=True).movers() == [A, A | T | B, A]
    assert played(steps=4, joint=True, adversary_steps=2).movers() == [A, A | T | B, B, A]


def test_identity_steps_come_first_and_on_top():
    made = played(steps=2, identity_steps=2)
    assert made.movers() == [A, A, A, T | B]
    assert [who for _, who in made.diary] == ["identity", "identity", "anonymizer", "adversaries"]


@pytest.mark.parametrize(
    ("steps", "every", "more", "total"),
    [(7, 3, 2, 11), (6, 3, 2, 8), (3, 3, 2, 3), (7, 3, 0, 7), (7, 0, 5, 7), (0, 3, 5, 2)],
)
def test_restarts_come_on_top_and_never_at_the_end(steps: int, every: int, more: int, total: int):
    """A restart that no step of f_A follows would be for nothing."""
    options = {"steps": steps, "restart_every": every, "restart_steps": more}
    assert played(**options, identity_steps=0 if steps else 2).total == total


def test_f_A_is_asked_once_a_batch():
    for options in ({"alternate": "both"}, {"alternate": "batch"}, {"adversary_steps": 3}):
        players, calls = players_of(norm=True), []
        watch(players.f_A, calls, lambda m, x: 1)
        played(players, steps=4, **options)
        assert len(calls) == 4


def test_nothing_to_do_is_refused():
    with pytest.raises(BadInput, match="both 0"):
        vita.Config(steps=0)


def test_everything_that_the_future_depends_on_is_kept():
    for joint in (False, True):
        players = players_of()
        made = played(
            players, steps=2, lr_anonymizer=1e-3, lr_target=2e-3, lr_budget=3e-3, joint=joint
        )
        assert set(made.kept) == {"f_A", "f_T", "f_B", "fresh", "optimizer_A", "optimizer_TB"}
        rates: dict[int, set[float]] = {}
        for name in ("optimizer_A", "optimizer_TB"):
            for group in made.kept[name].param_groups:
                for weight in group["params"]:
                    rates.setdefault(id(weight), set()).add(group["lr"])
        own = {"f_A": {1e-3, 2e-3} if joint else {1e-3}, "f_T": {2e-3}, "f_B": {3e-3}}
        for name, module in players.modules().items():
            assert all(rates[id(p)] == own[name] for p in module.parameters())


def test_rates_early_and_late():
    found: list[tuple] = []

    class Rates(FakeLoop):
        def rate(self, optimizer: Any, *rate: float, **shares: float) -> None:
            found.append((*rate, shares["warm_up"], shares["anneal"]))

    options = {"steps": 3, "restart_every": 2, "restart_steps": 1, "warm_up": 0.2, "anneal": 0.4}
    cfg = vita.Config(identity_steps=1, lr_anonymizer=0.1, lr_identity=0.3, **options)
    vita.train(players := players_of(norm=True), cfg, Rates(players))
    assert found == [(0.3, 5, 0.2, 0.4)] + [(0.1, 5, 0.2, 0.4)] * 4


# Members that start anew


def learnt(players: Players) -> torch.optim.Optimizer:
    """After some steps 2: everybody differs from the start, and the optimiser has moments."""
    optimizer = torch.optim.Adam([*players.f_T.parameters(), *players.f_B.parameters()], 0.01)
    for step in range(2):
        terms = vita.step_adversaries(players, batch_of(step), vita.Config())
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
    return optimizer


def differing(one: dict[str, Tensor], other: dict[str, Tensor]) -> set[str]:
    return {key for key in one if not torch.equal(one[key], other[key])}


def test_a_restart_from_the_start_brings_all_members_back_and_nobody_else():
    players = players_of(norm=True)
    fresh = copy.deepcopy(players.f_B)
    optimizer = learnt(players)
    before = state(players)
    assert len(differing(before["f_B"], fresh.state_dict())) > 10
    vita.restart(players.f_B, fresh, optimizer)
    assert not differing(players.f_B.state_dict(), fresh.state_dict())
    assert moved(before, state(players)) == {"f_B"}
    assert not any(p in optimizer.state for p in players.f_B.parameters())
    assert all(p in optimizer.state for p in players.f_T.parameters())


def test_a_random_restart_draws_every_weight_again_and_nobody_elses():
    """Weights like none before, BatchNorm as it is built; a function of the seed."""
    players = players_of(norm=True)
    fresh = copy.deepcopy(players.f_B)
    optimizer = learnt(players)
    with torch.no_grad():
        for parameter in players.f_B.parameters():
            parameter += 1.0  # constants, as BatchNorm's weight and bias, must come back too
    before = state(players)
    drawn = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        vita.restart(players.f_B, None, optimizer)
        drawn.append(copy.deepcopy(players.f_B.state_dict()))
    assert not differing(drawn[0], drawn[1])
    random = {key for key in drawn[0] if ".conv." in key or ".head." in key}
    assert differing(drawn[0], drawn[2]) == random
    assert differing(drawn[0], fresh.state_dict()) == random
    assert differing(drawn[0], before["f_B"]) == set(drawn[0])
    assert moved(before, state(players)) == {"f_B"}
    for key, value in drawn[0].items():
        if key in random:
            assert float(value.abs().max()) < 0.5, key
    assert not any(p in optimizer.state for p in players.f_B.parameters())
    assert all(p in optimizer.state for p in players.f_T.parameters())


def test_a_network_that_cannot_be_drawn_again_is_refused_before_the_game():
    class Placed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.place = nn.Parameter(torch.zeros(3))

    players = players_of()
    vita.check_random(players.f_B)
    players.f_B.append(nn.Sequential(nn.Linear(2, 2), Placed()))
    for options in ({"restart_every": 2}, {"restart_every": 2, "restart_steps": 0}):
        with pytest.raises(BadInput, match=r"Placed .*restart_from to 'start'"):
            vita.check(vita.Config(steps=4, **options), players, 3, 4)
    for options in ({}, {"restart_every": 2, "restart_from": "start"}):
        vita.check(vita.Config(steps=4, **options), players, 3, 4)


@pytest.mark.parametrize("origin", ["random", "start"])
def test_training_starts_members_anew_and_lets_them_learn_while_f_A_waits(origin: str):
    players = players_of(norm=True)
    start = copy.deepcopy(players.f_B.state_dict())
    modes: list[bool] = []
    watch(players.f_A.norm, modes, lambda m, x: m.training)
    calls: list[State] = []
    made = Counted(players, batch=lambda step: batch_of(step))
    kept = vita.restart

    def noted(f_B: Any, fresh: Any, optimizer: Any) -> None:
        kept(f_B, fresh, optimizer)
        calls.append({"f_B": copy.deepcopy(f_B.state_dict()), "at": made.step})
        assert (fresh is None) == (origin == "random")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vita, "restart", noted)
        vita.train(
            players,
            vita.Config(
                steps=5, restart_every=2, restart_steps=3, restart_from=origin, alternate="both"
            ),
            made,
        )
    both = A | T | B
    assert made.movers() == [both, both, B, B, B, both, both, B, B, B, both]
    assert [call["at"] for call in calls] == [2, 7]
    for call in calls:
        assert bool(differing(call["f_B"], start)) == (origin == "random")
    if origin == "random":
        assert differing(calls[0]["f_B"], calls[1]["f_B"])
    waiting = [step in (2, 3, 4, 7, 8, 9) for step in range(11)]
    assert [not mode for mode in modes] == waiting  # evaluation mode: frozen


def test_a_resumed_run_restarts_from_the_same_start():
    """The start is what the run began with, not what the checkpoint brought back."""
    players = players_of(norm=True)
    start = copy.deepcopy(players.f_B.state_dict())

    def restore() -> None:
        with torch.no_grad():
            for weight in players.f_B.parameters():
                weight += 1

    made = FakeLoop(players, on_keep=restore)
    vita.train(players, vita.Config(steps=2, restart_from="start"), made)
    assert not differing(made.kept["fresh"].state_dict(), start)


# The real loop


class Cut(loop.Loop):
    """Breaks off in the middle of a step: f_A may have moved, its adversaries have not."""

    at = 10**9

    def update(self, optimizer: Any, terms: Any, player: str) -> None:
        if self.step >= self.at and player == "adversaries":
            raise KeyboardInterrupt
        super().update(optimizer, terms, player)


def real(folder: Path, resume: bool = False, images: bool = False) -> tuple[Players, Cut]:
    """Toys in the real loop, on noise; checkpoints every second step."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)

    def noise(t: int, name: str) -> ClipSet:
        return ClipSet.of_clips(
            rng.integers(0, 256, (8, t, 3, 8, 8), np.uint8),
            actions=np.arange(8) % 3,
            attributes=(np.arange(8)[:, None] // np.array([1, 2]) % 2).astype(np.uint8),
            groups=np.arange(8),
            action_names=("a", "b", "c"),
            attribute_names=("x", "y"),
            name=name,
            fingerprint=name,
        )

    services = loop.Config(device="cpu", precision="32", save_every=2, log_every=1)
    window = batches.Config(batch=4, size=8, frames=3, shift=1)
    stream = batches.Batches(
        noise(3, "noise/train"), window, 0, images=noise(1, "images/train") if images else None
    )
    made = Cut(folder, loop.fabric(services), stream, services, 0, {}, resume=resume)
    return players_of("images" if images else "clips", norm=True), made


@pytest.mark.parametrize(
    "options",
    [
        {"alternate": "both"},
        {"adversary_steps": 2},
        {"restart_every": 2, "restart_steps": 2},
        {"restart_every": 1, "restart_steps": 1, "restart_from": "start", "joint": True},
    ],
    ids=["both", "more steps", "random restarts", "restarts"],
)
@pytest.mark.parametrize("images", [False, True], ids=BEARERS)
def test_broken_off_and_resumed_it_ends_at_the_same_bits(
    options: dict, images: bool, tmp_path: Path
):
    cfg = vita.Config(steps=6, lr_anonymizer=1e-2, lr_target=1e-2, lr_budget=1e-2, **options)
    ends = []
    players, made = real(tmp_path / "whole", images=images)
    vita.train(players, cfg, made)
    ends.append(state(players))
    players, made = real(tmp_path / "broken", images=images)
    made.at = 3
    with pytest.raises(KeyboardInterrupt):
        vita.train(players, cfg, made)
    players, made = real(tmp_path / "broken", resume=True, images=images)
    assert made.step in (2, 4)
    vita.train(players, cfg, made)
    ends.append(state(players))
    assert moved(*ends) == set()
    assert moved(state(players_of(norm=True)), ends[0]) == {"f_A", "f_T", "f_B"}


# Two processes


WORLD, ITEMS = 2, 6


def mine(batch: Batch) -> Batch:
    """This process's share of a joint batch; all of it where there is one process."""
    if not dist.is_initialized():
        return batch
    share = ITEMS // WORLD
    return part(batch, slice(dist.get_rank() * share, (dist.get_rank() + 1) * share))


class Light(nn.Module):
    """Sure of clips that are brighter or darker than one brightness, and unsure there."""

    def __init__(self, centre: Tensor, gain: Tensor):
        super().__init__()
        self.centre, self.gain = centre, gain

    def forward(self, clips: Tensor) -> Tensor:
        z = self.gain * (clips.mean((1, 2, 3, 4)) - self.centre)
        return torch.stack([z, -z], 1)


def parted() -> tuple[Players, Batch]:
    """Dark clips for one process, bright ones for the other; a member is sure, and right, of
    those of the other process."""
    players, batch = players_of(), batch_of(0, ITEMS)
    bright = torch.arange(ITEMS) >= ITEMS // WORLD
    clips = torch.where(bright.view(-1, 1, 1, 1, 1), batch.clips, 0.1 * batch.clips)
    with torch.no_grad():
        dark, light = players.f_A(clips).view(WORLD, -1).mean(1)
    players.f_B = nn.ModuleList([Light(dark, 3 / (light - dark)), Light(light, 2 / (light - dark))])
    return players, replace(
        batch, clips=clips, attributes=torch.stack([bright, ~bright], 1).float()
    )


def compute() -> dict[str, Any]:
    """Loss and averaged slope of f_A; the same code on one process and on two."""
    found: dict[str, Any] = {}
    for form in FORMS:
        players, batch = parted()
        terms, _ = vita.step_anonymizer(players, mine(batch), vita.Config(form=form, gamma=3.0))
        terms["loss"].backward()
        slope = players.f_A.conv.weight.grad
        value = terms["loss"].detach().clone()
        if dist.is_initialized():
            for tensor in (slope, value):
                dist.all_reduce(tensor)
                tensor /= WORLD
        found[form] = (value, slope)
    return found


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORLD,
        timeout=timedelta(seconds=120),
    )  # fmt: skip
    torch.save(compute(), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_choose_the_member_of_the_joint_batch(tmp_path: Path):
    """Each would choose another one by itself."""
    players, batch = parted()
    halves = [chosen(players, part(batch, slice(k, k + 3))) for k in (0, 3)]
    assert halves == [{"entropy": 1, "k_beam": 1}, {"entropy": 0, "k_beam": 0}]
    torch.multiprocessing.spawn(worker, (str(tmp_path),), nprocs=WORLD)
    joint = compute()
    for rank in range(WORLD):
        for form, (value, slope) in torch.load(tmp_path / f"{rank}.pt").items():
            torch.testing.assert_close(value, joint[form][0])
            torch.testing.assert_close(slope, joint[form][1], atol=2e-6, rtol=1e-3)
