"""The generated people: labels in closed form, pixels by invariances, files by breaking them."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
from pathlib import Path

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2")

from velatura.config import cache_folder  # noqa: E402
from velatura.data import people  # noqa: E402
from velatura.data._people import body, cache, census, motion, puppet, scene, shape  # noqa: E402
from velatura.errors import BadInput  # noqa: E402

CFG = people.Config(
    train_people=6, train_clips=2, val_people=3, val_clips=2, test_people=5, test_clips=2
)
DEFAULT = people.Config()
SPLITS = ("train", "val", "test")


def labels(cfg: people.Config, split: str = "train") -> census.Labels:
    counts = getattr(cfg, f"{split}_people"), getattr(cfg, f"{split}_clips")
    return census.deal(cfg.seed, split, *counts, cfg.correlation, cfg.correlated)


def vars_of(cfg: people.Config) -> dict[str, object]:
    return {field.name: getattr(cfg, field.name) for field in dataclasses.fields(cfg)}


def with_cache(root: Path, **changes: object) -> people.Config:
    """A tiny world, quick to draw; 24 pixels, 3 frames."""
    tiny = {"cache": str(root), "size": 24, "frames": 3}
    return people.Config(**{**vars_of(CFG), **tiny, **changes})


def scene_of(split: str, index: int, **changes: int) -> scene.Scene:
    """The scene of a clip of DEFAULT, some attributes changed."""
    dealt = labels(DEFAULT, split)
    attributes = dealt.attributes[index].copy()
    for name, value in changes.items():
        attributes[people.ATTRIBUTES.index(name)] = value
    number = int(dealt.people[index]) % census.SPLIT_STRIDE
    action = people.ACTIONS[dealt.actions[index]]
    return scene.draw_scene(0, split, index, 8, action, attributes, number)


def drawn(one: scene.Scene, size: int = 48):
    from velatura.data._people.draw import draw

    return draw(one, size, labels=True)


# --- labels: counted, nothing rendered ---------------------------------------------------


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_label_is_balanced(split):
    dealt = labels(DEFAULT, split)
    count = len(dealt.actions)
    assert (np.bincount(dealt.actions) == count / 10).all()
    shares = dealt.attributes.mean(0)
    face = np.char.startswith(people.ATTRIBUTES, "face")
    np.testing.assert_allclose(shares[~face], 0.5, atol=0)
    np.testing.assert_allclose(shares[face], 0.4, atol=0)


def test_face_is_never_both_complete_and_partial():
    attributes = labels(DEFAULT).attributes
    complete, partial = (people.ATTRIBUTES.index(f"face_{s}") for s in ("complete", "partial"))
    assert not (attributes[:, complete] & attributes[:, partial]).any()


def test_attributes_are_independent_of_the_action_and_of_each_other():
    dealt = labels(DEFAULT)
    for action in range(10):
        inside = dealt.attributes[dealt.actions == action]
        expected = people.action_floor(DEFAULT)[action] * len(inside)
        gap = dict(zip(people.ATTRIBUTES, np.abs(inside.sum(0) - expected), strict=True))
        assert max(gap.values()) <= 4  # of 240, where chance alone would give 20
    for a in range(9):
        for b in range(a):
            if {a, b} == {2, 3}:
                continue  # the face pair excludes each other
            assert chi_square(dealt.attributes[:, a], dealt.attributes[:, b]) < 10.8  # p = .001


def chi_square(a: np.ndarray, b: np.ndarray) -> float:
    table = np.histogram2d(a, b, bins=(np.unique(a).size, np.unique(b).size))[0]
    expected = np.outer(table.sum(1), table.sum(0)) / table.sum()
    return float(((table - expected) ** 2 / expected).sum())


def test_no_person_stands_in_two_splits_and_each_keeps_their_traits():
    sets = [labels(DEFAULT, split) for split in SPLITS]
    for a in range(3):
        for b in range(a):
            assert not set(sets[a].people) & set(sets[b].people)
    for dealt in sets:
        for name in census.OF_PERSON:
            column = dealt.attributes[:, people.ATTRIBUTES.index(name)]
            kept = [np.unique(column[dealt.people == p]).size for p in np.unique(dealt.people)]
            assert set(kept) == {1}


def test_the_same_number_is_another_person_in_another_split():
    train, test = (scene.draw_person(0, split, 4, 1, 1, 0) for split in ("train", "test"))
    assert train.build != test.build
    assert scene.draw_person(0, "train", 4, 1, 1, 0).build == train.build


@pytest.mark.parametrize("name", ["skin_tone", "shirt"])
@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_action_floor_equals_the_counts(name, strength):
    cfg = people.Config(correlation=strength, correlated=name)
    dealt, floor = labels(cfg), people.action_floor(cfg)
    column = people.ATTRIBUTES.index(name)
    counted = np.array([dealt.attributes[dealt.actions == a, column].mean() for a in range(10)])
    np.testing.assert_allclose(counted, floor[:, column], atol=0.09)  # 240 clips an action
    odd = dealt.actions % 2 == 1  # over five actions the swap is exact
    assert dealt.attributes[odd, column].mean() == pytest.approx(0.5 + strength / 2, abs=0.01)
    assert dealt.attributes[:, column].mean() == pytest.approx(0.5)
    assert (np.bincount(dealt.actions) == 240).all()
    others = [k for k in range(9) if k not in (column, 2, 3)]
    np.testing.assert_array_equal(floor[:, others], 0.5)


def test_faces_cannot_be_correlated_and_odd_values_are_refused():
    with pytest.raises(ValueError, match="correlated"):
        people.Config(correlated="face_partial")
    with pytest.raises(ValueError, match="correlation"):
        people.Config(correlation=1.5)
    with pytest.raises(ValueError, match="tempo"):
        people.Config(tempo=2)
    with pytest.raises(BadInput, match="0 to 11; got index 12"):
        people.figure(CFG, "train", 12)


# --- motion ------------------------------------------------------------------------------


@pytest.mark.parametrize(("down", "up"), motion.REVERSED.items())
def test_reversed_actions_are_the_same_film_backwards(down, up):
    one = scene_of("train", 3).actor
    still = np.zeros((8, 2))
    shade = shape.shading(1, 4, np.array([0.0, -1.0]))
    forth, back = (
        puppet.puppet(one._replace(action=a), 0.1, still, shade, False).keypoints
        for a in (up, down)
    )
    np.testing.assert_allclose(back, forth[::-1], atol=1e-9)
    assert np.abs(back - forth).max() > 0.05  # and not the same film


@pytest.mark.parametrize("action", people.ACTIONS)
def test_every_action_keeps_bones_rigid_and_one_foot_down(action):
    rng = np.random.default_rng(5)
    build, style = body.draw_build(True, rng), motion.draw_style(rng)
    pose = motion.pose(action, motion.draw_manner(rng), style, np.linspace(0, 1, 8))
    joints = body.skeleton(build, pose)
    for a, b, length in (
        (joints.shoulders, joints.elbows, build.upper),
        (joints.elbows, joints.wrists, build.fore),
        (joints.hips, joints.knees, build.thigh),
        (joints.knees, joints.ankles, build.shin),
    ):
        np.testing.assert_allclose(np.linalg.norm(a - b, axis=-1), length, atol=1e-9)
    np.testing.assert_allclose(joints.ankles[..., 1].min(1) - pose.hop, 0.045, atol=1e-9)


def test_sitting_feet_stay_where_they_are():
    rng = np.random.default_rng(1)
    build, style = body.draw_build(False, rng), motion.draw_style(rng)
    pose = motion.pose("sit_down", motion.draw_manner(rng), style, np.linspace(0, 1, 8))
    ankles = body.skeleton(build, pose).ankles
    assert np.ptp(ankles[..., 2].mean(1)) < 1e-9
    assert np.ptp(body.skeleton(build, pose).pelvis[:, 1]) > 0.15


# --- pixels ------------------------------------------------------------------------------


def test_a_clip_depends_on_seed_split_and_index_alone():
    first = people.figure(CFG, "train", 5).clip
    people.figure(CFG, "test", 2)
    people.figure(CFG, "train", 9, size=64)
    np.testing.assert_array_equal(people.figure(CFG, "train", 5).clip, first)
    other = people.Config(**{**vars_of(CFG), "seed": 1})
    assert (people.figure(other, "train", 5).clip != first).mean() > 0.5
    assert (people.figure(CFG, "train", 6).clip != first).mean() > 0.5


def test_one_scene_at_any_size():
    scenes = (scene_of("train", index) for index in range(40))
    sliding = [one for one in scenes if abs(one.slide[-1, 0] - one.slide[0, 0]) > 0.25]
    for one in sliding[:4]:
        small, large = drawn(one, 48), drawn(one, 192)
        shrunk = [cv2.resize(f, (48, 48), interpolation=cv2.INTER_AREA) for f in large.clip]
        pair = [np.asarray(frames).astype(float) for frames in (shrunk, small.clip)]
        assert np.corrcoef([p.ravel() for p in pair])[0, 1] > 0.93
        behind = ~(small.mask | small.others).any(0)
        moved = [(p[7] - p[0])[behind].ravel() for p in pair]  # the room alone
        assert np.corrcoef(moved)[0, 1] > 0.85
        np.testing.assert_allclose(
            large.keypoints[..., :2] / 4, small.keypoints[..., :2], atol=1e-6
        )
        coarse = large.mask.reshape(8, 48, 4, 48, 4).mean((2, 4)) >= 0.5
        assert (coarse & small.mask).sum() / (coarse | small.mask).sum() > 0.85


def test_boxes_are_the_tightest_around_the_mask():
    for index in range(6):
        shown = people.figure(CFG, "train", index)
        for mask, (x0, y0, x1, y1) in zip(shown.mask, shown.boxes, strict=True):
            inside = np.zeros_like(mask)
            inside[int(y0) : int(y1), int(x0) : int(x1)] = True
            assert not (mask & ~inside).any()
            edges = mask[int(y0)], mask[int(y1) - 1], mask[:, int(x0)], mask[:, int(x1) - 1]
            assert all(edge.any() for edge in edges)


def test_visible_keypoints_lie_on_the_person():
    near, total, hidden = 0, 0, 0
    for index in range(12):
        shown = people.figure(CFG, "train", index, size=96)
        for mask, points in zip(shown.mask, shown.keypoints, strict=True):
            close = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8))
            for x, y, seen in points:
                total += seen == 2
                hidden += seen == 1
                near += seen == 2 and close[int(y), int(x)] > 0
    assert near == total > 500
    assert 0.05 < hidden / (hidden + total) < 0.6


def test_a_back_of_a_head_shows_no_eyes():
    for index in range(4):
        away = drawn(scene_of("train", index, face_complete=0, face_partial=0))
        assert (away.keypoints[:, :3, 2] < 2).all()
    facing = drawn(scene_of("train", 1, face_complete=1, face_partial=0, person_close=0))
    assert (facing.keypoints[:, :3, 2] == 2).mean() > 0.5


def test_left_is_the_persons_own_left():
    left, right = (people.KEYPOINTS.index(f"{side}_shoulder") for side in ("left", "right"))
    for index in range(4):
        facing = drawn(scene_of("train", index, face_complete=1, face_partial=0)).keypoints
        away = drawn(scene_of("train", index, face_complete=0, face_partial=0)).keypoints
        assert (facing[:, left, 0] > facing[:, right, 0]).mean() > 0.8
        assert (away[:, left, 0] < away[:, right, 0]).mean() > 0.8


def test_the_mask_has_neither_the_stool_nor_what_passes_in_front():
    for index in range(6):
        one = scene_of("train", index)
        painted = one._replace(
            stool=255.0 - one.stool,
            occluders=tuple(o._replace(colour=255.0 - o.colour) for o in one.occluders),
        )
        before, after = drawn(one), drawn(painted)
        change = np.abs(before.clip.astype(int) - after.clip.astype(int)).max(-1) > 40
        assert change.any()
        assert (change & before.mask).mean() < 0.15 * change.mean()  # soft edges only


def test_nobody_else_in_others_mask_unless_the_label_says_so():
    alone = drawn(scene_of("train", 2, person_close=0, person_distant=0))
    close = drawn(scene_of("train", 2, person_close=1, person_distant=0))
    distant = drawn(scene_of("train", 2, person_close=0, person_distant=1))
    assert not alone.others.any()
    assert close.others.mean() > 3 * distant.others.mean() > 0
    assert not (close.others & close.mask).any()


@pytest.mark.parametrize("name", ["skin_tone", "hair"])
def test_a_persons_colour_changes_that_person_alone(name):
    for index in range(5):
        dark, light = (drawn(scene_of("train", index, **{name: v})) for v in (0, 1))
        change = np.abs(dark.clip.astype(int) - light.clip.astype(int)).max(-1) > 12
        around = np.stack(
            [cv2.dilate(m.astype(np.uint8), np.ones((3, 3), np.uint8)) for m in dark.mask]
        ).astype(bool)
        assert change[around].mean() > 0.03
        assert not change[~around].any()


def test_skin_shows_on_bare_arms_and_hair_does_not():
    elbows = [people.KEYPOINTS.index(f"{side}_elbow") for side in ("left", "right")]
    changed = {"skin_tone": [], "hair": []}
    for index in range(6):
        for name, seen in changed.items():
            dark, light = (
                drawn(scene_of("train", index, bare_skin=1, **{name: v}), 96) for v in (0, 1)
            )
            gap = np.abs(dark.clip.astype(int) - light.clip.astype(int)).max(-1)
            for t, points in enumerate(dark.keypoints[:, elbows]):
                seen += [gap[t, int(y), int(x)] for x, y, v in points if v == 2]
    assert np.median(changed["skin_tone"]) > 50
    assert np.median(changed["hair"]) < 5


@pytest.mark.parametrize("name", people.ATTRIBUTES)
def test_every_attribute_shows(name):
    seen = []
    for index in range(4):
        pair = {name: 1}
        if name.startswith("face"):
            pair["face_partial" if name == "face_complete" else "face_complete"] = 0
        on = drawn(scene_of("train", index, **pair))
        off = drawn(scene_of("train", index, **{**pair, name: 0}))
        change = np.abs(on.clip.astype(int) - off.clip.astype(int)).max(-1) > 25
        seen.append(change.mean())
    assert np.median(seen) > 0.003


def head_turns_away(one: scene.Scene) -> float:
    """Radians between where the face looks and the camera."""
    angle = one.actor.yaw + one.actor.manner.gaze
    return float(np.abs(np.angle(np.exp(1j * angle))))


def test_faces_are_complete_partial_or_absent_as_labelled():
    covered = 0
    for index in range(40):
        complete = scene_of("train", index, face_complete=1, face_partial=0)
        partial = scene_of("train", index, face_complete=0, face_partial=1)
        absent = scene_of("train", index, face_complete=0, face_partial=0)
        assert complete.actor.outfit.cover is None is absent.actor.outfit.cover
        assert head_turns_away(complete) < 0.6
        assert head_turns_away(absent) > np.pi - 0.9
        if partial.actor.outfit.cover is None:
            assert 0.9 < head_turns_away(partial) < 1.7
        else:
            assert head_turns_away(partial) < 0.6
            covered += 1
    assert 10 < covered < 30


def test_position_and_room_move_too_much_for_a_fixed_mask_or_a_difference():
    scenes = [scene_of("train", i) for i in range(120)]
    assert np.std([s.actor.x for s in scenes]) == pytest.approx(0.4 / np.sqrt(12), rel=0.2)
    assert len({s.actor.x for s in scenes}) == len(scenes)
    speed = [(s.slide[-1, 0] - s.slide[0, 0]) * 48 / 7 for s in scenes]
    assert np.std(speed) == pytest.approx(1.6, rel=0.25)


# --- the cache ---------------------------------------------------------------------------


def test_workers_and_order_change_nothing(tmp_path):
    alone = people.load(with_cache(tmp_path / "a"), workers=1)
    several = people.load(with_cache(tmp_path / "b", train_people=36), workers=2)
    assert len(several.train) > cache.FEW  # so there was a pool
    lone = people.load(with_cache(tmp_path / "c", train_people=36), workers=1)
    np.testing.assert_array_equal(several.train.frames, lone.train.frames)
    np.testing.assert_array_equal(several.test.frames, alone.test.frames)
    shown = people.figure(with_cache(tmp_path), "val", 4)
    np.testing.assert_array_equal(alone.val.video(4).transpose(0, 2, 3, 1), shown.clip)
    assert alone.val.actions[4] == shown.action
    np.testing.assert_array_equal(alone.val.attributes[4], shown.attributes)


def test_shapes_names_and_progress(tmp_path):
    heard = []
    sets = people.load(with_cache(tmp_path), lambda *news: heard.append(news), workers=1)
    assert sets.train.frames.shape == (36, 3, 24, 24)
    assert sets.train.frames.dtype == np.uint8
    assert sets.test.attributes.shape == (10, 9)
    assert sets.val.name == "people/val"
    assert len({s.fingerprint for s in sets}) == 3
    assert heard[0][1:] == (0, 12)
    assert {done for _, done, total in heard if done == total} == {12, 6, 10}


def renders(cfg: people.Config) -> int:
    heard = []
    people.load(cfg, lambda *news: heard.append(news), workers=1)
    return len(heard)


def test_second_load_renders_nothing_and_another_seed_renders(tmp_path):
    assert renders(with_cache(tmp_path)) > 0
    assert renders(with_cache(tmp_path)) == 0
    assert renders(with_cache(tmp_path, seed=3)) > 0
    assert renders(with_cache(tmp_path, val_people=4)) == 2  # 0 of 8, 8 of 8: only that split


@pytest.mark.parametrize("how", ["truncate", "flip", "empty", "meta", "header"])
def test_damaged_files_are_rendered_anew(tmp_path, how):
    cfg = with_cache(tmp_path)
    intact = np.array(people.load(cfg, workers=1).val.frames)
    file = next(tmp_path.glob("people-val-*.npy"))
    data = bytearray(file.read_bytes())
    if how == "meta":
        file.with_suffix(".json").write_text('{"bytes": 12')
    elif how == "header":
        file.write_bytes(b"\0" * 128 + data[128:])
    elif how == "flip":
        data[5000] ^= 1
        file.write_bytes(data)
    else:
        file.write_bytes(data[: len(data) // 2] if how == "truncate" else b"")
    assert renders(cfg) == 2
    np.testing.assert_array_equal(people.load(cfg).val.frames, intact)


def test_an_interrupted_render_leaves_nothing_and_the_next_is_whole(tmp_path):
    cfg = with_cache(tmp_path)

    def stop(stage: str, done: int, total: int) -> None:
        if done and "val" in stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        people.load(cfg, stop, workers=1)
    names = sorted(p.name.split("-")[1] for p in tmp_path.iterdir())
    assert names == ["train", "train"]  # array and JSON of the split that was finished
    people.load(cfg, workers=1)
    assert len(list(tmp_path.iterdir())) == 6


def test_an_array_without_its_json_is_not_trusted(tmp_path):
    """Killed between the two renames: the array is there, nobody vouches for it."""
    cfg = with_cache(tmp_path)
    people.load(cfg, workers=1)
    next(tmp_path.glob("people-val-*.json")).unlink()
    assert renders(cfg) == 2


def _load_in_another_process(cfg: people.Config, start) -> None:
    start.wait()
    people.load(cfg, workers=1)


def test_two_processes_at_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(2)
    cfg = with_cache(tmp_path / "shared")
    racers = [context.Process(target=_load_in_another_process, args=(cfg, start)) for _ in range(2)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(60)
    assert [racer.exitcode for racer in racers] == [0, 0]
    assert renders(cfg) == 0
    lone = people.load(with_cache(tmp_path / "lone"), workers=1)
    np.testing.assert_array_equal(people.load(cfg).train.frames, lone.train.frames)
    assert not list((tmp_path / "shared").glob("*.tmp"))


def test_stale_leavings_of_a_killed_render_are_swept(tmp_path):
    import os

    old, new = tmp_path / "people-x.npy.1.tmp", tmp_path / "people-y.npy.2.tmp"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    people.load(with_cache(tmp_path), workers=1)
    assert not old.exists()
    assert new.exists()  # perhaps another process is writing it


def test_a_broken_pool_falls_back_to_this_process(tmp_path, monkeypatch):
    def broken(*_args):
        raise cache.BrokenProcessPool("no")

    monkeypatch.setattr(cache, "_in_parallel", broken)
    with pytest.warns(UserWarning, match="__main__"):
        sets = people.load(with_cache(tmp_path, train_people=36), workers=2)
    assert (np.asarray(sets.train.frames).std((1, 2, 3)) > 5).all()


def test_the_cache_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("VELATURA_CACHE", str(tmp_path))
    assert cache_folder("") == tmp_path
    assert cache_folder("/x") == Path("/x")
    monkeypatch.delenv("VELATURA_CACHE")
    assert cache_folder("") == Path.home() / ".cache" / "velatura"


def test_meta_says_what_is_in_the_file(tmp_path):
    people.load(with_cache(tmp_path), workers=1)
    said = json.loads(next(tmp_path.glob("people-test-*.json")).read_text())
    assert said["shape"] == [10, 3, 3, 24, 24]


def test_without_opencv_the_error_names_the_remedy(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(BadInput, match=r"velatura\[train\]"):
        people.figure(CFG, "train", 0)


def test_importing_people_needs_neither_torch_nor_opencv():
    import subprocess
    import sys

    code = "import sys, velatura.data.people; print(sorted({'torch', 'cv2'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


# --- can it be learnt, and from motion? ---------------------------------------------------


@pytest.mark.slow
def test_the_action_is_learnt_from_motion_and_not_from_a_frame(tmp_path):
    """1200 clips; a small 3-D CNN sees all of each, a small 2-D CNN any one frame of it."""
    from velatura.models import clip_cnn, frame_cnn

    cfg = people.Config(
        train_people=150, val_people=1, test_people=75, test_clips=4, cache=str(tmp_path)
    )
    sets = people.load(cfg)
    clip = top1_of(clip_cnn.classifier(clip_cnn.Config(), 10), sets, frames=8, epochs=9)
    frame = top1_of(frame_cnn.classifier(frame_cnn.Config(), 10), sets, frames=1, epochs=30)
    assert clip > 0.65
    assert 0.15 < frame < 0.45  # poses say something, chance being 0.1, but not enough
    assert clip > frame + 0.3


def top1_of(net, sets, frames: int, epochs: int) -> float:
    """Train on whole clips, or on one random frame of each, and test on the same."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    for layer in net.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    rng = np.random.default_rng(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on busy cores, waiting threads cost more than they bring

    def batch(data, rows):
        seen = np.arange(8) if frames == 8 else rng.integers(8, size=(len(rows), 1))
        clips = np.asarray(data.frames)[data.first[rows][:, None] + seen]
        return torch.from_numpy(clips).float() / 255, torch.from_numpy(data.actions[rows])

    batches = len(sets.train) // 24
    optimiser = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=epochs * batches)
    for _ in range(epochs):
        for rows in np.array_split(rng.permutation(len(sets.train)), batches):
            clips, actions = batch(sets.train, rows)
            clips = clips.flip(-1) if rng.uniform() < 0.5 else clips
            clips = clips.roll(tuple(rng.integers(-3, 4, 2).tolist()), (-2, -1))
            with torch.autocast("cpu", torch.bfloat16):
                loss = torch.nn.functional.cross_entropy(net(clips), actions)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    net.eval()
    right = []
    with torch.no_grad():
        for rows in np.array_split(np.arange(len(sets.test)), 6):
            clips, actions = batch(sets.test, rows)
            right.append((net(clips).argmax(1) == actions).float())
    torch.set_num_threads(threads)
    return float(torch.cat(right).mean())
