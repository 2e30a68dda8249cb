"""Training augmentation of real clips: by hand, against a second implementation, and in law."""

from __future__ import annotations

import colorsys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from velatura import transforms
from velatura.config import build, read_toml
from velatura.errors import BadInput
from velatura.transforms import Augment, centre_crop, photometric

NONE = Augment(
    crop_min=1.0,
    flip=0.0,
    p_contrast=0.0,
    p_hue=0.0,
    p_saturation=0.0,
    p_brightness=0.0,
    p_grey=0.0,
    p_gamma=0.0,
    p_erase=0.0,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(b: int, t: int, h: int, w: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (b, t, 3, h, w), dtype=torch.uint8, generator=generator(seed))


def pixel(*rgb: float) -> Tensor:
    """(1, 1, 3, 1, 1)"""
    return torch.tensor(rgb).view(1, 1, 3, 1, 1)


def amount(value: float) -> Tensor:
    return torch.tensor(value).view(1, 1, 1, 1, 1)


def near(got: Tensor, *rgb: float) -> None:
    assert got.flatten().tolist() == pytest.approx(rgb, abs=1e-6)


# Each change by hand


def test_contrast_by_hand():
    """Brightness .299 * .5 + .587 * .2 + .114 * 1 = .3809; the mean of it and of 0 is .19045."""
    clip = torch.cat([pixel(0.5, 0.2, 1.0), pixel(0, 0, 0)], dim=1)
    got = transforms.adjust_contrast(clip, amount(1.1))
    near(got[:, 0], *(0.19045 + 1.1 * (v - 0.19045) for v in (0.5, 0.2, 1.0)))
    near(got[:, 1], *[0.19045 - 1.1 * 0.19045] * 3)


def test_saturation_by_hand():
    got = transforms.adjust_saturation(pixel(0.5, 0.2, 1.0), amount(0.9))
    near(got, *(0.3809 + 0.9 * (v - 0.3809) for v in (0.5, 0.2, 1.0)))
    near(transforms.adjust_saturation(pixel(0.5, 0.2, 1.0), amount(0.0)), 0.3809, 0.3809, 0.3809)


def test_brightness_and_gamma_by_hand():
    near(transforms.adjust_brightness(pixel(0.5, 0.2, 0.8), amount(1.1)), 0.55, 0.22, 0.88)
    near(transforms.adjust_gamma(pixel(0.25, 0.0, 1.0), amount(0.5)), 0.5, 0.0, 1.0)


@pytest.mark.parametrize(
    ("rgb", "turns", "expected"),
    [
        ((1, 0, 0), 1 / 3, (0, 1, 0)),
        ((0, 1, 0), 1 / 3, (0, 0, 1)),
        ((1, 0, 0), 1 / 6, (1, 1, 0)),
        ((1, 0, 0), -1 / 6, (1, 0, 1)),
        ((0.4, 0.4, 0.4), 0.3, (0.4, 0.4, 0.4)),
        ((0, 0, 0), 0.3, (0, 0, 0)),
        ((0.8, 0.2, 0.2), 0.5, (0.2, 0.8, 0.8)),
    ],
)
def test_hue_by_hand(rgb, turns, expected):
    near(transforms.shift_hue(pixel(*map(float, rgb)), amount(turns)), *map(float, expected))


def test_hue_equals_the_standard_library():
    rgb = torch.rand(1, 1, 3, 20, 20, generator=generator())
    for turns in (-0.4, -0.05, 0.0, 0.05, 0.3):
        got = transforms.shift_hue(rgb, amount(turns))
        for y, x in ((0, 0), (3, 7), (11, 19), (19, 2), (8, 8)):
            h, s, v = colorsys.rgb_to_hsv(*rgb[0, 0, :, y, x].tolist())
            expected = colorsys.hsv_to_rgb((h + turns) % 1, s, v)
            assert got[0, 0, :, y, x].tolist() == pytest.approx(expected, abs=1e-5)


# Crops


@pytest.mark.parametrize(("h", "w", "size"), [(30, 40, 16), (16, 16, 16), (12, 20, 24)])
def test_with_nothing_to_do_it_only_scales(h, w, size):
    clips = noise(3, 2, h, w)
    out = photometric(clips, generator(), NONE, size)
    frames = clips.flatten(0, 1).float() / 255
    expected = interpolate(frames, (size, size), mode="bilinear", antialias=True)
    level = 1.01 / 255  # it scales bytes
    torch.testing.assert_close(out.flatten(0, 1), expected.clamp(0, 1), atol=level, rtol=0)
    if h == w == size:
        assert torch.equal(out, clips.float() / 255)


def ramp(b: int, h: int, w: int) -> Tensor:
    """Red is the column and green the row, so that a crop can be read back."""
    clips = torch.zeros(b, 1, 3, h, w, dtype=torch.uint8)
    clips[:, :, 0] = torch.arange(w, dtype=torch.uint8)
    clips[:, :, 1] = torch.arange(h, dtype=torch.uint8)[:, None]
    return clips


def crop_of(clip: Tensor, size: int) -> tuple[float, float, float, float]:
    """Top, left, height and width of a crop of a ramp, from its slope and its middle."""
    columns, rows = clip[0, 0].mean(0) * 255, clip[0, 1].mean(1) * 255
    inner = slice(size // 8, size - size // 8)
    at = torch.arange(size)[inner] - (size - 1) / 2
    width, height = (
        float((at * line[inner]).sum() / at.square().sum()) * size for line in (columns, rows)
    )
    left = float(columns.mean()) + 0.5 - width / 2
    top = float(rows.mean()) + 0.5 - height / 2
    return top, left, height, width


@pytest.mark.parametrize("keep_aspect", [False, True])
def test_crops_have_the_right_shape_and_stay_inside(keep_aspect):
    """The paper's keep the picture's 4 : 3 and are squashed; the others are squares."""
    cfg = replace(NONE, crop_min=0.6, keep_aspect=keep_aspect)
    out = photometric(ramp(300, 120, 160), generator(), cfg, 32)
    boxes = [crop_of(clip, 32) for clip in out]
    parts = [height / 120 for _, _, height, _ in boxes]
    for top, left, height, width in boxes:
        assert width == pytest.approx(height if keep_aspect else height * 4 / 3, abs=3)
        assert -0.6 <= top <= 120 - height + 0.6
        assert -0.6 <= left <= 160 - width + 0.6
    assert 0.59 < min(parts) < 0.63
    assert 0.97 < max(parts) < 1.01
    assert sum(parts) / 300 == pytest.approx(0.8, abs=0.03)  # uniform
    # Over all that fit, from one edge to the other.
    small = [box for box, part in zip(boxes, parts, strict=True) if part < 0.9]
    loose = [(top / (120 - height), left / (160 - width)) for top, left, height, width in small]
    for values in zip(*loose, strict=True):
        assert min(values) < 0.05
        assert max(values) > 0.95
        assert sum(values) / len(values) == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize(
    ("factor", "keep_aspect", "expected"),
    [
        (0.8, False, (12, 16, 96, 128)),
        (0.8, True, (12, 32, 96, 96)),
        (1.0, False, (0, 0, 120, 160)),
    ],
)
def test_centre_crop(factor, keep_aspect, expected):
    out = centre_crop(ramp(2, 120, 160), factor=factor, size=32, keep_aspect=keep_aspect)
    assert out.shape == (2, 1, 3, 32, 32)
    assert crop_of(out[1], 32) == pytest.approx(expected, abs=0.6)
    assert torch.equal(out[0], out[1])


def test_centre_crop_of_the_crops_own_size_is_a_slice():
    clips = noise(2, 3, 20, 20)
    out = centre_crop(clips, factor=0.8, size=16)
    assert torch.equal(out, clips[..., 2:18, 2:18].float() / 255)


@pytest.mark.parametrize("factor", [0.0, 1.1, -0.5])
def test_a_factor_out_of_range(factor):
    with pytest.raises(BadInput, match="more than 0 and at most all"):
        centre_crop(noise(1, 1, 8, 8), factor=factor, size=8)


# One draw for each clip


ALL = Augment(
    p_contrast=1.0, p_hue=1.0, p_saturation=1.0, p_brightness=1.0, p_grey=0.3, p_erase=1.0
)


def test_every_frame_of_a_clip_is_treated_alike():
    still = noise(6, 1, 24, 32).expand(6, 5, 3, 24, 32)
    out = photometric(still, generator(), ALL, 16)
    assert torch.equal(out, out[:, :1].expand_as(out))
    assert not torch.equal(out[0], out[1])


def test_a_frame_changes_no_other_frame_but_through_contrast():
    clips = noise(4, 3, 24, 32)
    other = clips.clone()
    other[:, 2] = 0
    cfg = replace(ALL, p_contrast=0.0)
    one, two = (photometric(c, generator(), cfg, 16) for c in (clips, other))
    assert torch.equal(one[:, :2], two[:, :2])


def test_a_clip_does_not_depend_on_its_neighbours():
    clips = noise(4, 2, 24, 32)
    other = clips.clone()
    other[1:] = 0
    one, two = (photometric(c, generator(), ALL, 16) for c in (clips, other))
    assert torch.equal(one[0], two[0])


def test_it_follows_its_generator_alone_and_draws_as_often_whatever_it_does():
    clips, after = noise(5, 2, 20, 20), []
    for cfg in (NONE, ALL, Augment(), Augment(keep_aspect=True)):
        torch.manual_seed(int(torch.randint(1000, ())))
        draw = generator(3)
        first = photometric(clips, draw, cfg, 16)
        after.append(torch.rand(3, generator=draw))
        assert torch.equal(first, photometric(clips, generator(3), cfg, 16))
    assert all(torch.equal(after[0], other) for other in after)


def test_the_bytes_stay_as_they_were():
    clips = noise(3, 2, 16, 16)
    before = clips.clone()
    photometric(clips, generator(), ALL, 16)
    assert torch.equal(clips, before)


def test_the_range_is_kept_at_the_strongest():
    cfg = Augment(contrast=0.99, hue=0.5, saturation=0.99, brightness=0.99, gamma=0.99, p_grey=0.5)
    cfg = replace(cfg, p_contrast=1.0, p_hue=1.0, p_saturation=1.0, p_brightness=1.0, p_gamma=1.0)
    clips = noise(40, 2, 20, 24)
    clips[20:] = (clips[20:] > 127) * 255
    out = photometric(clips, generator(), cfg, 16)
    assert torch.isfinite(out).all()
    assert float(out.min()) >= 0
    assert float(out.max()) <= 1


def test_red_stays_red():
    """At the paper's strengths no colour becomes another one, unless all colour goes."""
    clips = torch.zeros(200, 1, 3, 12, 12, dtype=torch.uint8)
    clips[:, :, 0], clips[:, :, 1:] = 200, 40
    out = photometric(clips, generator(), replace(ALL, p_grey=0.0, p_erase=0.0), 12)
    red, green, blue = out.unbind(2)
    assert bool(((red > green + 0.25) & (red > blue + 0.25)).all())


# How often, and how much


def changed(cfg: Augment, clips: Tensor, size: int) -> float:
    """The share of clips that come out different."""
    plain = photometric(clips, generator(), NONE, size)
    out = photometric(clips, generator(), cfg, size)
    return float((out - plain).abs().flatten(1).amax(1).gt(1e-4).float().mean())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("p_contrast", 1 - (1 - 0.0625) ** 2),
        ("p_hue", 0.15),
        ("p_saturation", 0.15),
        ("p_brightness", 0.15),
        ("p_grey", 0.1),
        ("flip", 0.5),
        ("p_erase", 1 - 0.6**2),
    ],
)
def test_the_papers_chances(name, expected):
    cfg = replace(NONE, **{name: getattr(Augment(), name)})
    assert changed(cfg, noise(2000, 1, 12, 12), 12) == pytest.approx(expected, abs=0.035)


