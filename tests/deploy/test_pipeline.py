"""Reader, anonymizer and writer side by side: nothing lost, nothing through, nothing hangs."""

from __future__ import annotations

import threading
from fractions import Fraction

import numpy as np
import pytest

from velatura.deploy import pipeline
from velatura.deploy.anonymizer import Anonymizer
from velatura.errors import Failure
from velatura.video.read import Frame


def frames(count: int, fail_at: int | None = None):
    for i in range(count):
        if i == fail_at:
            raise OSError("the cable")
        image = np.full((4, 6, 3), i, np.uint8)
        image[0, 0] = 255  # not of one colour
        yield Frame(image, 10 * i, Fraction(1, 100), i)


class Negative(Anonymizer):
    """Fails on chosen frames, in chosen ways."""

    name = "negative"

    def __init__(self, wrong=None, at=()):
        self.wrong, self.at = wrong, set(at)

    def apply(self, batch):
        out = 255 - batch
        hit = self.at & set(batch[:, 1, 1, 0].tolist())
        if hit and self.wrong is not None:
            return self.wrong(batch, out)
        return out


class Late(Negative):
    """Answers three frames later."""

    def process(self, batches):
        held = []
        for batch in batches:
            held.extend(255 - batch)
            if len(held) > 3:
                yield np.stack(held[:-3])
                held = held[-3:]
        if held:
            yield np.stack(held)


def run(anonymizer, count=20, batch=4, write=None, **options):
    written = []

    def keep(picture, frame):
        assert frame.image.size == 0, "the original went along to the writer"
        written.append((frame.pts, picture))

    before = set(threading.enumerate())
    try:
        done = pipeline.run(
            frames(count, options.pop("fail_at", None)), anonymizer, write or keep, batch=batch,
            **options,
        )  # fmt: skip
        return done, written
    finally:
        # One of an earlier test may have been on its way out, and be gone now.
        assert set(threading.enumerate()) <= before, "a thread outlived the call"
        run.written = written


def is_negative(pts: int, picture: np.ndarray) -> bool:
    return bool((picture[1:] == 255 - pts // 10).all())


@pytest.mark.parametrize("batch", [1, 3, 4, 20, 50])
@pytest.mark.parametrize("anonymizer", [Negative(), Late()], ids=["at once", "late"])
def test_every_frame_once_in_order_with_its_own_picture(anonymizer, batch):
    done, written = run(anonymizer, batch=batch)
    assert [pts for pts, _ in written] == [10 * i for i in range(20)]
    assert all(is_negative(*item) for item in written)
    assert (done.frames, done.black) == (20, 0)


def boom(batch, out):
    raise RuntimeError("inside")


def memory(batch, out):
    raise MemoryError


WRONG = {
    "raises": (boom, "inside"),
    "out of memory": (memory, "out of memory"),
    "unchanged": (lambda batch, out: batch, "unchanged"),
    "floats": (lambda batch, out: out / 255, "float64"),
    "smaller": (lambda batch, out: out[:, :3], "expected uint8"),
    "one less": (lambda batch, out: out[:-1], "answered"),
    "one more": (lambda batch, out: np.concatenate([out, out[:1]]), "answered"),
    "nothing": (lambda batch, out: None, "NoneType"),
}


class Reuses(Anonymizer):
    """Answers in memory that it then fills with the next originals."""

    name = "reuses"

    def process(self, batches):
        memory = np.empty((4, 4, 6, 3), np.uint8)
        for batch in batches:
            memory[: len(batch)] = 255 - batch
            yield memory[: len(batch)]
            memory[: len(batch)] = batch


def test_memory_that_is_used_again_shows_nothing():
    slow = threading.Event()
    written = []

    def write(picture, frame):
        slow.wait(0.005)  # the anonymizer is ahead by then
        written.append((frame.pts, picture.copy()))

    run(Reuses(), write=write)
    assert len(written) == 20
    assert all(is_negative(*item) for item in written)


@pytest.mark.parametrize("kind", WRONG)
def test_a_failure_stops_everything(kind):
    wrong, says = WRONG[kind]
    with pytest.raises(Failure, match=says):
        run(Negative(wrong, at=[9]))
    assert all(is_negative(*item) for item in run.written)
    assert len(run.written) <= 8


@pytest.mark.parametrize("kind", WRONG)
def test_a_failure_may_be_black_but_never_the_original(kind):
    wrong, says = WRONG[kind]
    done, written = run(Negative(wrong, at=[5, 9, 19]), on_error="black")
    assert [pts for pts, _ in written] == [10 * i for i in range(20)]
    assert done.frames == 20
    # 4 to 7, 8 to 11 and 16 to 19 failed; everything else is its negative.
    black = [pts // 10 for pts, picture in written if not picture.any()]
    assert black == [4, 5, 6, 7, 8, 9, 10, 11, 16, 17, 18, 19]
    assert done.black == 12
    assert all(is_negative(*i) for i in written if i[0] // 10 not in black)
    assert says in done.reason


def test_a_source_that_breaks_is_told_after_what_it_gave():
    with pytest.raises(OSError, match="the cable"):
        run(Negative(), fail_at=10)
    assert len(run.written) <= 10


def test_a_writer_that_breaks_is_told_and_nobody_waits():
    def write(picture, frame):
        if frame.index == 5:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        run(Negative(), count=1000, write=write)


def test_an_interrupt_in_the_anonymizer_gets_through():
    def interrupt(batch, out):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Negative(interrupt, at=[9]), on_error="black")


def test_memory_is_bounded_whatever_the_length():
    """A reader that is far faster than the writer is held back."""
    ahead, most = 0, 0
    gate = threading.Event()

    def counted():
        nonlocal ahead, most
        for frame in frames(200):
            ahead += 1
            most = max(most, ahead)
            yield frame

    def write(picture, frame):
        nonlocal ahead
        gate.wait(0.002)
        ahead -= 1

    pipeline.run(counted(), Negative(), write, batch=4)
    assert most <= 4 * 5


@pytest.mark.parametrize(
    ("size", "expected"), [((60, 80), 16), ((1080, 1920), 4), ((2160, 3840), 1)]
)
def test_the_batch_follows_the_size(size, expected):
    assert pipeline.batch_for(*size) == expected


class Quitter(Anonymizer):
    name = "quitter"

    def process(self, batches):
        yield 255 - next(iter(batches))


class Deaf(Anonymizer):
    name = "deaf"

    def process(self, batches):
        return iter(())


@pytest.mark.parametrize("on_error", ["stop", "black"])
def test_one_that_never_reads_ends(on_error):
    with pytest.raises(Failure, match="stopped before the end"):
        run(Deaf(), on_error=on_error)


def test_one_that_stops_early_is_a_failure():
    with pytest.raises(Failure, match="stopped before the end"):
        run(Quitter())
