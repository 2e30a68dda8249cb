"""The command line, from outside: the whole printed text and the exit code."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

import velatura
from velatura import cli
from velatura.cli import doctor as doctor_module
from velatura.cli.doctor import Check

# A Python that runs the command line with a folder of planted verbs beside the real ones.
PLANT = """
import sys, velatura.cli
velatura.cli.__path__.append({folder!r})
velatura.cli.main({words!r})
"""

VERBS = {
    "bad": 'from velatura.errors import BadInput\ndef bad():\n    raise BadInput("No run at x.")',
    "fails": 'from velatura.errors import Failure\ndef fails():\n    raise Failure("Step 3: NaN.")',
    "breaks": 'def breaks():\n    raise ZeroDivisionError("division by zero")',
    "wordless": "def wordless():\n    raise AssertionError",
    "full": 'def full():\n    with open("/dev/full", "w") as file:\n        file.write("x" * 9999)',
    "fulltext": 'def fulltext():\n    raise ValueError("x: No space left on device (os error 28)")',
    "lacks": "def lacks():\n    import nosuchlibrary.inner",
    "broken": "import nosuchlibrary\ndef broken(): ...",
    "own": "def own():\n    import velatura.nosuchroom",
    "interrupted": "def interrupted():\n    raise KeyboardInterrupt",
    "resumable": 'def resumable():\n    raise KeyboardInterrupt("Stopped at 7; run it again.")',
    "sleeps": 'import time\ndef sleeps():\n    print("ready", flush=True)\n    time.sleep(60)',
    "talks": 'def talks():\n    for i in range(100_000):\n        print("line", i)',
    "short": 'def short():\n    print("one line")',
    "pipe": "def pipe():\n    raise BrokenPipeError(32, 'a worker has gone')",
    "three": "import typer\ndef three():\n    raise typer.Exit(3)",
    "lines": 'def lines():\n    """Two.\n\n    Example:\n\n        a --b\n        c --d\n    """',
    "fine": 'def fine(n: int):\n    print("n is", n)',
}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verbs")
    for name, source in VERBS.items():
        (folder / f"{name}.py").write_text(source)
    return folder


def run(*words: str, plant: Path | None = None) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command, run as a user runs it."""
    code = ["-m", "velatura", *words]
    if plant:
        code = ["-c", PLANT.format(folder=str(plant), words=list(words))]
    done = subprocess.run(
        [sys.executable, "-W", "error", *code], capture_output=True, text=True, timeout=300
    )
    return done.returncode, done.stdout, done.stderr


def command(verb: str) -> Any:
    """A verb as typer's own object, with the parameters that it parses."""
    found: Any = typer.main.get_command(cli._app(verb.split(), debug=False))
    for word in verb.split():
        found = found.commands[word]
    return found


# Every verb that does something: those in a folder by two words, without the folder itself.
DOING = [
    " ".join([verb, *inner])
    for verb in cli.verbs()
    for inner in [[name] for name in cli.verbs(verb)] or [[]]
]


# ---------------------------------------------------------------------------- the front


def test_alone_it_prints_its_help():
    code, out, err = run()
    assert (code, err) == (0, "")
    assert out == run("--help")[1] == run("-h")[1]
    assert out.startswith(
        "Usage: velatura [OPTIONS] COMMAND [ARGS]...\n\n"
        "  Hide who is in a video, keep what they do, and measure what still leaks.\n\n"
        "  `velatura VERB --help` has the options of a verb and an example.\n\n"
        "Options:\n"
        "  --version   Print the version.\n"
        "  --debug     Show the traceback of an error; goes anywhere.\n"
        "  -h, --help  Show this message and exit.\n\n"
        "Commands:\n"
    )


def test_the_help_lists_every_verb_with_one_whole_sentence():
    listing = run("--help")[1].split("Commands:\n")[1]
    listing = re.sub(r"\n {6,}", " ", listing)  # a long sentence goes on in the next line
    assert [line.split()[0] for line in listing.splitlines()] == cli.verbs()
    for line in listing.splitlines():
        assert line.endswith("."), f"cut off, or no sentence: {line}"
        assert not line.endswith("..."), f"cut off: {line}"


