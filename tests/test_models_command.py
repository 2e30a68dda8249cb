"""``velatura models``, and the page that shows it."""

from __future__ import annotations

import json
import re
import time
import tomllib
from pathlib import Path

import pytest

from velatura import plugins
from velatura.cli.models import models
from velatura.config import build
from velatura.errors import BadInput


def printed(capsys: pytest.CaptureFixture[str], name: str = "", as_json: bool = False) -> str:
    models(name, as_json)
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_all_networks_with_their_figures(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "120")
    text = printed(capsys)
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert [name for name in lines if name in plugins.names("models")] == plugins.names("models")
    assert re.fullmatch(
        r"mvit_v2_s +target +34\.54 +64\.22 +16 x 224² +file, hub, KINETICS400_V1 *",
        lines["mvit_v2_s"],
    )
    assert re.match(r"resnet50 +target, budget, attacker +25\.56 +4\.09 +224² ", lines["resnet50"])
    assert re.match(
        r"unetpp_resnet18 +anonymizer +5\.51 +12\.\d\d +224² ", lines["unetpp_resnet18"]
    )
    assert re.match(r"gated_unet +anonymizer +0\.\d\d .* fresh only *$", lines["gated_unet"])
    assert "a multiplication and its addition are one" in text


def test_all_networks_as_json_and_within_seconds(capsys: pytest.CaptureFixture[str]):
    """Every figure; half a minute is far more than it takes, and far less than making them."""
    start = time.process_time()
    rows = json.loads(printed(capsys, as_json=True))
    assert time.process_time() - start < 30
    assert [row["name"] for row in rows] == plugins.names("models")
    found = {row["name"]: row for row in rows}
    assert found["resnet50"] == {
        "name": "resnet50",
        "roles": ["target", "budget", "attacker"],
        "parameters": 25_557_032,
        "unused": 0,
        "gflops": 4.089,
        "frames": 1,
        "side": 224,
        "classes": 1000,
        "weights": ["file", "hub", "IMAGENET1K_V1", "IMAGENET1K_V2"],
    }
    attackers = {row["name"] for row in rows if "attacker" in row["roles"]}
    assert attackers == set(plugins.names("attackers")) & set(found)
    for wanted in ("resnet18", "resnet34", "resnet101", "resnet152", "r3d_18", "vit", "convnext"):
        assert wanted in attackers


def test_one_network(capsys: pytest.CaptureFixture[str]):
    (row,) = json.loads(printed(capsys, "r3d_18", as_json=True))
    assert (row["parameters"], row["gflops"]) == (33_371_472, 40.697)
    with pytest.raises(BadInput, match=r"^No network named 'r3d18'\. Did you mean 'r3d_18'\? "):
        models("r3d18")


# The page


def test_the_page_says_what_the_command_says(root: Path, capsys: pytest.CaptureFixture[str]):
    page = (root / "docs" / "networks.md").read_text(encoding="utf-8")
    rows = {row["name"]: row for row in json.loads(printed(capsys, as_json=True))}
    shown = {}
    row_of_five = r"^\| `(\w+)` \| ([^|]*) \| ([^|]*) \| ([^|]*) \| ([^|]*) \|$"
    for name, *cells in re.findall(row_of_five, page, re.M):
        shown[name] = cells
    assert shown.keys() <= rows.keys()
    assert {n for n in rows if hasattr(plugins.load("models", n), "NATIVE")} <= shown.keys()
    for name, (roles, clip, parameters, gflops) in shown.items():
        row = rows[name]
        assert f"{row['parameters'] / 1e6:.2f}" == parameters, name
        assert f"{row['gflops']:.2f}" == gflops, name
        frames = f"{row['frames']} x " if row["frames"] > 1 else ""
        assert clip == f"{frames}{row['side']}²", name
        assert [role.strip() for role in roles.split(",")] == row["roles"], name


def test_the_snippets_of_the_page_are_run_files(root: Path):
    """Each section names networks that have the role, with keys and values that they take."""
    page = (root / "docs" / "networks.md").read_text(encoding="utf-8")
    snippets = [tomllib.loads(t) for t in re.findall(r"^```toml\n(.*?)^```", page, re.M | re.S)]
    assert len(snippets) >= 3
    roles = {"anonymizer": "anonymizer", "target": "classifier", "budget": "encoder"}
    for values in snippets:
        window = values.get("batches", {})
        for section, role in roles.items():
            if section in values:
                name = values[section].pop("name")
                module = plugins.load("models", name)
                assert hasattr(module, role), name
                cfg = build(module.Config, values[section], section)
                if hasattr(module, "check"):
                    module.check(cfg, window["frames"], window["size"], window["size"])
        evaluation = values.get("evaluation", {})
        for name in evaluation.get("targets", []):
            assert hasattr(plugins.load("models", name), "classifier")
        for name in evaluation.get("attackers", []):
            plugins.load("attackers", name)
        for name, given in evaluation.get("networks", {}).items():
            build(plugins.config_class("models", name), given, f"evaluation.networks.{name}")
