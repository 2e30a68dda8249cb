"""Undoing a release: what a decoder sees and learns, and how alike the result is."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training import tiny

from velatura.errors import BadInput, Failure
from velatura.layout import ClipSet
from velatura.protocols import inversion
from velatura.protocols.inversion import fidelity, fit_inverter, recover
from velatura.training import loop
from velatura.training.batches import Config as Window

FABRIC = loop.fabric(loop.Config(device="cpu", precision="32"))
WINDOW = Window(size=16, frames=4)
SMALL = inversion.Config(steps=100, width=4, batch=4, lr=5e-2)


def inverted(data: ClipSet) -> ClipSet:
    return data.with_frames(255 - np.asarray(data.frames[:]), data.name, f"{data.fingerprint}/row")


def gain(released: ClipSet, raw: ClipSet, recovered: ClipSet) -> float:
    """dB that a recovery is nearer to raw than the release is."""
    before, after = (fidelity(part, raw)["psnr"] for part in (released, recovered))
    assert before is not None
    assert after is not None
    return after - before


# Learning


def test_an_anonymizer_that_can_be_undone_is_undone_on_others(tmp_path: Path):
    """A negative; the clips that it is tried on are not those that it learnt from."""
    told: list[tuple[int, int]] = []
    raw, test = tiny.noise(), tiny.noise(n=3, name="noise/test")
    net = fit_inverter(
        inverted(raw), raw, WINDOW, 0, FABRIC, SMALL, lambda *done: told.append(done)
    )
    found = recover(net, inverted(test), tmp_path / "a.npy", WINDOW, FABRIC)
    assert gain(inverted(test), test, found) > 10
    assert told == [(step, 100) for step in range(1, 101)]


def test_noise_of_each_frame_is_averaged_over_the_window(tmp_path: Path):
    """Of clips that stand still. Pixels have nothing to do with their neighbours, so that one frame
    says nothing of another's noise; three frames give 4.8 dB, and eight of them 9."""
    rng = np.random.default_rng(0)
    parts = []
    for name in ("noise/val", "noise/test"):
        still = tiny.noise(n=16, t=1, name=name).frames[:] // 2 + 64
        raw = tiny.noise(n=16, t=8, name=name)
        raw = tiny.with_clips(raw, still[:, None].repeat(8, 1))
        noisy = raw.frames[:] + rng.normal(0, 20, raw.frames.shape)
        noisy = noisy.round().clip(0, 255).astype(np.uint8)
        parts.append((raw.with_frames(noisy, name, "noisy"), raw))
    cfg = inversion.Config(steps=120, width=4, batch=4, lr=3e-2)
    net = fit_inverter(*parts[0], Window(size=16, frames=8), 0, FABRIC, cfg)
    found = recover(net, parts[1][0], tmp_path / "a.npy", Window(size=16, frames=8), FABRIC)
    assert gain(*parts[1], found) > 5.5


def test_the_seed_says_all():
    raw = tiny.noise()
    cfg = inversion.Config(steps=2, width=4)
    states = [fit_inverter(inverted(raw), raw, WINDOW, s, FABRIC, cfg) for s in (3, 3, 4)]
    one, same, other = (net.state_dict() for net in states)
    assert tiny.equal(dict(one), dict(same))
    assert not tiny.equal(dict(one), dict(other))
    assert not any(p.requires_grad for p in states[0].parameters())
    assert not states[0].training


