"""Reader -> anonymizer -> writer, side by side, in bounded memory; any failure stops all three.

Decoding and encoding run in threads of their own (FFmpeg works outside Python's lock), the
anonymizer in the caller's. Between them stand queues of a few frames. No thread outlives the
call, none waits for one that has gone, and what left the reader reaches the writer only as the
anonymizer's answer to it, or black.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from velatura.deploy.anonymizer import Anonymizer
from velatura.errors import Failure
from velatura.video.read import Frame

__all__ = ["Done", "batch_for", "checked", "failure_of", "run"]

BYTES = 24 * 2**20  # of frames in one batch; queues hold as much again
MOST = 16  # frames in one batch: more gain nothing


@dataclass
class Done:
    """What a run wrote.

    Attributes:
        frames: pictures written.
        black: how many of them are black because the anonymizer failed.
        reason: of the first such failure.
    """

    frames: int = 0
    black: int = 0
    reason: str = ""


def batch_for(height: int, width: int) -> int:
    """How many frames of this size, in pixels, make a batch."""
    return max(1, min(MOST, BYTES // (height * width * 3)))


def run(
    frames: Iterable[Frame],
    anonymizer: Anonymizer,
    write: Callable[[np.ndarray, Frame], None],
    *,
    batch: int,
    on_error: Literal["stop", "black"] = "stop",
    progress: Callable[[int], None] | None = None,
) -> Done:
    """Put every frame through an anonymizer and hand the answers on, in order.

    Args:
        frames: decoded at the anonymizer's work size; read in a thread.
        write: called in another thread with (picture at the work size, the frame it answers
            to); the frame's own image is gone by then.
        batch: frames handed over at once. The result does not depend on it.
        on_error: ``"black"`` writes black pictures where the anonymizer fails, and goes on.
        progress: called with the number of pictures that the anonymizer has answered.

    Raises:
        Failure: the anonymizer failed, or answered with something else than pictures.
        Exception: whatever ``frames`` or ``write`` raise.
    """
    stop = threading.Event()
    decoded: queue.Queue[Any] = queue.Queue(max(2, batch))
    answered: queue.Queue[Any] = queue.Queue(max(2, batch))
    done = Done()
    faults: list[BaseException] = []

    def read() -> None:
        try:
            for frame in frames:
                if not _put(decoded, frame, stop):
                    return
            _put(decoded, END, stop)
        except BaseException as error:
            # In its place behind the frames before it: what decodes of a damaged file is seen.
            _put(decoded, error, stop)
        finally:
            if hasattr(frames, "close"):
                frames.close()

    def put_out() -> None:
        try:
            while (item := _get(answered, stop)) is not END:
                write(*item)
                done.frames += 1
        except _Stopped:
            pass
        except BaseException as error:
            faults.append(error)
            stop.set()

    threads = [threading.Thread(target=f, daemon=True) for f in (read, put_out)]
    for thread in threads:
        thread.start()
    try:
        count = 0
        for item in _answers(anonymizer, decoded, stop, batch, on_error, done):
            if not _put(answered, item, stop):
                raise _Stopped
            count += 1
            if progress is not None:
                progress(count)
        _put(answered, END, stop)
        threads[1].join()
        threads[0].join()
    except _Stopped:
        pass
    finally:
        # An interrupt too ends here: nothing is written after this call.
        stop.set()
        for thread in threads:
            thread.join()
    if faults:
        raise faults[0]
    return done


END = object()


class _Stopped(Exception):
    """Another of the three has failed; what it raised is what is told."""


def _answers(
    anonymizer: Anonymizer,
    decoded: queue.Queue[Any],
    stop: threading.Event,
    batch: int,
    on_error: Literal["stop", "black"],
    done: Done,
) -> Iterator[tuple[np.ndarray, Frame]]:
    """Each frame with its anonymized picture."""
    pending: deque[Frame] = deque()
    ended = False
    source_error: BaseException | None = None

    def batches() -> Iterator[np.ndarray]:
        nonlocal ended, source_error
        while not ended:
            group: list[Frame] = []
            while len(group) < batch and not ended:
                item = _get(decoded, stop)
                if item is END:
                    ended = True
                elif isinstance(item, BaseException):
                    ended, source_error = True, item
                else:
                    group.append(item)
            if group:
                pending.extend(group)
                # A copy, so that work done in place cannot pass for the original.
                yield np.stack([frame.image for frame in group])

    while True:
        try:
            for pictures in anonymizer.process(batches()):
                for picture in checked(anonymizer, pictures, pending):
                    yield picture, _without_image(pending.popleft())
            if pending:
                raise Failure(f"The anonymizer answered {len(pending)} frames too few.")
            if not ended:
                raise Failure("The anonymizer stopped before the end of the video.")
        except (_Stopped, GeneratorExit):
            raise
        except Exception as error:
            failure = failure_of(error)
            if on_error == "stop" or not pending:  # without a frame it would fail for ever
                raise failure from error
            done.reason = done.reason or str(failure)
            done.black += len(pending)
            while pending:
                frame = pending.popleft()
                yield np.zeros_like(frame.image), _without_image(frame)
        if ended:
            break
    if source_error is not None:
        raise source_error


def failure_of(error: Exception) -> Failure:
    """What an anonymizer's error is told as."""
    if isinstance(error, Failure):
        return error
    if isinstance(error, MemoryError):
        return Failure("The anonymizer ran out of memory; use a smaller --batch or --scale.")
    return Failure(f"The anonymizer failed: {type(error).__name__}: {str(error)[:200]}.")


def _without_image(frame: Frame) -> Frame:
    return frame._replace(image=EMPTY)


EMPTY = np.zeros((0, 0, 3), np.uint8)


def checked(anonymizer: Anonymizer, pictures: Any, pending: deque[Frame]) -> np.ndarray:
    """The answers, if they are pictures of frames that wait for one, and none came back as it was.

    Raises:
        Failure: another type, shape or number; or a frame unchanged.
    """
    if not isinstance(pictures, np.ndarray):
        raise Failure(f"The anonymizer returned {type(pictures).__name__}, not a numpy array.")
    # A copy first: memory that the anonymizer uses again would change behind what was checked.
    found = np.array(pictures)
    if len(found) > len(pending):
        raise Failure("The anonymizer answered more frames than it was given.")
    expected = pending[0].image.shape if pending else ()
    if found.shape[1:] != expected or found.dtype != np.uint8:
        raise Failure(
            f"The anonymizer returned {found.dtype} {found.shape}; expected uint8 "
            f"(T, {', '.join(map(str, expected))})."
        )
    if not anonymizer.keeps:
        for picture, frame in zip(found, pending, strict=False):
            # A picture of one colour has nothing to hide and may well stay as it is.
            if np.array_equal(picture, frame.image) and (picture != picture[0, 0]).any():
                raise Failure(f"The anonymizer returned frame {frame.index} unchanged.")
    return found


def _put(q: queue.Queue[Any], item: Any, stop: threading.Event) -> bool:
    """Put an item, or give up when all is stopped; whether it was put."""
    while not stop.is_set():
        with suppress(queue.Full):
            q.put(item, timeout=0.1)
            return True
    return False


def _get(q: queue.Queue[Any], stop: threading.Event) -> Any:
    while not stop.is_set():
        with suppress(queue.Empty):
            return q.get(timeout=0.1)
    raise _Stopped