def named(folder: Path) -> set[str]:
    """What the files of a folder are called as verbs."""
    stems = (path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))
    return {stem.replace("_", "-") for stem in stems}


def test_the_verbs_are_the_files():
    here = Path(cli.__file__).parent
    files = named(here)
    folders = {path.parent.name for path in here.glob("*/__init__.py")}
    assert set(cli.verbs()) == files | folders
    for folder in folders:
        assert set(cli.verbs(folder)) == named(here / folder)
    assert not any(cli.verbs(verb) for verb in cli.verbs() if verb not in folders)


def test_the_help_is_there_at_once():
    """Under half a second of one core; the best of three. A busy machine may take longer."""
    seconds = []
    for _ in range(3):
        before = os.times()
        run("--help")
        after = os.times()
        spent = after.children_user + after.children_system
        seconds.append(spent - before.children_user - before.children_system)
    assert min(seconds) < 0.5, seconds


def test_the_version():
    assert run("--version") == (0, f"velatura {velatura.__version__}\n", "")


# ------------------------------------------------------------------- what a user gets wrong


def test_an_unknown_verb_gets_the_nearest_right_one():
    code, out, err = run("docter")
    assert (code, out) == (2, "")
    assert err == (
        "Usage: velatura [OPTIONS] COMMAND [ARGS]...\n"
        "Try 'velatura -h' for help.\n\n"
        "Error: No such command 'docter'. Did you mean 'doctor'?\n"
    )


def test_an_unknown_option_gets_the_nearest_right_one():
    code, out, err = run("doctor", "--jsn")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1] == "Error: No such option: --jsn (Possible options: --json)"


@pytest.mark.parametrize(
    ("words", "code", "err"),
    [
        (["bad"], 2, "Error: No run at x.\n"),
        (["fails"], 1, "Error: Step 3: NaN.\n"),
        (
            ["breaks"],
            1,
            "Error: Unexpected ZeroDivisionError: division by zero. "
            "Add --debug to see the traceback.\n",
        ),
        (["wordless"], 1, "Error: Unexpected AssertionError. Add --debug to see the traceback.\n"),
        (
            ["fulltext"],
            1,
            "Error: The disk is full; free some space and run this again.\n",
        ),
        (["interrupted"], 130, "Interrupted.\n"),
        (["resumable"], 130, "Stopped at 7; run it again.\n"),
        (
            ["pipe"],
            1,
            "Error: Unexpected BrokenPipeError: [Errno 32] a worker has gone. "
            "Add --debug to see the traceback.\n",
        ),
        (
            ["own"],
            1,
            "Error: Unexpected ModuleNotFoundError: No module named 'velatura.nosuchroom'. "
            "Add --debug to see the traceback.\n",
        ),
        (["three"], 3, ""),
    ],
)
def test_an_error_is_one_sentence(planted: Path, words: list[str], code: int, err: str):
    assert run(*words, plant=planted) == (code, "", err)


