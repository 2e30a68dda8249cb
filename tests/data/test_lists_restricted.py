"""Label pickles: arrays come out, and a pickle that tries to run code runs nothing."""

from __future__ import annotations

import builtins
import os
import pickle
import shutil

import numpy as np
import pytest
from tiny_lists import LyingNumber

from velatura import restricted
from velatura.data._lists.pickles import read_arrays
from velatura.errors import BadInput


class Runs:
    """Unpickled plainly, it makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_come_out_as_they_went_in(tmp_path, protocol):
    arrays = {"a/ü.mp4": np.array([[1, 0, 1, 0, 1]]), "b": np.zeros(7), "c": np.array([True])}
    (tmp_path / "x").write_bytes(pickle.dumps(arrays, protocol))
    found = read_arrays(tmp_path / "x")
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_both_names_of_numpys_core_are_read(tmp_path, module):
    plain = pickle.dumps({"a": np.arange(3)}, protocol=0)
    for name in (b"numpy.core.multiarray", b"numpy._core.multiarray"):
        plain = plain.replace(name, module.encode())
    assert module.encode() in plain
    (tmp_path / "x").write_bytes(plain)
    assert read_arrays(tmp_path / "x")["a"].tolist() == [0, 1, 2]


def test_a_pickle_that_runs_code_is_refused_and_runs_nothing(tmp_path):
    trap = tmp_path / "made by the pickle"
    data = pickle.dumps({"a": np.zeros(5), "b": Runs(trap)})
    pickle.loads(data)  # the trap works
    assert trap.is_dir()
    shutil.rmtree(trap)

    (tmp_path / "labels.pickle").write_bytes(data)
    with pytest.raises(BadInput, match=r"labels\.pickle asks to run posix\.mkdir.*nothing was run"):
        read_arrays(tmp_path / "labels.pickle")
    assert not trap.exists()


@pytest.mark.parametrize(
    ("named", "called"),
    [
        (b"cbuiltins\neval\n(S'1'\ntR.", "builtins.eval"),
        (b"cos\nsystem\n(S'true'\ntR.", "os.system"),
        (b"cnumpy\nload\n(S'x'\ntR.", "numpy.load"),
        (b"cnumpy.testing\nrundocs\n(tR.", "numpy.testing.rundocs"),
        (b"\x80\x04\x8c\x05numpy\x8c\x11ndarray.__class__\x93.", "numpy.ndarray.__class__"),
    ],
)
def test_every_other_name_is_refused(tmp_path, monkeypatch, named, called):
    monkeypatch.setattr(builtins, "eval", lambda *_: pytest.fail("it ran"))
    (tmp_path / "x").write_bytes(named)
    with pytest.raises(BadInput, match=f"asks to run {called}, which labels never need"):
        read_arrays(tmp_path / "x")


def test_bytes_in_another_encoding_are_refused(tmp_path):
    """The one function that old pickles of arrays call cannot be used for anything else."""
    (tmp_path / "x").write_bytes(b"c_codecs\nencode\n(Vabc\nVrot13\ntR.")
    with pytest.raises(BadInput, match="not a whole pickle"):
        read_arrays(tmp_path / "x")


def test_a_type_that_lies_is_never_shown_to_numpy(tmp_path):
    for answer in restricted._ALLOWED.values():  # before reading: the fault would end the run
        assert answer.__module__ == restricted.__name__
    (tmp_path / "x").write_bytes(pickle.dumps({"a": LyingNumber()}))
    with pytest.raises(BadInput, match="no dictionary from file names to arrays"):
        read_arrays(tmp_path / "x")


WRONG = {
    "empty": (b"", "not a whole pickle"),
    "cut": (pickle.dumps({"a": np.zeros(50)})[:60], "not a whole pickle"),
    "text": (b"a,b\n1,0\n", "not a whole pickle"),
    "list": (pickle.dumps([1]), "no dictionary"),
    "lists": (pickle.dumps({"a": [1, 0]}), "no dictionary"),
    "numbers": (pickle.dumps({1: np.zeros(2)}), "no dictionary"),
    "objects": (pickle.dumps({"a": np.array([None])}), "no dictionary"),
    "huge": (b"cnumpy\nndarray\n((L99999999999999L\nttR.", "no dictionary"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_label_file_is_said_in_a_sentence(tmp_path, name):
    data, said = WRONG[name]
    (tmp_path / f"{name}.pickle").write_bytes(data)
    with pytest.raises(BadInput, match=rf"{name}\.pickle .*{said}"):
        read_arrays(tmp_path / f"{name}.pickle")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"no\.pickle is missing"):
        read_arrays(tmp_path / "no.pickle")
