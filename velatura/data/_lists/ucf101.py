"""UCF101: 13320 videos of 101 actions, in three official splits.

    UCF-101/<Class>/v_<Class>_gXX_cYY.avi        the root
    ucfTrainTestlist/classInd.txt                "<id from 1> <Class>"
    ucfTrainTestlist/trainlist0{1,2,3}.txt       "<Class>/<file>.avi <id>"
    ucfTrainTestlist/testlist0{1,2,3}.txt        "<Class>/<file>.avi"

The class is the folder, never the file's name: the folder HandstandPushups holds files named
v_HandStandPushups_*. Labels here count from 0. A group is what the 4 to 7 clips of one gXX
share: the person and the place; g08 of one class has nothing to do with g08 of another.

Source: Soomro, Zamir and Shah, 2012, https://arxiv.org/abs/1212.0402
"""

from __future__ import annotations

import re
from pathlib import Path

from velatura.data._lists import text
from velatura.data._lists.listing import Listing, Video
from velatura.data._lists.source import Ask, Source
from velatura.errors import BadInput, unknown

__all__ = ["COUNTS", "SOURCES", "group", "read"]

COUNTS = {
    1: {"train": 9537, "test": 3783},
    2: {"train": 9586, "test": 3734},
    3: {"train": 9624, "test": 3696},
}
REMEDY = "unpack UCF101TrainTestSplits-RecognitionTask.zip from the UCF101 page beside the videos"


def read(annotations: Path, split: int = 1) -> Listing:
    """The lists of one official split.

    Args:
        annotations: the folder with classInd.txt, or the one above it.
        split: 1, 2 or 3.

    Raises:
        BadInput: a missing or empty list; a line that is not of the format, names an unknown
            class or another class's number, or a video that stands there twice.
    """
    folder = text.find(annotations, ("ucfTrainTestlist", "annotations"), "classInd.txt", REMEDY)
    names = _classes(folder / "classInd.txt")
    videos: dict[str, Video] = {}
    for part in ("train", "test"):
        path = folder / f"{part}list0{split}.txt"
        for number, line in text.numbered(path, REMEDY):
            try:
                video = _video(line, part, names)
                if video.path in videos:
                    raise BadInput(f"{video.path} stands in the lists twice; remove one line.")
            except BadInput as error:
                raise BadInput(f"{path}, line {number}: {error}") from None
            videos[video.path] = video
    return Listing(name="ucf101", action_names=names, videos=tuple(videos.values()))


def group(path: str) -> str:
    """Who is in a video: ``"Archery/g08"`` for ``"Archery/v_Archery_g08_c01.avi"``.

    A name without gXX is a group of its own.
    """
    found = re.search(r"_(g\d+)_c\d+\.\w+$", path)
    return f"{path.split('/')[0]}/{found[1]}" if found else path


def _classes(path: Path) -> tuple[str, ...]:
    """The class names in the order of their numbers, which count from 1."""
    names: list[str] = []
    for number, line in text.numbered(path, REMEDY):
        index, _, name = line.partition(" ")
        if index != str(len(names) + 1) or not name.strip() or name.strip() in names:
            raise BadInput(
                f"{path}, line {number}: expected '{len(names) + 1} <Class>', got {line!r}; "
                f"{REMEDY}."
            )
        names.append(name.strip())
    return tuple(names)


def _video(line: str, part: str, names: tuple[str, ...]) -> Video:
    """One line of a train or test list."""
    path, number = line.rsplit(" ", 1) if part == "train" and " " in line else (line, "")
    action = path.split("/")[0]
    if path.count("/") != 1 or path.endswith("/") or (part == "train" and not number.isdecimal()):
        expected = "<Class>/<file>.avi" + (" <id>" if part == "train" else "")
        raise BadInput(f"expected '{expected}', got {line!r}; {REMEDY}.")
    if action not in names:
        raise unknown("class in classInd.txt", action, names)
    if number and int(number) != names.index(action) + 1:
        raise BadInput(
            f"{action} is class {names.index(action) + 1} in classInd.txt, not {number}; "
            f"the lists do not belong together: {REMEDY}."
        )
    return Video(path=path, action=action, split=part, group=group(path))


def _ask(ask: Ask) -> Listing:
    return read(ask.beside, SOURCES[0].split_of(ask))


SOURCES = (
    Source(
        name="ucf101",
        title="UCF101: 13320 videos of 101 actions from YouTube",
        licence="no licence stated; its page offers it to researchers",
        page="https://www.crcv.ucf.edu/data/UCF101.php",
        layout="ROOT/<Class>/v_<Class>_gXX_cYY.avi\nbeside ROOT: ucfTrainTestlist/*.txt",
        by_hand=(
            "Download UCF101.rar (6.9 GB) and UCF101TrainTestSplits-RecognitionTask.zip.",
            "unrar x UCF101.rar and unzip the lists, both in one folder.",
        ),
        read=_ask,
        splits=(1, 2, 3),
        counts=COUNTS,
    ),
)