def test_gamma_comes_with_grey_alone():
    clips = noise(1500, 1, 8, 8)
    assert changed(replace(NONE, p_gamma=1.0), clips, 8) == 0
    grey = photometric(clips, generator(), replace(NONE, p_grey=1.0), 8)
    bent = photometric(clips, generator(), replace(NONE, p_grey=1.0, p_gamma=0.75), 8)
    share = (grey - bent).abs().flatten(1).amax(1).gt(1e-4).float().mean()
    assert float(share) == pytest.approx(0.75, abs=0.04)
    assert torch.equal(bent[:, :, 0], bent[:, :, 1])  # no colour came back


def test_the_papers_strengths():
    """Of one grey level, .5: brightness .45 ... .55; two levels tell contrast."""
    clips = torch.full((800, 1, 3, 4, 4), 128, dtype=torch.uint8)
    level = photometric(clips, generator(), replace(NONE, p_brightness=1.0), 4)[:, 0, 0, 0, 0]
    level = level / (128 / 255)
    assert 0.9 <= float(level.min()) < 0.905
    assert 1.095 < float(level.max()) <= 1.1
    clips[..., :2] = 64
    out = photometric(clips, generator(), replace(NONE, p_contrast=1.0), 4)[:, 0, 0, 0]
    gain = (out[:, 3] - out[:, 0]) / (64 / 255)  # two changes of .9 ... 1.1
    assert 0.81 <= float(gain.min()) < 0.83
    assert 1.19 < float(gain.max()) <= 1.21 + 1e-5
    clips[:] = 64
    cfg = replace(NONE, p_grey=1.0, p_gamma=1.0)
    level = photometric(clips, generator(), cfg, 4)[:, 0, 0, 0, 0]
    power = level.log() / torch.tensor(64 / 255).log()
    assert 0.85 - 1e-4 <= float(power.min()) < 0.86
    assert 1.14 < float(power.max()) <= 1.15 + 1e-4


