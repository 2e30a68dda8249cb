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

    def loss(logits: Tensor, answers: Tensor, labels: Any) -> Tensor:
        if torch.is_grad_enabled() and logits.requires_grad:
            return real(logits, answers, labels)
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


def test_a_loss_that_is_not_finite_is_a_sentence():
    data, network = tiny.noise(), Linear(3)
    nn.init.constant_(network.head.weight, float("inf"))
    with pytest.raises(Failure, match=r"^Fit on .*, step 0: the loss is nan; lower its lr\.$"):
        fit.fit(network, data, data, "actions", fit.Config(batch=4), WINDOW, 0, SERVICES)
