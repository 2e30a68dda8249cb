"""The game, as a page:

    generator       (N, 3, S, S) with a hole, and z, to the same without one
    discriminator   (N, 3 + 1 + K, S, S) to logits (N,), positive is real

One step teaches the discriminator to tell, the other the generator not to be told. Non-saturating
losses and a penalty on the slope at real crops, in each 16th step only (losses.r1).
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from jaxtyping import Float
from torch import Tensor, nn

from velatura import losses
from velatura.inpainting.augment import varied
from velatura.inpainting.crops import Batch
from velatura.inpainting.generator import Generator, maps
from velatura.training.players import frozen

__all__ = ["step_discriminator", "step_generator", "told"]


def step_discriminator(
    generator: Generator,
    discriminator: nn.Module,
    batch: Batch,
    z: Float[Tensor, "n z"],
    ways: Collection[str],
    draw: torch.Generator,
    penalty: float = 0.0,
) -> dict[str, Tensor]:
    """The discriminator learns; the generator is as it was.

    Args:
        z: drawn by lot.
        ways: of varying crops.
        penalty: weight of the slope at real crops; 0 leaves it out.

    Returns:
        The loss and what it is made of: scalars.
    """
    with torch.no_grad():
        drawn = generator(*batch, z)
    pictures = batch.pictures.detach().requires_grad_(penalty > 0)
    real = discriminator(varied(told(pictures, batch), ways, draw))
    fake = discriminator(varied(told(drawn, batch), ways, draw))
    terms = {"told": losses.tell_apart(real, fake)}
    terms["loss"] = terms["told"]
    if penalty:
        terms["slope"] = losses.r1(real, pictures)
        terms["loss"] = terms["told"] + penalty * terms["slope"]
    return terms


def step_generator(
    generator: Generator,
    discriminator: nn.Module,
    batch: Batch,
    z: Float[Tensor, "n z"],
    ways: Collection[str],
    draw: torch.Generator,
) -> dict[str, Tensor]:
    """The generator learns; the discriminator is as it was, but the gradient passes through."""
    with frozen(discriminator):
        drawn = generator(*batch, z)
        fake = discriminator(varied(told(drawn, batch), ways, draw))
    return {"loss": losses.pass_for_real(fake)}


def told(pictures: Float[Tensor, "n 3 s s"], batch: Batch) -> Float[Tensor, "n c s s"]:
    """Pictures with what the generator was told: what is visible, and where keypoints are."""
    shown = maps(batch.points, pictures.shape[-1])
    return torch.cat([pictures, 1 - batch.hidden, shown], 1)