def test_boxes_are_black_and_as_large_as_the_paper_says():
    """Of a 60 x 80 picture scaled to 30: 5 to 10 high and 6.7 to 13.3 wide, where whole."""
    white = torch.full((600, 1, 3, 60, 80), 255, dtype=torch.uint8)
    out = photometric(white, generator(), replace(NONE, p_erase=0.2), 30)
    assert bool(((out == 0) | (out > 0.9999)).all())
    heights, widths, corners = [], [], []
    for clip in out[:, 0, 0]:
        black = clip == 0
        rows, columns = black.any(1).nonzero()[:, 0], black.any(0).nonzero()[:, 0]
        if not len(rows):
            continue
        top, bottom, left, right = rows[0], rows[-1], columns[0], columns[-1]
        corners.append((int(top), int(left)))
        whole = bool(black[top : bottom + 1, left : right + 1].all())  # one box, not two
        if whole and bottom < 29 and right < 29:
            heights.append(int(bottom - top + 1))
            widths.append(int(right - left + 1))
    assert (min(heights), max(heights)) == (5, 10)
    assert (min(widths), max(widths)) == (7, 13)
    assert {top < 8 for top, _ in corners} == {left < 8 for _, left in corners} == {True, False}
    assert max(top for top, _ in corners) > 25  # over the edge


