"""The house: which room may look into which. Arrows point down only."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import velatura

PACKAGE = Path(velatura.__file__).parent

# From the cellar up. A room sees the lines below its own, and neither its own nor those above.
HOUSE = [
    "errors torchvision_guard",
    "diffusers_folder layout plugins config jobs onnx_file ranks restricted",
    "frontier losses metrics regions reidentify transforms video",
    "data models deploy detectors",
    "training",
    "methods attackers inpainting",
    "protocols",
    "report",
    "experiment floors",
    "study",
    "export",
    "impact controls demo sweep",
    "bench",
    "cli",
]
FLOOR = {room: floor for floor, rooms in enumerate(HOUSE) for room in rooms.split()}

# Walls beside the floors: the only rooms, and the libraries, that these may or may not see.
SEES_ONLY = {
    # anonymizes files where torch is not installed
    "deploy": {"video", "layout", "errors", "onnx_file", "regions"},
    "report": {"metrics", "frontier", "layout", "plugins", "config", "errors"},  # trains nothing
}
NEVER = {
    "deploy": {"torch", "torchvision", "cv2"},
    "regions": {"torch", "torchvision"},  # what deployment draws with
    "report": {"torch", "torchvision", "lightning_fabric"},
}


def looks_into(source: str, module: str) -> set[tuple[str, str]]:
    """What a module imports, anywhere in it: ("room", "video") or ("library", "torch").

    Imports inside functions and under TYPE_CHECKING count, and so do the ways round an
    import: a public name of velatura, ``import_module("velatura.x")``, ``load("x", ...)``.
    """
    found = set()

    def note(dotted: str) -> None:
        parts = dotted.split(".")
        if parts[0] != "velatura":
            found.add(("library", parts[0]))
        elif len(parts) > 1 and parts[1] in velatura.__all__:
            note(velatura._HOME[parts[1]])
        elif len(parts) > 1 and not parts[1].startswith("__"):
            found.add(("room", parts[1]))

    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                note(alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*module.split(".")[: -node.level], base]).rstrip(".")
            for alias in node.names:
                note(f"{base}.{alias.name}")
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            first = str(node.args[0].value)
            if called == "import_module" or called == "__import__":
                note(first)
            elif called in ("load", "names", "config_class") and first in FLOOR:
                note(f"velatura.{first}")
    return found


def faults(source: str, module: str) -> list[str]:
    """What a module imports against the rules, as sentences."""
    room = module.split(".")[1]
    if room not in FLOOR:
        return [f"{module} stands on no floor of the house"]
    wrong = []
    for kind, seen in sorted(looks_into(source, module)):
        if kind == "library":
            if seen in NEVER.get(room, ()):
                wrong.append(f"{module} imports {seen}; {room} must do without")
        elif seen == room:
            continue
        elif seen not in FLOOR:
            wrong.append(f"{module} imports velatura.{seen}, which stands on no floor of the house")
        elif FLOOR[seen] >= FLOOR[room]:
            wrong.append(f"{module} imports velatura.{seen}, which does not stand below {room}")
        elif room in SEES_ONLY and seen not in SEES_ONLY[room]:
            wrong.append(f"{module} imports velatura.{seen}; {room} sees {SEES_ONLY[room]} only")
    return wrong


def modules() -> dict[str, Path]:
    """Every module of the package, except its face: __init__ and __main__."""
    return {
        ".".join(("velatura", *path.relative_to(PACKAGE).with_suffix("").parts)): path
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.parent != PACKAGE or not path.stem.startswith("__")
    }


def test_every_room_stands_on_a_floor():
    homeless = {module.split(".")[1] for module in modules()} - set(FLOOR)
    assert not homeless, f"say in HOUSE where these stand: {homeless}"


def test_arrows_point_down():
    wrong = [w for module, path in modules().items() for w in faults(path.read_text(), module)]
    assert not wrong, "\n".join(wrong)


PLANTED = [
    ("velatura.models.r3d", "import velatura.training.loop"),
    ("velatura.models.r3d", "from velatura import training"),
    ("velatura.models.r3d", "def f():\n    from velatura.methods.penalty import Config"),
    ("velatura.models.r3d", "if TYPE_CHECKING:\n    from velatura.data.people import People"),
    ("velatura.models.r3d", "from ..training import loop"),
    ("velatura.models.r3d", "from velatura import load_anonymizer"),
    ("velatura.methods.mine", "import_module('velatura.attackers.frame_cnn')"),
    (
        "velatura.methods.mine",
        "from velatura import plugins\nplugins.load('attackers', 'frame_cnn')",
    ),
    ("velatura.methods.mine", "from velatura.protocols.privacy import run"),
    ("velatura.attackers.mine", "from velatura.methods.penalty import train"),
    ("velatura.deploy.file", "from velatura.config import build"),
    ("velatura.deploy.file", "from velatura.report import page"),
    ("velatura.deploy.file", "def f():\n    import torch"),
    ("velatura.report.page", "from torch import Tensor"),
    ("velatura.report.page", "from velatura.training.fit import fit"),
    ("velatura.errors", "from velatura.config import build"),
    ("velatura.losses", "from velatura.metrics import top1"),
    ("velatura.demo", "from velatura.cli import main"),
    ("velatura.models.r3d", "from velatura.attic import box"),
]


@pytest.mark.parametrize(("module", "source"), PLANTED, ids=[f"{m}:{s[:40]}" for m, s in PLANTED])
def test_a_planted_import_is_found(module: str, source: str):
    assert len(faults(source, module)) == 1


ALLOWED = [
    ("velatura.cli.demo", "from velatura.demo import run\nimport torch"),
    ("velatura.data.folder", "from velatura.video.read import read\nfrom . import people"),
    ("velatura.deploy.file", "from velatura.video.write import write\nimport numpy"),
    (
        "velatura.models.r3d",
        "from velatura import __version__\nfrom velatura.models._parts import x",
    ),
    ("velatura.experiment", "from velatura import plugins\nplugins.load('attackers', 'frame_cnn')"),
]


@pytest.mark.parametrize(("module", "source"), ALLOWED, ids=[m for m, _ in ALLOWED])
def test_an_import_downwards_is_not_a_fault(module: str, source: str):
    assert faults(source, module) == []


def loaded_by(statement: str, *libraries: str) -> list[str]:
    """Which of some libraries a fresh Python has loaded after a statement."""
    code = f"import sys; {statement}; print([l for l in {libraries!r} if l in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return ast.literal_eval(done.stdout)


@pytest.mark.parametrize(
    "statement",
    [
        "import velatura.deploy.file",
        "from velatura import anonymize_video",
        "from velatura import Measurement, ClipSet, Anonymizer",
        "import velatura.cli; [velatura.cli.load(verb) for verb in velatura.cli.verbs()]",
        "import velatura.config, velatura.plugins, velatura.layout",
        "import velatura.deploy.regions, velatura.impact.anonymize",
    ],
)
def test_deployment_and_the_command_line_start_without_torch(statement: str):
    heavy = ("torch", "torchvision", "cv2", "lightning_fabric", "sklearn", "plotly")
    assert loaded_by(statement, *heavy) == []


def test_the_bare_package_is_light():
    assert loaded_by("import velatura", "numpy", "av", "pydantic", "typer", "torch") == []


def test_a_loaded_library_would_be_seen():
    assert loaded_by("import velatura.torchvision_guard", "torch", "cv2") == ["torch"]