@pytest.mark.parametrize("verb", ["lacks", "broken"])
def test_a_missing_library_says_what_to_install(planted: Path, verb: str):
    code, out, err = run(verb, plant=planted)
    assert (code, out) == (1, "")
    missing = {"lacks": "nosuchlibrary", "broken": "nosuchlibrary"}[verb]
    assert err == (
        f"Error: This needs the Python module {missing!r}, which is not installed; "
        "`pip install 'velatura[train]'` brings what training and reports need, "
        "and `velatura doctor` lists what is missing.\n"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_told_as_such(planted: Path):
    code, out, err = run("full", plant=planted)
    assert (code, out) == (1, "")
    assert err == "Error: The disk is full; free some space and run this again.\n"


@pytest.mark.parametrize("words", [["--debug", "bad"], ["bad", "--debug"]])
def test_debug_shows_the_traceback_and_keeps_the_code(planted: Path, words: list[str]):
    code, out, err = run(*words, plant=planted)
    assert (code, out) == (2, "")
    assert err.startswith("Traceback (most recent call last):\n")
    assert "velatura.errors.BadInput: No run at x.\n" in err
    assert err.endswith("\nError: No run at x.\n")


def test_examples_keep_their_lines(planted: Path):
    code, out, err = run("lines", "--help", plant=planted)
    assert (code, err) == (0, "")
    assert "  Two.\n\n  Example:\n\n      a --b\n      c --d\n" in out


def test_what_is_right_is_printed(planted: Path):
    assert run("fine", "3", plant=planted) == (0, "n is 3\n", "")
    code, out, err = run("fine", "three", plant=planted)
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith("Error: Invalid value for")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_with_130_and_no_traceback(planted: Path, number: int):
    # A shell starts what it puts in the background with interrupts ignored: undo that.
    restore = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = restore + PLANT.format(folder=str(planted), words=["sleeps"])
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        _, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (130, "Interrupted.\n")


@pytest.mark.parametrize("verb", ["talks", "short"])
def test_a_closed_pipe_is_quiet(planted: Path, verb: str):
    code = PLANT.format(folder=str(planted), words=[verb])
    buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=buffered, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


# --------------------------------------------------------------- the contract of every verb


@pytest.mark.parametrize("verb", sorted({*cli.verbs(), *DOING}))
def test_every_verb_explains_itself(verb: str):
    doc = cli.load(verb).__doc__ or ""
    first = doc.split("\n\n")[0].strip()
    assert re.fullmatch(r"[A-Z].*\.", first), f"no sentence: {first!r}"
    assert "\n" not in first, f"more than one line: {first!r}"
    assert re.search(rf"^\s+velatura {verb}\b", doc, re.M), f"no example of velatura {verb}"
    for line in re.findall(r"^\s+(velatura .*)$", doc, re.M):
        assert faults_of(line) == []


@pytest.mark.parametrize("verb", DOING)
def test_every_option_has_a_sentence(verb: str):
    parameters = command(verb).params
    assert parameters
    for parameter in parameters:
        assert re.fullmatch(r"(?s)\S.*[.?]", parameter.help or ""), f"{parameter.name}: no sentence"


@pytest.mark.parametrize("verb", sorted({*cli.verbs(), *DOING}))
def test_the_help_of_every_verb_prints(verb: str):
    code, out, err = run(*verb.split(), "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: velatura {verb} ")
    assert re.search(rf"^ +velatura {verb}\b", out, re.M), "the example lost its own line"


@pytest.mark.parametrize("verb", sorted({*cli.verbs(), *DOING}))
def test_a_wrong_option_of_every_verb_is_a_usage_error(verb: str):
    code, out, err = run(*verb.split(), "--no-such-option")
    assert (code, out) == (2, "")
    assert "Traceback" not in err


# ------------------------------------------------------------------ the commands in the docs


def faults_of(line: str) -> list[str]:
    """What is wrong with a `velatura ...` command as documentation shows it."""
    words = shlex.split(line, comments=True)[1:]
    verb = next((word for word in words if not word.startswith("-")), None)
    if verb is None:
        return [f"{line}: {w} is no option" for w in words if w not in GLOBAL]
    if verb == "VERB":
        return []
    if verb not in cli.verbs():
        return [f"{line}: {verb} is no verb"]
    if cli.verbs(verb):
        inner = words[words.index(verb) + 1] if words[-1] != verb else ""
        if inner not in cli.verbs(verb):
            return [] if not inner else [f"{line}: {inner} is no verb of {verb}"]
        verb = f"{verb} {inner}"
    known = set(GLOBAL)
    for parameter in command(verb).params:
        known |= {*parameter.opts, *parameter.secondary_opts}
    given = [word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)]
    return [f"{line}: {word} is no option of {verb}" for word in given if word not in known]


GLOBAL = {"--help", "-h", "--debug", "--version"}