# A second implementation


def naive(clips: Tensor, seed: int, cfg: Augment, size: int) -> Tensor:
    """Clip by clip and pixel by pixel, from the same draws; contrast from the clip's mean."""
    b, t, _, h, w = clips.shape
    draws = torch.rand(b, 27, generator=generator(seed)).tolist()
    out = []
    for clip, u in zip(clips, draws, strict=True):
        part = cfg.crop_min + (cfg.crop_max - cfg.crop_min) * u[0]
        tall, wide = (min(h, w), min(h, w)) if cfg.keep_aspect else (h, w)
        tall, wide = round(part * tall), round(part * wide)
        top, left = int(u[1] * (h - tall + 1)), int(u[2] * (w - wide + 1))
        cut = clip[:, :, top : top + tall, left : left + wide]
        cut = interpolate(cut, (size, size), mode="bilinear", antialias=True).float() / 255
        pixels = cut.permute(0, 2, 3, 1).double().reshape(-1, 3).tolist()

        def grey(p):
            return 0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2]

        def clamp(p):
            return [min(max(v, 0.0), 1.0) for v in p]

        def strength(draw, most):
            return most * (2 * draw - 1)

        for at in (3, 5):
            if u[at] < cfg.p_contrast:
                f = 1 + strength(u[at + 1], cfg.contrast)
                mean = sum(map(grey, pixels)) / len(pixels)
                pixels = [clamp([mean + f * (v - mean) for v in p]) for p in pixels]
        if u[7] < cfg.p_hue:
            f = strength(u[8], cfg.hue)
            hsv = [colorsys.rgb_to_hsv(*p) for p in pixels]
            pixels = [list(colorsys.hsv_to_rgb((hue + f) % 1, s, v)) for hue, s, v in hsv]
        if u[9] < cfg.p_saturation:
            f = 1 + strength(u[10], cfg.saturation)
            pixels = [clamp([grey(p) + f * (v - grey(p)) for v in p]) for p in pixels]
        if u[11] < cfg.p_brightness:
            f = 1 + strength(u[12], cfg.brightness)
            pixels = [clamp([f * v for v in p]) for p in pixels]
        if u[13] < cfg.p_grey:
            pixels = [[grey(p)] * 3 for p in pixels]
            if u[14] < cfg.p_gamma:
                f = 1 + strength(u[15], cfg.gamma)
                pixels = [[v**f for v in p] for p in pixels]
        image = torch.tensor(pixels).view(t, size, size, 3)
        if u[16] < cfg.flip:
            image = image.flip(2)
        for at in (17, 22):
            if u[at] < cfg.p_erase:
                more = cfg.erase_max - cfg.erase_min
                tall = round((cfg.erase_min + more * u[at + 1]) * h * size / min(h, w))
                wide = round((cfg.erase_min + more * u[at + 2]) * w * size / min(h, w))
                top, left = int(u[at + 3] * size), int(u[at + 4] * size)
                image[:, top : top + tall, left : left + wide] = 0
        out.append(image.permute(0, 3, 1, 2))
    return torch.stack(out).float()


