"""One supervised fit: which epoch is kept, what is looked at, and what a prediction is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from training import tiny

from velatura import transforms
from velatura.config import build, plain
from velatura.errors import Failure
from velatura.training import fit, loop
from velatura.training.batches import Config as Window

WINDOW = Window(batch=4, size=16, frames=4)
SERVICES = loop.fabric(loop.Config(device="cpu", precision="32"))


class Linear(nn.Module):
    """Three numbers of a clip to logits: its mean and those of its left and right half."""

    def __init__(self, outputs: int):
        super().__init__()
        self.head = nn.Linear(3, outputs)

    def forward(self, clips: Tensor) -> Tensor:
        left, right = clips.chunk(2, -1)
        seen = torch.stack([part.mean((1, 2, 3, 4)) for part in (clips, left, right)], 1)
        return self.head(10 * (seen - 0.5))


def a_fit(monkeypatch: pytest.MonkeyPatch, losses: list[float], epochs: int) -> tuple[int, int]:
    """Which of its looks at validation a fit keeps, told their losses; and how many there were."""
    weights: list[dict[str, Tensor]] = []
    told = iter(losses)
    data = tiny.noise()
    net = Linear(len(data.action_names))
    real = fit._loss

    def loss(logits: Tensor, answers: Tensor, labels: Any, smoothing: float) -> Tensor:
        if torch.is_grad_enabled() and logits.requires_grad:
            return real(logits, answers, labels, smoothing)
        weights.append({k: v.clone() for k, v in net.state_dict().items()})
        return torch.tensor(next(told))

    monkeypatch.setattr(fit, "_loss", loss)
    kept = fit.fit(
        net, data, data, "actions", fit.Config(epochs=epochs, batch=4), WINDOW, 0, SERVICES
    ).state_dict()
    same = [i for i, w in enumerate(weights) if all(torch.equal(w[k], kept[k]) for k in w)]
    assert len(same) == 1
    return same[0], len(weights)


@pytest.mark.parametrize(
    ("epochs", "losses", "best"),
    [(1, [3.0], 0), (2, [1.0, 2.0], 0), (2, [2.0, 1.0], 1), (4, [2.0, 1.0, 3.0], 1)],
)
def test_the_best_epoch_of_the_second_half_is_kept(
    epochs: int, losses: list[float], best: int, monkeypatch: pytest.MonkeyPatch
):
    assert a_fit(monkeypatch, losses, epochs) == (best, len(losses))


def test_a_fit_that_never_has_a_finite_loss_is_no_fit():
    class Lost(Linear):
        def forward(self, clips: torch.Tensor) -> torch.Tensor:
            return super().forward(clips) * (1.0 if self.training else float("nan"))

    data = tiny.noise()
    with pytest.raises(Failure, match="no epoch has a finite loss on noise/train; lower lr"):
        fit.fit(Lost(3), data, data, "actions", fit.Config(epochs=2), WINDOW, 0, SERVICES)


def test_what_can_be_learnt_is_learnt():
    """Bright clips are of one action, dark ones of the other."""
    data = tiny.noise()
    half = np.arange(len(data)) % 2
    clips = (tiny.clips_of(data) // 2 + 127 * half[:, None, None, None, None]).astype(np.uint8)
    told = replace(
        tiny.with_clips(data, clips), actions=half.astype(np.int64), action_names=("dark", "bright")
    )
    cfg = fit.Config(epochs=30, batch=4, lr=0.1, light=0.0)
    network = fit.fit(Linear(2), told, told, "actions", cfg, WINDOW, 0, SERVICES)
    assert not network.training
    scores = fit.predict(network, told, "actions", WINDOW, SERVICES)
    assert (scores.argmax(1) == half).all()


def test_a_prediction_is_of_the_middle_and_its_mirror():
    data, network = tiny.noise(), Linear(2)
    clips = transforms.centre(torch.from_numpy(tiny.clips_of(data)), size=16, frames=4)
    with torch.no_grad():
        one, other = network(clips), network(clips.flip(-1))
    assert not torch.allclose(one, other)
    found = fit.predict(network, data, "actions", WINDOW, SERVICES, batch=3)
    np.testing.assert_allclose(found, ((one + other) / 2).numpy(), atol=1e-6)
    alone = fit.predict(network, data, "actions", WINDOW, SERVICES, quick=True)
    np.testing.assert_allclose(alone, one.numpy(), atol=1e-6)
    assert network.training
    single = fit.predict(network, data, "actions", WINDOW, SERVICES, mirror=False)
    np.testing.assert_allclose(single, one.numpy(), atol=1e-6)


def test_a_loss_that_is_not_finite_is_a_sentence():
    data, network = tiny.noise(), Linear(3)
    nn.init.constant_(network.head.weight, float("inf"))
    with pytest.raises(Failure, match=r"^Fit on .*, step 0: the loss is nan; lower its lr\.$"):
        fit.fit(network, data, data, "actions", fit.Config(batch=4), WINDOW, 0, SERVICES)


# ------------------------------------------------------------------------------ rates and choices


def rates(monkeypatch: pytest.MonkeyPatch, losses: list[float], **keys: Any) -> list[float]:
    """The rate of every step of a fit that is told the loss of each; four steps an epoch."""
    found: list[float] = []
    step = torch.optim.AdamW.step

    def watched(self: torch.optim.AdamW, *args: Any) -> Any:
        found.append(self.param_groups[0]["lr"])
        return step(self, *args)

    told = iter(losses)
    real = fit._loss

    def loss(logits: Tensor, *rest: Any) -> Tensor:
        value = real(logits, *rest)
        return value if not value.requires_grad else value * (next(told) / value.detach())

    data = tiny.noise(16)
    cfg = fit.Config(batch=4, lr=1.0, **keys)
    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", watched)
        patch.setattr(fit, "_loss", loss)
        fit.fit(Linear(3), data, data, "actions", cfg, WINDOW, 0, SERVICES)
    return found


def test_the_rate_of_each_schedule(monkeypatch: pytest.MonkeyPatch):
    """Against the closed forms at every step."""
    progress = np.arange(40) / 40  # of 10 epochs of 4 steps
    level = [1.0] * 40
    for schedule, rise, low in (("one cycle", 0.25, 0.05), ("cosine", 0.05, 0.01)):
        falling = 0.5 + 0.5 * np.cos(np.pi * (progress - rise) / (1 - rise))
        shape = np.where(progress < rise, low + (1 - low) * progress / rise, falling)
        found = rates(monkeypatch, level, epochs=10, schedule=schedule)
        np.testing.assert_allclose(found, shape, atol=1e-12)


def test_a_plateau_s_rate_falls_when_an_epoch_is_no_better(monkeypatch: pytest.MonkeyPatch):
    """To a fifth, after each such epoch; one that is better than the last, but not best, counts."""
    epochs = [3.0, 2.0, 2.5, 2.2, 1.0, 1.0]
    losses = [value for value in epochs for _ in range(4)]
    found = rates(monkeypatch, losses, epochs=6, schedule="plateau")
    assert found[0] == pytest.approx(0.01)
    assert found[1] == pytest.approx(0.01 + 0.99 * (1 / 24) / 0.05)
    assert found[2:12] == pytest.approx([1.0] * 10)  # epochs 1 to 3
    assert found[12:] == pytest.approx([0.2] * 4 + [0.04] * 4 + [0.04] * 4)
    assert rates(monkeypatch, losses, epochs=6, schedule="cosine")[12] > 0.4


def test_the_rise_counts_no_plateau(monkeypatch: pytest.MonkeyPatch):
    """Of 40 epochs the first two rise, and the loss may do so too."""
    losses = [value for value in (1.0, 2.0, *np.linspace(0.9, 0.1, 38)) for _ in range(4)]
    assert rates(monkeypatch, losses, epochs=40, schedule="plateau")[8:] == [1.0] * 152


def test_smoothing_is_that_of_actions():
    logits, answers = torch.tensor([[2.0, 0.0]]), torch.tensor([0])
    yes, no = (-torch.log_softmax(logits, 1)[0]).tolist()
    for smoothing in (0.0, 0.05, 0.5):
        found = fit._loss(logits, answers, "actions", smoothing)
        assert float(found) == pytest.approx((1 - smoothing / 2) * yes + smoothing / 2 * no)


def test_without_epochs_the_network_stays_as_it_is():
    data, network = tiny.noise(), Linear(3)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    same = fit.fit(network, data, data, "actions", fit.Config(epochs=0), WINDOW, 0, SERVICES)
    assert same is network
    assert not same.training
    assert tiny.equal(dict(same.state_dict()), before)


def test_a_later_key_at_its_neutral_value_is_not_written():
    """Digests and seeds of before hang on it."""
    assert set(plain(fit.Config())) == {"epochs", "lr", "weight_decay", "batch", "light"}
    other = fit.Config(schedule="cosine", smoothing=0.0)
    assert build(fit.Config, plain(other)) == other
