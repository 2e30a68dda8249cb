"""Windows that can be read back: every pixel of these clips holds its own place and time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from velatura import transforms


def places(b: int, t: int, h: int, w: int) -> Tensor:
    """(B, T, 3, H, W) bytes: column, row and 10 * frame of each pixel."""
    clips = torch.zeros(b, t, 3, h, w, dtype=torch.uint8)
    clips[:, :, 0] = torch.arange(w, dtype=torch.uint8)
    clips[:, :, 1] = torch.arange(h, dtype=torch.uint8)[:, None]
    clips[:, :, 2] = 10 * torch.arange(t, dtype=torch.uint8)[:, None, None]
    return clips


def read(clip: Tensor) -> tuple[list[int], list[int], list[int]]:
    """Columns, rows and frames of a window of ``places``; it must be one window throughout."""
    values = (clip * 255).round().long()
    columns, rows, frames = (
        values[0, 0, 0].tolist(),
        values[0, 1, :, 0].tolist(),
        values[:, 2, 0, 0],
    )
    expected = torch.zeros_like(values)
    expected[:, 0] = torch.tensor(columns)
    expected[:, 1] = torch.tensor(rows)[:, None]
    expected[:, 2] = frames[:, None, None]
    assert torch.equal(values, expected), "frames of one clip were cut in different places"
    return columns, rows, (frames // 10).tolist()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clamped(start: int, size: int, side: int) -> list[int]:
    return [min(max(start + i, 0), side - 1) for i in range(size)]


def starts(line: list[int], side: int) -> int | None:
    """Where a window begins whose positions, clamped to the picture, are these."""
    size = len(line)
    found = [s for s in range(-size, side) if clamped(s, size, side) == line]
    return found[0] if found else None


@pytest.mark.parametrize(("h", "w"), [(8, 8), (20, 20), (14, 17), (9, 30)])
def test_augment_cuts_one_window_of_every_frame(h: int, w: int):
    """Consecutive positions, at most once mirrored, at most ``shift`` beyond the edge."""
    out = transforms.vary(places(60, 6, h, w), generator(), size=8, frames=3, shift=3)
    assert out.shape == (60, 3, 3, 8, 8)
    allowed = 3 if min(h, w) < 14 else 0
    seen = set()
    for clip in out:
        columns, rows, frames = read(clip)
        mirrored = columns[0] > columns[-1]
        left = starts(columns[::-1] if mirrored else columns, w)
        top = starts(rows, h)
        assert left is not None
        assert top is not None
        assert -allowed <= left <= w - 8 + allowed
        assert -allowed <= top <= h - 8 + allowed
        assert frames == list(range(frames[0], frames[0] + 3))
        seen.add((mirrored, frames[0]))
    assert {m for m, _ in seen} == {False, True}
    assert {f for _, f in seen} == {0, 1, 2, 3}


def test_augment_reaches_every_position_as_often():
    """Two columns of freedom and padding 1: five places, 1/5 each; half are mirrored."""
    out = transforms.vary(places(3000, 1, 10, 10), generator(), size=8, frames=1, shift=2)
    lefts, tops, mirrors = [], [], 0
    for clip in out:
        columns, rows, _ = read(clip)
        mirrored = columns[0] > columns[-1]
        mirrors += mirrored
        lefts.append(starts(columns[::-1] if mirrored else columns, 10))
        tops.append(starts(rows, 10))
    for found in (lefts, tops):
        counts = [found.count(place) for place in range(-2, 5)]
        assert sum(counts) == 3000
        assert min(counts) > 3000 / 7 * 0.8
        assert max(counts) < 3000 / 7 * 1.2
    assert 0.46 < mirrors / 3000 < 0.54
    assert abs(np.corrcoef(lefts, tops)[0, 1]) < 0.08  # not one draw for both


def test_augment_repeats_the_edge():
    """A window of a clip of its own size that is shifted shows the edge again, not black."""
    out = transforms.vary(places(40, 1, 8, 8), generator(), size=8, frames=1, flip=False)
    shifted = [read(clip)[0] for clip in out]
    assert [0, 0, 0, 0, 1, 2, 3, 4] in shifted
    assert [3, 4, 5, 6, 7, 7, 7, 7] in shifted


def test_augment_without_freedom_returns_the_clip():
    clips = torch.randint(0, 256, (2, 3, 3, 8, 8), dtype=torch.uint8)
    out = transforms.vary(clips, generator(), size=8, frames=3, shift=0, flip=False)
    assert torch.equal(out, clips.float() / 255)
    assert float(out.min()) >= 0
    assert float(out.max()) <= 1


def naive_augment(
    clips: Tensor, seed: int, size: int, frames: int, shift: int, flip: bool, light: float
) -> Tensor:
    """Pixel by pixel, from the same six draws to each clip."""
    b, t, c, h, w = clips.shape
    draws = torch.rand(b, 6, generator=generator(seed)).double()
    pad = shift if h < size + 2 * shift or w < size + 2 * shift else 0
    out = torch.zeros(b, frames, c, size, size, dtype=torch.float64)
    for i in range(b):
        top = int(draws[i, 0] * (h + 2 * pad - size + 1)) - pad
        left = int(draws[i, 1] * (w + 2 * pad - size + 1)) - pad
        start = int(draws[i, 2] * (t - frames + 1))
        mirrored = flip and draws[i, 3] < 0.5
        gain = 1 - light + 2 * light * draws[i, 4]
        lift = light * (draws[i, 5] - 0.5)
        for k in range(frames):
            for y in range(size):
                for x in range(size):
                    row = min(max(top + y, 0), h - 1)
                    column = min(max(left + (size - 1 - x if mirrored else x), 0), w - 1)
                    value = clips[i, start + k, :, row, column].double() / 255
                    out[i, k, :, y, x] = (value * gain + lift).clamp(0, 1)
    return out.float()


@pytest.mark.parametrize(("h", "w"), [(5, 5), (7, 9), (12, 14)])
@pytest.mark.parametrize(("flip", "light"), [(True, 0.0), (False, 0.0), (True, 0.3)])
def test_augment_equals_the_naive_one(h: int, w: int, flip: bool, light: float):
    clips = torch.randint(0, 256, (5, 4, 3, h, w), dtype=torch.uint8, generator=generator(1))
    out = transforms.vary(clips, generator(2), size=5, frames=2, shift=2, flip=flip, light=light)
    torch.testing.assert_close(out, naive_augment(clips, 2, 5, 2, 2, flip, light))


def test_augment_follows_its_generator_alone():
    clips = torch.randint(0, 256, (4, 4, 3, 9, 9), dtype=torch.uint8)

    def once(seed: int) -> Tensor:
        torch.manual_seed(int(torch.randint(1000, ())))  # the global one must not matter
        return transforms.vary(clips, generator(seed), size=8, frames=2, light=0.2)

    assert torch.equal(once(0), once(0))
    assert not torch.equal(once(0), once(1))


def test_augment_draws_the_same_number_of_values_whatever_it_does():
    """A switch must not move the draws of whatever comes after it."""
    clips = torch.zeros(4, 4, 3, 16, 16, dtype=torch.uint8)
    after = []
    for options in ({}, {"flip": False}, {"light": 0.3}, {"shift": 0}):
        draw = generator()
        transforms.vary(clips, draw, size=8, frames=2, **options)
        after.append(torch.rand(3, generator=draw))
    assert all(torch.equal(after[0], other) for other in after)


def test_light_is_one_gain_and_one_lift_to_a_clip():
    """Two greys tell gain and lift; every frame and colour of a clip has the same."""
    clips = torch.zeros(50, 3, 3, 8, 8, dtype=torch.uint8)
    clips[..., :4], clips[..., 4:] = 102, 153  # .4 and .6: no clipping at light .2
    out = transforms.vary(clips, generator(), size=8, frames=3, shift=0, flip=False, light=0.2)
    dark, bright = out[..., :4].flatten(1), out[..., 4:].flatten(1)
    assert float(dark.std(1).max()) < 1e-6
    assert float(bright.std(1).max()) < 1e-6
    gain = (bright - dark).mean(1) / 0.2
    lift = dark.mean(1) - 0.4 * gain
    assert 0.8 <= float(gain.min()) < 0.85 < 1.15 < float(gain.max()) <= 1.2
    assert -0.1 <= float(lift.min()) < -0.07 < 0.07 < float(lift.max()) <= 0.1
    assert abs(float(torch.corrcoef(torch.stack([gain, lift]))[0, 1])) < 0.5


def test_light_stays_in_range():
    clips = torch.randint(0, 2, (30, 1, 3, 8, 8), dtype=torch.uint8) * 255
    out = transforms.vary(clips, generator(), size=8, frames=1, light=0.9)
    assert float(out.min()) == 0.0
    assert float(out.max()) == 1.0


@pytest.mark.parametrize(
    ("t", "h", "w", "frames", "expected"),
    [
        (4, 8, 8, 4, (list(range(8)), list(range(8)), [0, 1, 2, 3])),
        (8, 12, 20, 2, (list(range(6, 14)), list(range(2, 10)), [3, 4])),
        (5, 9, 11, 2, (list(range(1, 9)), list(range(8)), [1, 2])),
    ],
)
def test_centre_is_the_middle(t: int, h: int, w: int, frames: int, expected: tuple):
    out = transforms.centre(places(2, t, h, w), size=8, frames=frames)
    assert out.shape == (2, frames, 3, 8, 8)
    assert read(out[0]) == read(out[1]) == expected


def test_to_unit_spans_zero_to_one_and_keeps_the_shape():
    levels = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    for given in (levels, torch.from_numpy(levels.copy()), levels[:, ::-1]):
        out = transforms.to_unit(given)
        assert out.dtype == torch.float32
        assert out.shape == (4, 8, 8)
        expected = torch.from_numpy(np.asarray(given).astype(np.float32) / np.float32(255))
        assert torch.equal(out, expected)
    assert levels[0, 0, 1] == 1  # the bytes themselves are as they were


def test_to_unit_of_a_file_that_may_only_be_read():
    """A release is a read-only memory map; the copy that is divided is our own."""
    locked = np.full((1, 2, 2), 255, np.uint8)
    locked.flags.writeable = False
    assert transforms.to_unit(locked).tolist() == [[[1.0, 1.0], [1.0, 1.0]]]


def marked(b: int, t: int) -> Tensor:
    """(B, T, 3, 8, 8): frame k of clip i is bright in row k, columns i % 4 and 7 - i % 4.

    No mirror, gain or lift can hide which frame of which clip it was.
    """
    clips = torch.full((b, t, 3, 8, 8), 50, dtype=torch.uint8)
    for i in range(b):
        for k in range(t):
            clips[i, k, :, k, i % 4] = clips[i, k, :, k, 7 - i % 4] = 200
    return clips


@pytest.mark.parametrize(
    ("t", "early", "late"),
    [
        (2, {0}, {1}),
        (5, {0, 1}, {3, 4}),
        (8, {0, 1, 2, 3}, {4, 5, 6, 7}),
    ],
)
def test_two_views_are_frames_of_the_two_halves_of_one_clip(t: int, early: set, late: set):
    """Every frame of each half is drawn, none of the other, and row i of both is clip i."""
    pairs = transforms.two_views(marked(80, t), generator(), size=8, shift=0)
    for view, expected in zip(pairs, (early, late), strict=True):
        assert view.shape == (80, 3, 8, 8)
        brightest = view.mean(1).flatten(1).argmax(1)
        rows, columns = brightest // 8, brightest % 8
        assert set(rows.tolist()) == expected
        assert torch.equal(columns.minimum(7 - columns), torch.arange(80) % 4)


def test_two_views_have_their_own_light():
    """Gain and lift of both views are drawn apart."""
    first, second = transforms.two_views(marked(200, 2), generator(), size=8, shift=0)
    first, second = first.mean((1, 2, 3)), second.mean((1, 2, 3))
    assert float(first.std()) > 0.01
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 0.2


def test_two_views_cut_their_own_windows():
    clips = places(50, 4, 8, 8)
    first, second = transforms.two_views(clips, generator(), size=8)
    lines = zip(first[:, 0, 0], second[:, 0, 0], strict=True)
    directions = [(bool(a[0] > a[-1]), bool(b[0] > b[-1])) for a, b in lines]
    assert set(directions) == {(False, False), (False, True), (True, False), (True, True)}


def test_two_views_of_a_still():
    """One frame has no halves: both views show it."""
    first, second = transforms.two_views(places(2, 1, 8, 8), generator(), size=8)
    assert first.shape == second.shape == (2, 3, 8, 8)


# Standardising


def test_standardise_by_hand():
    """One pixel at .2, .4, .4, .6: mean .4, variance .02; the floor is half a level of 255."""
    clips = torch.tensor([[0.2, 0.4], [0.4, 0.6]]).view(2, 2, 1, 1, 1)
    out = transforms.standardise(clips).flatten()
    scale = 0.2 / (0.02 + (0.5 / 255) ** 2) ** 0.5
    expected = [0.5 - 0.2 * scale, 0.5, 0.5, 0.5 + 0.2 * scale]
    assert out.tolist() == pytest.approx(expected, abs=1e-5)


def test_the_floor_of_standardise_is_in_levels():
    clips = torch.tensor([[0.2, 0.4], [0.4, 0.6]]).view(2, 2, 1, 1, 1)
    out = transforms.standardise(clips, floor=51.0).flatten()  # 51 / 255 = .2
    scale = 0.2 / (0.02 + 0.04) ** 0.5
    expected = [0.5 - 0.2 * scale, 0.5, 0.5, 0.5 + 0.2 * scale]
    assert out.tolist() == pytest.approx(expected, abs=1e-5)


def test_standardise_looks_at_each_pixel_alone_over_clips_and_frames():
    clips = torch.rand(3, 4, 3, 5, 6, generator=generator())
    out = transforms.standardise(clips)
    for c in range(3):
        for y in range(5):
            for x in range(6):
                pixel = clips[:, :, c, y, x].double()
                spread = (pixel.var(correction=0) + (0.5 / 255) ** 2).sqrt()
                expected = 0.5 + 0.2 * (pixel - pixel.mean()) / spread
                torch.testing.assert_close(out[:, :, c, y, x], expected.float(), atol=1e-5, rtol=0)


def test_standardise_sees_through_a_fixed_pattern():
    """A pattern over everybody, with people a tenth as strong on top, hides nothing."""
    clips = torch.rand(4, 3, 3, 8, 8, generator=generator())
    pattern = torch.rand(3, 8, 8, generator=generator(1))
    covered = 0.9 * pattern + 0.1 * clips
    plain, seen = transforms.standardise(clips), transforms.standardise(covered)
    torch.testing.assert_close(seen, plain, atol=0.02, rtol=0.02)


def test_standardise_of_a_constant_is_grey_with_a_finite_slope():
    """Where nothing varies there is nothing to stretch: rounding must not become a picture."""
    clips = torch.full((2, 2, 3, 4, 4), 0.3, requires_grad=True)
    out = transforms.standardise(clips)
    torch.testing.assert_close(out, torch.full_like(out, 0.5), atol=1e-4, rtol=0)
    (out * torch.rand(out.shape, generator=generator())).sum().backward()
    assert torch.isfinite(clips.grad).all()
    level = torch.zeros(2, 2, 1, 1, 1)
    level[0, 0] = 1e-6  # less than a byte can hold
    assert float((transforms.standardise(level) - 0.5).abs().max()) < 1e-3
