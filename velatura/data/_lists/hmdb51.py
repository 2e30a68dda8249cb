"""HMDB51: 6766 clips of 51 actions from films and the web, in three official splits.

    hmdb51_org/<action>/<name>.avi                              the root
    testTrainMulti_7030_splits/<action>_test_split{1,2,3}.txt   "<name>.avi <k> "

k is 0 for unused, 1 for train, 2 for test. Every line ends in a space, and names hold spaces,
brackets and any of ``!;&#+``: only the last word of a line is k. The 6849 clips of the paper
were never all released. Labels here count from 0, in alphabetical order.

A group is the source film, from the name's official form
``<film>_<action>_<visible>_<camera>_np<n>_<view>_<quality>_<k>.avi``.

Source: Kuehne, Jhuang, Garrote, Poggio and Serre, 2011,
https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database/
"""

from __future__ import annotations

import re
from pathlib import Path

from velatura.data._lists import text
from velatura.data._lists.listing import Listing, Video
from velatura.data._lists.source import Ask, Source
from velatura.errors import BadInput

__all__ = ["COUNTS", "SOURCES", "film", "jhmdb_spelling", "read", "split_or_default"]

COUNTS = {split: {"train": 3570, "test": 1530, "unused": 1666} for split in (1, 2, 3)}
REMEDY = "unpack test_train_splits.rar from the HMDB51 page beside the videos"
BELOW = ("testTrainMulti_7030_splits", "hmdb51_splits", "annotations")
PART = {"0": "unused", "1": "train", "2": "test"}


def read(annotations: Path, split: int = 1) -> Listing:
    """The lists of one official split.

    Args:
        annotations: the folder with ``<action>_test_split1.txt``, or the one above it.
        split: 1, 2 or 3.

    Raises:
        BadInput: no lists there; a class without its list for this split; a line that is not
            of the format; a video that stands there twice.
    """
    folder = text.find(annotations, BELOW, "*_test_split*.txt", REMEDY)
    names = sorted({path.name.rsplit("_test_split", 1)[0] for path in folder.glob("*_test_split*")})
    videos: dict[str, Video] = {}
    for action in names:
        path = folder / f"{action}_test_split{split}.txt"
        for number, line in text.numbered(path, REMEDY):
            name, _, k = line.rpartition(" ")
            if not name.strip() or "/" in name or k not in PART:
                raise BadInput(
                    f"{path}, line {number}: expected '<name>.avi <k>' with k 0, 1 or 2, got "
                    f"{line!r}; {REMEDY}."
                )
            at = f"{action}/{name.strip()}"
            if at in videos:
                raise BadInput(
                    f"{path}, line {number}: {name.strip()} stands there twice; remove one line."
                )
            videos[at] = Video(path=at, action=action, split=PART[k], group=film(at))
    return Listing(name="hmdb51", action_names=tuple(names), videos=tuple(videos.values()))


def film(path: str) -> str:
    """The source film of ``"<action>/<name>.avi"``.

    The action may stand in the film's own name too (``My_golf_swing_golf_f_cm_...``): the last
    one counts. A name of another form is a film of its own.
    """
    action, _, name = path.partition("/")
    form = rf"(.+)_{re.escape(action)}_[fuhl]_[cn]m_np\d+_(?:fr|ba|le|ri)_(?:goo|med|bad)_\d+\.\w+"
    found = re.fullmatch(form, name)
    return found[1] if found else name.rsplit(".", 1)[0]


def jhmdb_spelling(path: str) -> str:
    """A listed path as JHMDB's copies of the clips spell it: ``@`` for ``#`` and ``&``."""
    return path.translate({ord("#"): "@", ord("&"): "@"})


def split_or_default(ask: Ask) -> int:
    """The split asked for, 1 by default."""
    return SOURCES[0].split_of(ask)


def _ask(ask: Ask) -> Listing:
    return read(ask.beside, split_or_default(ask))


SOURCES = (
    Source(
        name="hmdb51",
        title="HMDB51: 6766 clips of 51 actions from films and the web",
        licence="CC BY 4.0, as its page says; the clips are from films of others",
        page="https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database/",
        layout="ROOT/<action>/<name>.avi\nbeside ROOT: testTrainMulti_7030_splits/*.txt",
        by_hand=(
            "Download hmdb51_org.rar (2 GB) and test_train_splits.rar.",
            "Unpack hmdb51_org.rar, then each of the 51 .rar files in it, into hmdb51_org/;",
            "unpack test_train_splits.rar beside that folder.",
        ),
        read=_ask,
        splits=(1, 2, 3),
        counts=COUNTS,
        spelling=jhmdb_spelling,
    ),
)