def documented(root: Path) -> list[tuple[str, str]]:
    """Every command that starts with velatura in the README and the docs, with its page."""
    found = []
    for page in [
        root / "README.md",
        root / "CONTRIBUTING.md",
        *sorted((root / "docs").glob("*.md")),
    ]:
        text = page.read_text(encoding="utf-8")
        blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S)
        lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
        spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
        for line in [*lines, *spans]:
            if re.match(r"(\.venv/bin/)?velatura( |$)", line):
                found.append((page.name, line))
    return found


def test_the_commands_in_the_docs_exist(root: Path):
    commands = documented(root)
    assert len(commands) >= 5
    wrong = [f"{page}: {fault}" for page, line in commands for fault in faults_of(line)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "line",
    ["velatura docter", "velatura doctor --jsno", "velatura --verbose", ".venv/bin/velatura x"],
)
def test_a_planted_command_is_found(line: str):
    assert len(faults_of(line)) == 1


def test_the_make_targets_in_the_docs_exist(root: Path):
    targets = set(re.findall(r"^([a-z]+):", (root / "Makefile").read_text(), re.M))
    for page in [root / "README.md", root / "CONTRIBUTING.md", *(root / "docs").glob("*.md")]:
        named = set(
            re.findall(r"(?:`|^(?: {4})?)make ([a-z]+)", page.read_text(encoding="utf-8"), re.M)
        )
        assert named <= targets, f"{page.name}: no target {named - targets}"


def test_the_links_in_the_docs_lead_somewhere(root: Path):
    for page in [root / "README.md", root / "CONTRIBUTING.md", *(root / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


# ------------------------------------------------------------------------------- the doctor


def test_the_doctor_says_what_is_here():
    code, out, err = run("doctor")
    assert (code, err) == (0, "")
    names = [line[5:].split("  ")[0].strip() for line in out.splitlines()]
    assert names == [
        *("velatura", "python", "platform", "cores", "memory", "disk", "core", "extra train"),
        *("video", "torch", "bf16 on the CPU", "GPU", "torchvision", "cache"),
    ]
    assert all(re.match(r"(ok  |warn) ", line) for line in out.splitlines())


def test_the_doctor_in_json():
    code, out, err = run("doctor", "--json")
    answer = json.loads(out)
    assert (code, err, answer["usable"]) == (0, "", True)
    assert set(answer["checks"][0]) == {"status", "name", "found", "remedy"}
    version = next(check for check in answer["checks"] if check["name"] == "velatura")
    assert version["found"] == velatura.__version__


def test_what_is_missing_comes_with_the_line_that_mends_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor_module, "_installed", lambda name: name not in {"torch", "plotly"})
    assert list(doctor_module._packages())[1] == Check(
        "warn", "extra train", "missing: plotly, torch", "pip install 'velatura[train]'"
    )
    monkeypatch.setattr(doctor_module, "_installed", lambda name: name != "av")
    assert next(doctor_module._packages()) == Check(
        "fail", "core", "missing: av", "pip install 'velatura'"
    )


def test_without_h264_it_is_not_usable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    import av

    def unknown(name: str, mode: str) -> None:
        raise av.codec.codec.UnknownCodecError(name)

    monkeypatch.setattr(av.codec, "Codec", unknown)
    monkeypatch.setattr(doctor_module, "_torch", lambda: iter(()))
    with pytest.raises(typer.Exit) as caught:
        doctor_module.doctor()
    assert caught.value.exit_code == 1
    assert re.search(r"^fail video +PyAV .* without libx264 -> ", capsys.readouterr().out, re.M)


def test_without_torch_it_is_usable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(sys.modules, "torch", None)  # as if it were not installed
    doctor_module.doctor(as_json=True)
    answer = json.loads(capsys.readouterr().out)
    assert answer["usable"]
    (torch,) = [check for check in answer["checks"] if check["name"] == "torch"]
    assert torch["status"] == "warn"
    assert torch["remedy"] == "pip install 'velatura[train]' to train"
