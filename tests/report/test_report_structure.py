"""The page as a document: for the keyboard, for screen readers, and for runs of strangers."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from fake_run import ROWS, write

from velatura.report import page
from velatura.report.page import write_report

VOID = {"meta", "link", "br", "input", "rect"}


class Document(HTMLParser):
    """Every element with its attributes, its parents and its text."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.open = [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        element = {"tag": tag, "text": "", "in": [e["tag"] for e in self.open], **dict(attrs)}
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        assert self.open.pop()["tag"] == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data

    def all(self, *tags):
        return [e for e in self.elements if e["tag"] in tags]


@pytest.fixture(scope="module", params=["finished", "full", "bare"])
def html(request, tmp_path_factory):
    out = tmp_path_factory.mktemp("page")
    if request.param == "bare":
        (out / "summary.json").write_text('{"rows": [{"name": "raw"}]}')
        return write_report(out).read_text().replace(page._plotly(), "")
    run = request.getfixturevalue(request.param)
    return write_report(run, out / "report.html").read_text().replace(page._plotly(), "")


@pytest.fixture(scope="module")
def document(html):
    return Document(html)


def test_every_element_is_closed_and_every_id_is_one(document):
    assert document.open == []
    ids = [e["id"] for e in document.elements if "id" in e]
    assert len(ids) == len(set(ids))


def test_what_is_referred_to_is_there(document):
    ids = {e["id"] for e in document.elements if "id" in e}
    for element in document.elements:
        for name in ("aria-labelledby", "aria-controls", "for"):
            assert element.get(name) is None or element[name] in ids
        if element.get("href", "").startswith("#"):
            assert element["href"][1:] in ids


def test_landmarks_and_headings(document):
    assert len(document.all("main")) == len(document.all("h1")) == 1
    assert document.all("header")
    assert document.all("nav")[0]["aria-label"] == "Contents"
    assert document.all("footer")
    levels = [int(e["tag"][1]) for e in document.all("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))
    first = next(e for e in document.elements if e["tag"] == "a")
    assert first["class"] == "skip"
    listed = [e["text"] for e in document.all("a") if "nav" in e["in"]]
    assert listed == [e["text"] for e in document.all("h2")]


def test_whatever_is_drawn_has_words(document):
    for element in document.elements:
        if element.get("role") == "img" and "plot" in element.get("class", ""):
            described = element["aria-label"] or "ladder" in element["id"]
            assert described or element["id"].startswith(("effort", "curve"))  # by the script
        elif element.get("role") in ("img", "region", "group"):
            assert element["aria-label"]
        if element["tag"] == "svg":
            assert element["aria-hidden"] == "true"


def test_whatever_is_used_is_a_button_a_link_or_a_labelled_field(document):
    labelled = {e["for"] for e in document.all("label")}
    for field in document.all("input", "select"):
        assert field["id"] in labelled
    for button in document.all("button"):
        assert button["type"] == "button"
        assert button["text"].strip()
    assert not [e for e in document.elements if any(k.startswith("on") for k in e)]
    assert not [e for e in document.elements if e.get("tabindex") not in (None, "0", "-1")]


def test_every_table_says_what_it_is_and_sorts_by_buttons(document):
    for cell in document.all("th"):
        assert cell["scope"] in ("row", "col")
        if "thead" in cell["in"]:
            assert cell["text"].strip()
    heads = [e for e in document.all("button") if "thead" in e["in"]]
    assert len(heads) == len([e for e in document.all("th") if "thead" in e["in"]])
    assert len(document.all("caption")) == len(document.all("table"))


def test_nothing_is_fetched_from_anywhere(html):
    assert not re.findall(r"https?://|@import|srcset|<(?:iframe|object|embed|base|img|video)", html)
    for attribute, value in re.findall(r'\b(src|href|action)\s*=\s*"([^"]*)"', html):
        assert value.startswith(("data:", "#")), (attribute, value[:40])


def test_an_older_run_says_in_sentences_what_it_lacks(finished, full, tmp_path):
    lacks = ["Attack-budget curves:", "Identity:", "Inversion:", "Utility per target:",
             "people: not measured"]  # fmt: skip
    before = write_report(finished, tmp_path / "old.html").read_text()
    now = write_report(full, tmp_path / "new.html").read_text()
    for lack in lacks:
        assert lack in before
        assert lack not in now
    for title in ("Has the attacker saturated?", "Is a person found again?",
                  "Is the picture recovered?", "Who still reads the action",
                  "For whom the action is kept"):  # fmt: skip
        assert title not in before
        assert title in now
    assert "Its L is not final." in now
    assert "The ladder of attackers" in before


def test_downloads_are_the_files_beside_the_page(full, tmp_path):
    import base64

    path = write_report(full, tmp_path / "report.html")
    found = Document(path.read_text().replace(page._plotly(), ""))
    links = {e["download"]: e["href"] for e in found.all("a") if "download" in e}
    assert set(links) == {"table.csv", "table.md", "summary.json"}
    for name, href in links.items():
        content = base64.b64decode(href.split(",", 1)[1]).decode()
        if name == "summary.json":
            assert json.loads(content) == json.loads((tmp_path / name).read_text())
        else:
            assert content == (tmp_path / name).read_text()


def test_every_text_of_the_new_keys_is_escaped(full, tmp_path):
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"
    summary = json.loads((full / "summary.json").read_text())
    row = summary["rows"][-1]
    row["name"] = evil
    row["rungs"][1] |= {"rung": evil, "by": evil}
    row["rungs"][2]["attributes"] = {evil: {"ap": 60.0}}
    row["headline"] |= {"rung": evil, "by": evil}
    summary["floor"]["attributes"] = {evil: {"ap": 50.0}}
    row["identity"] = {evil: row["identity"]["raw_to_anon"] | {"tar": {evil: 3.0}}}
    row["targets"] = {evil: {"top1": [50.0], "U": [0.5]}}
    row["plugin"] = {evil: 3.0}
    row["groups"] = {evil: {"present": 5.0, "absent": 90.0}}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    html = write_report(tmp_path).read_text().replace(page._plotly(), "")
    assert "<script>alert" not in html
    assert "<img" not in html
    assert Document(html).open == []
    assert html.count("<script") == 3


def test_new_keys_of_another_kind_are_left_out(full, tmp_path):
    summary = json.loads((full / "summary.json").read_text())
    for row, odd in zip(
        summary["rows"], [None, 3, "x", [], [3], {"a": 3}, {"a": {}}], strict=False
    ):
        for key in ("rungs", "headline", "identity", "inversion", "budget", "targets", "plugin",
                    "groups"):  # fmt: skip
            row[key] = odd
    summary["floor"]["attributes"] = 3
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    assert "The ladder of attackers" in write_report(tmp_path).read_text()


def test_a_large_run_stays_below_ten_megabytes(tmp_path):
    """25 rows, each with pictures that do not compress."""
    write(tmp_path, rows=["raw", "constrained"], replicates=5, schema=2)
    summary = json.loads((tmp_path / "summary.json").read_text())
    raw, template = summary["rows"]
    summary["rows"] = [raw, *({**template, "name": f"constrained_{i}"} for i in range(24))]
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    noise = np.random.default_rng(0).integers(0, 256, (4, 12, 48, 48, 3), np.uint8)
    np.savez(tmp_path / "sheet.npz", **{row["name"]: noise for row in summary["rows"]})
    log = (tmp_path / "methods" / "constrained" / "log.jsonl").read_text()
    for row in summary["rows"][1:]:
        (tmp_path / "methods" / row["name"]).mkdir()
        (tmp_path / "methods" / row["name"] / "log.jsonl").write_text(log)
    path = write_report(tmp_path)
    assert 4_000_000 < path.stat().st_size < 10_000_000
    assert path.read_text().count("{--strip:") >= 25


def test_pictures_give_way_to_numbers(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "LIMIT", len(page._plotly()) + 500_000)
    html = write_report(finished, tmp_path / "x.html").read_text()
    assert "its pictures hold every" in html
    assert len(html) < page.LIMIT
    monkeypatch.setattr(page, "LIMIT", 1000)
    assert "they are left out" in write_report(finished, tmp_path / "y.html").read_text()


# Colours


def colours(css, dark):
    light, night = css.split("@media screen and (prefers-color-scheme: dark)")[:2]
    found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", light.split("}")[0]))
    return found | (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", night.split("}")[0])) if dark else {}
    )