def seen_by_training(
    raw: ClipSet, window: Window, monkeypatch: pytest.MonkeyPatch, steps: int = 12
) -> list[tuple[np.ndarray, np.ndarray]]:
    """(what the decoder is given, what it shall find) of each step, as bytes; it learns nothing."""
    pairs: list[tuple[np.ndarray, np.ndarray]] = []

    def noted(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        pairs.append(tuple(x.detach().mul(255).round().byte().numpy() for x in (found, wanted)))
        return 0 * found.sum()

    monkeypatch.setattr(inversion.F, "l1_loss", noted)
    cfg = inversion.Config(steps=steps, width=4, batch=3)
    fit_inverter(raw, raw, window, 0, FABRIC, cfg)
    return pairs


def test_both_of_a_pair_show_the_same_place_at_the_same_time(monkeypatch: pytest.MonkeyPatch):
    """Of videos longer and pictures larger than a window; places lie on the grid."""
    rows, columns = np.mgrid[:40, :52]
    place = np.stack([rows, columns, rows + columns]).astype(np.uint8)
    raw = tiny.with_clips(tiny.noise(n=5, t=7, side=16), np.tile(place, (5, 7, 1, 1, 1)))
    marked = np.asarray(raw.frames[:]).copy()
    marked[:, 2] = np.arange(len(marked))[:, None, None]  # which frame of all
    raw = raw.with_frames(marked, raw.name, raw.fingerprint)
    tops, lefts, begins = set(), set(), set()
    for given, wanted in seen_by_training(raw, WINDOW, monkeypatch, 30):
        assert given.shape == (3, 4, 3, 16, 16)
        assert np.array_equal(given, wanted)
        tops.add(int(given[0, 0, 0, 0, 0]))
        lefts.add(int(given[0, 0, 1, 0, 0]))
        numbers = given[:, :, 2, 0, 0].astype(int)
        assert np.array_equal(numbers - numbers[:, :1], np.tile(np.arange(4), (3, 1)))
        begins |= set((numbers[:, 0] % 7).tolist())
    assert (tops, lefts, begins) == ({0, 16}, {0, 16, 32}, {0, 1, 2, 3})


def test_a_small_picture_is_seen_whole_and_as_it_is(monkeypatch: pytest.MonkeyPatch):
    """An anonymizer does other things to a picture that is shifted or mirrored."""
    raw = tiny.noise(n=6, t=4, side=16)
    whole = {clip.tobytes() for clip in tiny.clips_of(raw)}
    for given, _ in seen_by_training(raw, Window(size=24, frames=4, stride=2), monkeypatch):
        assert {clip.tobytes() for clip in given} <= whole


def test_an_image_is_one_frame(monkeypatch: pytest.MonkeyPatch):
    pairs = seen_by_training(tiny.noise(t=1), WINDOW, monkeypatch, 2)
    assert pairs[0][0].shape == (3, 1, 3, 16, 16)


def test_a_pair_of_other_videos_is_refused():
    raw = tiny.noise()
    shorter = replace(raw, lengths=np.array([3, 5, *raw.lengths[2:]]))
    for other in (tiny.noise(n=10), shorter):
        with pytest.raises(BadInput, match="must be of the same videos; noise/train has frames"):
            fit_inverter(other, raw, WINDOW, 0, FABRIC, SMALL)
        with pytest.raises(BadInput, match="must be of the same videos"):
            fidelity(other, raw)


def test_a_loss_that_is_no_number_ends_it():
    raw = tiny.noise()
    wild = inversion.Config(steps=9, width=4, lr=1e30)
    with pytest.raises(Failure, match=r"Inverting noise/train, step \d: the loss is .*; lower"):
        fit_inverter(inverted(raw), raw, WINDOW, 0, FABRIC, wild)


# The decoder


@pytest.mark.parametrize("shape", [(2, 5, 3, 16, 24), (1, 1, 3, 13, 11), (1, 2, 3, 1, 8)])
def test_a_fresh_decoder_does_nothing_to_any_size(shape: tuple[int, ...]):
    torch.manual_seed(0)
    clips = torch.rand(shape)
    with torch.no_grad():
        assert torch.equal(inversion.network(inversion.Config(width=4))(clips), clips)


def reach(net: torch.nn.Module, clips: torch.Tensor, frame: int) -> list[bool]:
    """Which frames of the output depend on a frame of the input."""
    other = clips.clone()
    other[:, frame] = torch.rand(clips[:, frame].shape, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        return (net(clips) != net(other)).flatten(2).any(2)[0].tolist()


def test_every_frame_is_seen_with_its_clip_and_with_no_other():
    torch.manual_seed(0)
    net = inversion.network(inversion.Config(width=4))
    torch.nn.init.normal_(net.head.weight)
    clips = torch.rand(2, 5, 3, 16, 16)
    assert reach(net, clips, 0) == [True] * 5
    assert reach(net, clips, 4) == [True] * 5
    with torch.no_grad():
        torch.testing.assert_close(net(clips)[:1], net(clips[:1]))
        # Time has a direction only as far as before and after differ.
        assert not torch.allclose(net(clips.flip(1)).flip(1), net(clips))


class Spy(torch.nn.Module):
    """Puts out what it is given with its frames' place in the window in the first colour."""

    def __init__(self, fails_at: int = 99):
        super().__init__()
        self.lengths: list[int] = []
        self.fails_at = fails_at

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        if len(self.lengths) == self.fails_at:
            raise RuntimeError("the decoder")
        self.lengths.append(clips.shape[1])
        out = clips.clone()
        out[:, :, 0] = torch.arange(clips.shape[1])[None, :, None, None] / 255
        out[:, :, 1] = 1.7
        return out


def test_a_recovery_is_of_whole_videos_and_windows_reach_back(tmp_path: Path):
    data = replace(tiny.noise(n=4, t=4), lengths=np.array([1, 4, 9, 2]))
    spy = Spy()
    found = recover(spy, data, tmp_path / "a.npy", WINDOW, FABRIC)
    assert spy.lengths == [1, 4, 4, 4, 4, 2]
    places = [found.video(item)[:, 0, 0, 0].tolist() for item in range(4)]
    assert places == [[0], [0, 1, 2, 3], [0, 1, 2, 3, 0, 1, 2, 3, 3], [0, 1]]
    assert np.array_equal(found.frames[:, 2], data.frames[:][:, 2])
    assert (np.asarray(found.frames[:, 1]) == 255).all()
    assert found.fingerprint == f"{data.fingerprint}/recovered"
    assert found.attributes is data.attributes


def test_a_recovery_that_breaks_leaves_no_file(tmp_path: Path):
    with pytest.raises(RuntimeError, match="the decoder"):
        recover(Spy(fails_at=3), tiny.noise(), tmp_path / "a.npy", WINDOW, FABRIC)
    assert not list(tmp_path.iterdir())


# How alike


def test_psnr_by_hand():
    """A difference of .2 everywhere is 13.98 dB, one of .02 is 33.98; and their mean."""
    raw = tiny.with_clips(tiny.noise(n=2, side=12), np.full((2, 4, 3, 12, 12), 100, np.uint8))
    other = tiny.clips_of(raw).copy()
    other[0] += 51
    other[1, :2] += 102  # half of the frames by .4: a mean square of .08
    found = fidelity(tiny.with_clips(raw, other), raw)["psnr"]
    assert found == pytest.approx((-10 * math.log10(0.04) - 10 * math.log10(0.08)) / 2)


def test_equal_is_no_number_of_decibels():
    raw = tiny.noise(n=2)
    assert fidelity(raw, raw) == {"psnr": None, "ssim": pytest.approx(1)}


def test_pictures_smaller_than_the_window_have_no_ssim():
    raw = tiny.noise(n=2, side=10)
    found = fidelity(inverted(raw), raw)
    assert found["ssim"] is None
    assert found["psnr"] == pytest.approx(4.77, abs=0.3)  # (1 - 2x) squared, x uniform: a third


def naive_ssim(one: np.ndarray, other: np.ndarray) -> float:
    """Window by window, with the window's weights written out."""
    weights = np.array(
        [[math.exp(-((y - 5) ** 2 + (x - 5) ** 2) / 4.5) for x in range(11)] for y in range(11)]
    )
    weights /= weights.sum()
    values = []
    for frame in range(one.shape[0]):
        for c in range(one.shape[1]):
            for y in range(one.shape[2] - 10):
                for x in range(one.shape[3] - 10):
                    a, b = (p[frame, c, y : y + 11, x : x + 11] / 255 for p in (one, other))
                    ma, mb = (weights * a).sum(), (weights * b).sum()
                    va, vb = (weights * (a - ma) ** 2).sum(), (weights * (b - mb) ** 2).sum()
                    both = (weights * (a - ma) * (b - mb)).sum()
                    light = (2 * ma * mb + 0.0001) / (ma**2 + mb**2 + 0.0001)
                    values.append(light * (2 * both + 0.0009) / (va + vb + 0.0009))
    return float(np.mean(values))


def test_ssim_is_what_its_definition_gives():
    rng = np.random.default_rng(0)
    one = rng.integers(0, 256, (2, 3, 13, 16), np.uint8)
    other = (one * 0.6 + rng.integers(0, 100, one.shape)).astype(np.uint8)
    found = inversion.ssim(one, other)
    assert found == pytest.approx(naive_ssim(one, other), abs=1e-12)
    assert found == pytest.approx(inversion.ssim(other, one))
    assert 0.3 < found < 0.95
    assert inversion.ssim(one, one) == pytest.approx(1)


def test_fidelity_is_the_mean_over_videos_whatever_their_length():
    data = replace(tiny.noise(n=2, t=4), lengths=np.array([2, 6]))
    worse = np.asarray(data.frames[:]).copy()
    worse[2:] = 255 - worse[2:]
    worse[:2] //= 2
    recovered = data.with_frames(worse, data.name, "worse")
    singles = [inversion.ssim(recovered.video(i), data.video(i)) for i in range(2)]
    assert fidelity(recovered, data)["ssim"] == pytest.approx(np.mean(singles))


def test_records_hold_both_and_nothing_where_nothing_was_measured():
    row: dict[str, Any] = {"name": "blur", "inversion": {"psnr": None, "ssim": 0.5}}
    psnr, ssim = inversion.measurements(row, tiny.noise(), {"x": 1})
    assert (psnr.metric, psnr.value, psnr.unit) == ("psnr", None, "dB")
    assert (ssim.metric, ssim.value, ssim.row, ssim.seed, ssim.groups) == (
        "ssim", 0.5, "blur", 3, 6,
    )  # fmt: skip
    assert inversion.measurements({"name": "blur"}, tiny.noise(), {}) == []