@pytest.mark.parametrize("keep_aspect", [False, True])
@pytest.mark.parametrize("cfg", [Augment(), ALL, replace(ALL, p_hue=0.5, p_grey=0.6, p_erase=0.5)])
def test_it_equals_the_naive_one(cfg, keep_aspect):
    cfg = replace(cfg, keep_aspect=keep_aspect)
    clips = noise(24, 2, 18, 24, seed=5)
    torch.testing.assert_close(
        photometric(clips, generator(7), cfg, 12), naive(clips, 7, cfg, 12), atol=2e-5, rtol=0
    )


def test_the_box_of_the_released_loader_of_photographs():
    """At most one, 9 to 18 of 224 pixels either way, in a quarter of them, whatever their shape."""
    run = read_toml(Path(__file__).parents[1] / "experiments/protocols/k1.toml")
    cfg = replace(build(Augment, run["batches"]["images"]), crop_min=1.0, p_contrast=0.0,
                  p_hue=0.0, p_saturation=0.0, p_brightness=0.0, p_grey=0.0)  # fmt: skip
    white = torch.full((1, 1, 3, 6, 8), 255, dtype=torch.uint8)
    sides, erased = set(), 0
    for seed in range(400):
        black = photometric(white, generator(seed), cfg, 224)[0, 0, 0] == 0
        rows, columns = black.any(1).nonzero()[:, 0], black.any(0).nonzero()[:, 0]
        erased += len(rows) > 0
        if len(rows) and int(rows[-1]) < 223 and int(columns[-1]) < 223:  # not over the edge
            assert int(black.sum()) == len(rows) * len(columns)  # one box
            sides |= {len(rows), len(columns)}
    assert sides == set(range(9, 19))
    assert 70 <= erased <= 130  # 100, give or take 3.5 standard deviations
    both = replace(cfg, boxes=2, p_erase=1.0)
    assert not torch.equal(
        photometric(white, generator(1), both, 224),
        photometric(white, generator(1), replace(both, boxes=1), 224),
    )


# Configuration


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"crop_min": 0.0}, "crop_min: Input should be greater than 0"),
        ({"flip": 1.5}, "flip: Input should be less than or equal to 1"),
        ({"hue": 0.6}, "hue: "),
        ({"crop_min": 0.9, "crop_max": 0.7}, "crop_min 0.9 is more than crop_max"),
        ({"erase_min": 0.5}, "erase_min 0.5 is more than erase_max"),
        ({"p_gray": 0.5}, "Did you mean p_grey"),
    ],
)
def test_wrong_values(values, message):
    with pytest.raises(BadInput, match=message):
        build(Augment, values)