def luminance(colour):
    """Of WCAG 2.2, https://www.w3.org/TR/WCAG22/#dfn-relative-luminance."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def contrast(a, b):
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_measured_as_it_should_be():
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("dark", [False, True])
def test_texts_and_edges_stand_out(dark):
    """AA: 4.5 for what is read, 3 for what is only seen."""
    found = colours(page._asset("page.css"), dark)
    for text in ("ink", "soft", "reference", "fixed", "self-supervised", "supervised", "learned",
                 "keep", "leak"):  # fmt: skip
        for ground in ("paper", "card"):
            assert contrast(found[text], found[ground]) >= 4.5, (text, ground)
    for text in ("ink", "soft"):
        assert contrast(found[text], found["wash"]) >= 4.5, text
    assert contrast(found["edge"], found["card"]) >= 3
    assert contrast(found["edge"], found["paper"]) >= 3
    # the darkest cell of the table of attackers: 42 % of --leak over --card, under --ink
    mixed = [
        round(0.42 * int(found["leak"][i : i + 2], 16) + 0.58 * int(found["card"][i : i + 2], 16))
        for i in (1, 3, 5)
    ]
    assert contrast(found["ink"], "#" + "".join(f"{c:02x}" for c in mixed)) >= 4.5


def test_the_marks_of_the_families_differ():
    from velatura.report import figures, trade_off

    assert len(set(figures.SYMBOLS.values())) == len(figures.SYMBOLS)
    assert len(set(trade_off.MARKS.values())) == len(trade_off.MARKS) == len(figures.FAMILY_NAMES)
    assert len(ROWS) == 9


def test_motion_stops_for_those_who_ask():
    css = page._asset("page.css")
    assert re.search(r"prefers-reduced-motion: reduce\) \{\s*body:not\(.playing\) .clip \{", css)
    assert ":focus-visible { outline: 2px solid" in css
