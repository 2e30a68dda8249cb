"""The page itself: complete, offline, safe, and drawn by a real browser."""

import base64
import json
import re
import subprocess
import sys
import zlib

import numpy as np
import pytest
from fake_run import ROWS, write

from velatura.errors import BadInput
from velatura.report import page
from velatura.report.markup import embedded as embedded_json
from velatura.report.page import write_report
from velatura.report.pictures import png
from velatura.report.tables import value_text


def body_of(html):
    """The page without its scripts, styles and pictures."""
    html = re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    return re.sub(r"<style.*?</style>", "", html, flags=re.DOTALL)


def embedded(html):
    text = re.search(r'<script id="data"[^>]*>(.*?)</script>', html, re.DOTALL)[1]
    return json.loads(text)


# What is written


def test_files_beside_the_page(run, tmp_path):
    path = write_report(run)
    assert path == run / "report.html"
    assert (run / "table.csv").read_text().startswith("name,method,top1")
    assert "| constrained |" in (run / "table.md").read_text()
    other = write_report(run, tmp_path / "talk" / "demo.html")
    assert other == tmp_path / "talk" / "demo.html"
    assert json.loads((other.parent / "summary.json").read_text())["rows"]
    assert write_report(run, tmp_path / "folder") == tmp_path / "folder" / "report.html"
    assert not list(tmp_path.rglob("*.part"))


def test_every_number_of_the_table_is_on_the_page(run):
    html = write_report(run).read_text()
    body = re.search('<table id="table".*?</table>', body_of(html), re.DOTALL)[0]
    for row in json.loads((run / "summary.json").read_text())["rows"]:
        line = re.search(f'<tr data-name="{row["name"]}">.*?</tr>', body)[0]
        for key, decimals in [("U", 2), ("L", 2), ("top1", 1), ("cmap", 1)]:
            value, inside = value_text(row, key, decimals)
            assert f">{value}<" in line
            assert inside in line


def test_the_page_loads_nothing(run):
    """No address in any element, style or embedded number; plotly.js only names some."""
    html = write_report(run).read_text()
    assert "default-src 'none'" in html
    outside = html.replace(page._plotly(), "")
    assert len(outside) < len(html) - 1_000_000
    assert not re.findall(r"https?://|@import|<link(?! rel=\"icon\" href=\"data:,\")", outside)
    assert not re.findall(r'(?:src|href|action)\s*=\s*"(?!data:|#)', outside)
    assert set(re.findall(r"url\((.{5})", outside)) == {"data:"}


def test_every_text_is_escaped(run):
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"
    summary = json.loads((run / "summary.json").read_text())
    for key in ("title", "command", "dataset", "created"):
        summary[key] = evil
    summary["sentences"] = [evil]
    summary["versions"] = {evil: evil}
    summary["config"] = {"text": evil}
    summary["data"]["fingerprint"] = evil
    summary["seconds"] = {evil: 3.0}
    row = summary["rows"][-1]
    row["name"] = row["strongest"] = evil
    row["attributes"] = {evil: row["attributes"]["hair"] | {"attacker": evil}}
    row["attackers"] = {evil: row["attackers"]["held_out"]}
    (run / "summary.json").write_text(json.dumps(summary))
    arrays = dict(np.load(run / "sheet.npz"))
    np.savez(run / "sheet.npz", **(arrays | {"labels": np.array([evil] * 3)}))
    html = write_report(run).read_text()
    assert "<script>alert" not in html
    assert "<img" not in body_of(html)
    assert html.count("<script") - page._plotly().count("<script") == 3
    assert embedded(html)["trade_off"]["meta"]["labels"][-1]["text"].startswith("&lt;/script")


def test_embedded_numbers_cannot_end_their_script():
    text = embedded_json({"</script>": "<!-- & -->"})
    assert not set("<>&") & set(text)
    assert json.loads(text) == {"</script>": "<!-- & -->"}


