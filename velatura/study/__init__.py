"""A study: several methods on one data set, each attacked by fresh networks, in one table.

A study file is a run file with ``[evaluation]`` and a list of rows; each row names a method
and what it changes:

    [[rows]]
    name = "penalty_0.1"
    method = { name = "penalty", bound = 0.1 }

or the folder of a run that is measured as it is, wherever it was trained:

    [[rows]]
    name = "novel"
    from = "runs/ucf101"

or another row of the study once more, as it comes out of a codec:

    [[rows]]
    name = "penalty_0.1_h264"
    of = "penalty_0.1"
    codec = "h264"

The folder of a study:

    config.toml         the resolved study, which repeats it
    data.json           fingerprints of its data, and of the anonymizer where one was given
    raw/                networks trained on raw clips: where f_T, adversaries and examiners start
    methods/ROW/        run folder of a learned row; one after a codec has none of its own
    rows/ROW/           what ROW releases (removed once examined), and its examiners' scores
    failed.json         jobs that broke and why, where the rest was to go on
    records.jsonl       every measurement; summary.json, sheet.npz: what the report reads

The room, from the file to the figures:

    file.py       Row, Study: a study file, resolved
    data.py       the clips, and what bears the private attributes
    places.py     where things lie in its folder
    work.py       what workers do
    schedule.py   the jobs, and what each needs
    inputs.py     what it is given, and whether it may be examined
    session.py    carrying it out
    memory.py     how much memory that took
    summary.py    its figures
"""

from velatura.study.data import Data, examples, load_all
from velatura.study.file import (
    RAW,
    SECTIONS,
    Row,
    Study,
    adopt,
    names_a_folder,
    resolve_study,
)
from velatura.study.places import outputs_of, score_path
from velatura.study.schedule import plan
from velatura.study.session import admits, broken_jobs, carry_out, clear, processes, typed
from velatura.study.summary import summarize
from velatura.study.work import (
    clip_bound,
    learner,
    work_examine,
    work_raw,
    work_release,
    work_train,
)

__all__ = [
    "RAW",
    "SECTIONS",
    "Data",
    "Row",
    "Study",
    "admits",
    "adopt",
    "broken_jobs",
    "carry_out",
    "clear",
    "clip_bound",
    "examples",
    "learner",
    "load_all",
    "names_a_folder",
    "outputs_of",
    "plan",
    "processes",
    "resolve_study",
    "score_path",
    "summarize",
    "typed",
    "work_examine",
    "work_raw",
    "work_release",
    "work_train",
]