def test_pictures_survive(run):
    """The strips are decoded again, by another PNG reader, and compared byte for byte."""
    cv2 = pytest.importorskip("cv2")
    html = write_report(run).read_text()
    sheet = np.load(run / "sheet.npz")
    for i, name in enumerate(ROWS):
        for example in (0, 2):
            uri = re.search(rf"\.s{i}-{example}{{--strip:url\(data:image/png;base64,(.*?)\)", html)[
                1
            ]
            data = np.frombuffer(base64.b64decode(uri), np.uint8)
            image = cv2.imdecode(data, cv2.IMREAD_COLOR)[:, :, ::-1]
            assert (image == np.concatenate(list(sheet[name][example]), axis=1)).all()


# Runs that lack something


def test_a_run_of_one_row_without_anything_else(tmp_path):
    (tmp_path / "summary.json").write_text('{"rows": [{"name": "raw"}]}')
    body = body_of(write_report(tmp_path).read_text())
    for lack in ("No sheet.npz", "No training logs", "No records.jsonl"):
        assert lack in body
    assert "Only reference rows so far" in body
    assert "What is left to see" not in body
    assert "Without both numbers, and so not drawn: raw." in body


def test_an_unfinished_run(tmp_path):
    path = write(tmp_path / "run", rows=["raw", "blur"], replicates=5)
    (path / "methods" / "spact").mkdir(parents=True)
    log = path / "methods" / "spact" / "log.jsonl"
    log.write_bytes(b'{"step": 0, "rms": 0.1}\n{"step": 1, "r\xff\xfe')
    html = write_report(path).read_text()
    assert "methods/spact/log.jsonl: 1 unreadable line left out" in body_of(html)
    assert embedded(html)["curves"][0][0]["data"][0]["y"] == [0.1]


def test_an_empty_run(tmp_path):
    (tmp_path / "summary.json").write_text('{"rows": []}')
    assert "Nothing has been measured yet." in body_of(write_report(tmp_path).read_text())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04 broken", "cannot be read"),
        (b"", "cannot be read"),
        (b"text", "cannot be read"),
    ],
)
def test_a_damaged_sheet_is_named(run, content, message):
    (run / "sheet.npz").write_bytes(content)
    assert message in body_of(write_report(run).read_text())


def test_a_sheet_is_never_unpickled(run, tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    np.savez(run / "sheet.npz", raw=np.array([Trap()], dtype=object))
    assert "cannot be read" in body_of(write_report(run).read_text())
    assert not (tmp_path / "sprung").exists()


def test_a_sheet_of_another_shape_is_named(run):
    flat, real = np.zeros((2, 3, 4), np.uint8), np.zeros((1, 1, 2, 2, 3))
    empty = np.zeros((0, 1, 2, 2, 3), np.uint8)
    np.savez(run / "sheet.npz", raw=flat, blur=real, spact=empty)
    body = body_of(write_report(run).read_text())
    assert "What is left to see" not in body
    assert "sheet.npz, blur: expected" in body
    assert "sheet.npz, raw: expected" in body
    assert "(2, 3, 4) uint8" in body


def test_numbers_that_are_none_or_of_another_kind(run):
    """A run of a stranger, or of a smoke test: nothing is drawn from what is no number."""
    summary = json.loads((run / "summary.json").read_text())
    first, second, third, *_ = summary["rows"]
    first.update(U=None, L=None, U_interval=[None, None], L_interval=[None, None])
    second.update(U="1", L=[2], attackers=[], attributes=3, top1=True, method=["x"])
    third.update(L=float("nan"), L_interval="x", attackers={"cnn": {"cmap": None}, "x": 1})
    summary.update(chance=None, floor=[], data=5, versions=[], config="x", seconds=3, sentences=7)
    (run / "summary.json").write_text(json.dumps(summary))
    html = write_report(run).read_text()
    assert "NaN" not in json.dumps(embedded(html))
    assert "not drawn: raw, constant, blur." in body_of(html)


# Bad input


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "holds no summary.json; `velatura demo`"),
        ('{"rows": [', "is damaged"),
        ("[]", "is not the summary of a run"),
        ('{"rows": [{"top1": 3}]}', "each with a `name`"),
        ('{"rows": {"raw": {}}}', "needs a list"),
    ],
)
def test_summaries_that_are_none(tmp_path, content, message):
    if content is not None:
        (tmp_path / "summary.json").write_text(content)
    with pytest.raises(BadInput, match=message):
        write_report(tmp_path)


def test_no_such_folder(tmp_path):
    with pytest.raises(BadInput, match="There is no folder"):
        write_report(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="is a file; name the folder"):
        write_report(tmp_path / "file")


def test_a_place_that_cannot_be_written(run, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="name another with --out"):
        write_report(run, tmp_path / "file" / "report.html")


# The command


def command(*words):
    return subprocess.run(
        [sys.executable, "-m", "velatura", "report", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command(run):
    done = command(run)
    assert done.returncode == 0, done.stderr
    assert "Constrained keeps 9" in done.stdout
    assert "report.html, with table.csv" in done.stdout
    assert (run / "report.html").stat().st_size > 4_000_000


def test_the_command_as_json(run, tmp_path):
    done = command(run, "--json", "--out", tmp_path / "x.html")
    rows = json.loads(done.stdout)
    assert rows == json.loads((run / "summary.json").read_text())["rows"]
    assert (tmp_path / "x.html").exists()


def test_the_command_without_a_summary(tmp_path):
    done = command(tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "holds no summary.json" in done.stderr


# In a browser

PROBE = """
<script>
window.addEventListener("load", () => setTimeout(() => {
  const out = document.createElement("pre");
  const axes = [...document.querySelectorAll(".js-plotly-plot")];
  out.id = "probe";
  out.textContent = JSON.stringify({
    problems: window.problems, ready: document.documentElement.dataset.ready,
    requests: performance.getEntriesByType("resource").map((r) => r.name)
      .filter((n) => !n.startsWith("data:")),
    plots: axes.map((p) => [p.id, p.querySelectorAll("svg").length]),
    points: document.querySelectorAll("#trade-off .scatterlayer .point").length,
    names: [...document.querySelectorAll("#trade-off .annotation-text")].map((t) => t.textContent),
    colours: [...document.querySelectorAll("#trade-off .scatterlayer .point")]
      .map((p) => getComputedStyle(p).fill),
    bars: document.querySelectorAll("#attributes .barlayer .point").length,
    lines: document.querySelectorAll("#panels .js-line").length,
    wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    over: axes.filter((p) => p.querySelector("svg").getBoundingClientRect().right
      > p.parentElement.getBoundingClientRect().right + 1).map((p) => p.id),
    pictures: [...document.querySelectorAll(".clip")].filter((c) =>
      getComputedStyle(c).backgroundImage.startsWith("url(") && c.clientWidth > 40).length,
    dark: getComputedStyle(document.body).backgroundColor,
  });
  document.body.append(out);
  if (window.parent !== window) window.parent.postMessage(out.textContent, "*");
}, 400));
</script>
"""
LISTEN = """<script>
window.problems = [];
window.addEventListener("error", (e) => window.problems.push(String(e.message || e.target)), true);
window.addEventListener("securitypolicyviolation", (e) =>
  window.problems.push(`policy: ${e.blockedURI}`));
for (const kind of ["error", "warn"])
  console[kind] = (...words) => window.problems.push(words.join(" "));
</script>"""


def browse(chromium, html, folder, *flags, act="", width=None):
    """Open a page from disk in headless Chromium and return what the probe saw in it."""
    html = html.replace("<head>", f"<head>{LISTEN}", 1).replace(
        "</body>", f"<script>{act}</script>{PROBE}</body>"
    )
    file = folder / "probed.html"
    file.write_text(html)
    if width is not None:  # Chromium's own windows have a least width; a frame has none
        frame = f'<iframe src="probed.html" style="width:{width}px;height:4000px"></iframe>'
        (folder / "frame.html").write_text(
            f'{frame}<pre id="probe"></pre><script>onmessage = (e) => '
            'document.getElementById("probe").textContent = e.data</script>'
        )
        file = folder / "frame.html"
    done = subprocess.run(
        [
            chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", "--disable-dev-shm-usage", f"--user-data-dir={folder / 'profile'}",
            "--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1280,2000",
            "--virtual-time-budget=5000", *flags, "--dump-dom", file.as_uri(),
        ],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    text = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.DOTALL)[1]
    return json.loads(text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


@pytest.mark.browser
def test_the_page_in_a_browser(chromium, finished, tmp_path):
    html = write_report(finished, tmp_path / "report.html").read_text()
    seen = browse(chromium, html, tmp_path)
    assert seen["problems"] == []
    assert seen["ready"] == "yes"
    assert seen["requests"] == []
    plots = dict(seen["plots"])
    assert plots["trade-off"] >= 1
    assert plots["attributes"] >= 1
    assert seen["points"] == len(ROWS) + 1  # and the ideal
    assert "rgb(0, 112, 95)" in seen["colours"]  # --supervised of the light scheme
    assert {"ideal", "constrained", "penalty 0.2"} <= set(seen["names"])
    assert seen["bars"] == 3 * 9  # raw, the best filter, the best method
    assert seen["lines"] >= 6
    assert seen["pictures"] == len(ROWS) + 2
    assert seen["wide"] <= 0
    assert seen["over"] == []


@pytest.mark.browser
def test_the_page_on_a_phone(chromium, finished, tmp_path):
    html = write_report(finished, tmp_path / "report.html").read_text()
    seen = browse(chromium, html, tmp_path, width=390)
    assert seen["problems"] == []
    assert seen["wide"] <= 0
    assert seen["over"] == []
    assert seen["points"] == len(ROWS) + 1


@pytest.mark.browser
def test_the_buttons_and_the_dark_scheme(chromium, finished, tmp_path):
    html = write_report(finished, tmp_path / "report.html").read_text()
    act = """
      document.querySelectorAll("#attribute-rows button").forEach((b) => {
        if (b.ariaPressed !== "true") b.click(); });
      document.querySelector("#curve-rows button").click();
      document.querySelectorAll("#examples button[data-index]")[2].click();
      if (document.querySelectorAll(".s0-2").length !== 3) throw Error("example not changed");
      document.getElementById("play").click();
      if (!document.body.classList.contains("paused")) throw Error("not paused");
    """
    seen = browse(chromium, html, tmp_path, "--blink-settings=preferredColorScheme=0", act=act)
    assert seen["problems"] == []
    assert seen["bars"] == len(ROWS) * 9
    assert seen["pictures"] == len(ROWS) + 2
    assert seen["dark"] == "rgb(22, 20, 18)"


@pytest.mark.browser
def test_a_bare_run_in_a_browser(chromium, tmp_path):
    (tmp_path / "summary.json").write_text('{"rows": [{"name": "raw"}]}')
    seen = browse(chromium, write_report(tmp_path).read_text(), tmp_path)
    assert seen["problems"] == []
    assert seen["points"] == 1


@pytest.mark.browser
def test_the_page_refuses_the_network(chromium, finished, tmp_path):
    """The probe's teeth: a picture from elsewhere is stopped by the page's own policy."""
    html = write_report(finished, tmp_path / "report.html").read_text()
    html = html.replace("<main id", '<img src="https://example.org/x.png"><main id')
    seen = browse(chromium, html, tmp_path)
    assert any("example.org" in problem for problem in seen["problems"])


def test_png_is_small():
    """Rows are predicted from the one above: a fall of light costs next to nothing."""
    first = np.random.default_rng(0).integers(0, 100, (1, 64, 3), np.uint8)
    image = first + np.arange(64, dtype=np.uint8)[:, None, None]
    assert 10 * len(png(image)) < len(zlib.compress(image.tobytes()))
