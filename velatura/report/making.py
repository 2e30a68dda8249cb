"""How a run was made: what its methods learnt, and all that is needed to repeat it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from html import escape
from typing import Any

from velatura.config import to_toml
from velatura.report.findings import label
from velatura.report.markup import Section, plot, truth
from velatura.report.run import Run, mapping, number

__all__ = ["learnt", "made"]


def learnt(names: Sequence[str], panels: Sequence[Sequence[Any]]) -> Section | str:
    """The curves of the rows that have a training log."""
    if not names:
        return ""
    buttons = "".join(
        f'<button type="button" aria-pressed="{truth(i == len(names) - 1)}" data-index="{i}">'
        f"{escape(label(n))}</button>"
        for i, n in enumerate(names)
    )
    cards = "".join(
        f'<div class="card"><h3></h3>{plot(f"curve-{i}", "")}</div>'
        for i in range(max(map(len, panels)))
    )
    body = (
        "<p>The two players' losses, and how far the anonymizer moves the picture (RMS, "
        "intensities from 0 to 1). A bound binds only where the RMS reaches it.</p>"
        '<div class="bar" id="curve-rows" role="group" aria-label="Method">'
        f'{buttons}</div><div class="panels" id="panels">{cards}</div>'
    )
    return Section("learnt", "How it was learnt", body)


def made(run: Run) -> Section:
    """Command, seed, data, versions, time and configuration."""
    summary = run.summary
    data = mapping(summary.get("data"))
    facts: list[tuple[str, str]] = []
    if summary.get("command"):
        facts.append(("Command", f"<code>{escape(str(summary['command']))}</code>"))
    for key, name in [("seed", "Seed"), ("created", "Finished"), ("dataset", "Data")]:
        if summary.get(key) is not None:
            text = str(summary[key])
            facts.append((name, escape(_moment(text) if key == "created" else text)))
    sizes = [
        f"{data[k]:,} {k}" for k in ("train", "val", "test") if number(data.get(k)) is not None
    ]
    if sizes:
        people = [
            f"{data[k]:,} {text}"
            for k, text in [("train_people", "to train on"), ("test_people", "others to test on")]
            if number(data.get(k)) is not None
        ]
        who = f"; people: {', '.join(people)}" if people else ""
        facts.append(("Clips", escape(", ".join(sizes) + who)))
    if data.get("fingerprint"):
        facts.append(("Data fingerprint", f"<code>{escape(str(data['fingerprint']))}</code>"))
    memory = number(summary.get("peak_rss_mb"))
    if memory is not None:
        facts.append(("Peak memory", f"{memory / 1024:.1f} GiB"))
    versions = summary.get("versions")
    if isinstance(versions, dict):
        text = ", ".join(f"{k}\u00a0{v}" for k, v in versions.items())
        facts.append(("Versions", escape(text)))
    listed = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts)

    stages = ""
    seconds = summary.get("seconds")
    if isinstance(seconds, dict):
        known = {str(k): v for k, x in seconds.items() if (v := number(x)) is not None}
        total = known.pop("total", None) or sum(known.values())
        longest = max(known.values(), default=0) or 1
        bars = "".join(
            f'<span>{escape(label(k))}</span><i style="width:{100 * v / longest:.1f}%"></i>'
            f'<span class="num">{_seconds(v)}</span>'
            for k, v in known.items()
        )
        stages = (
            f"<div><h3>Time, {_seconds(total)} in all</h3><div class='stages'>{bars}</div></div>"
        )

    config = summary.get("config")
    toml = ""
    if isinstance(config, dict) and config:
        toml = (
            "<details><summary>Configuration</summary><p class='small soft'>Saved as a file, "
            "<code>velatura train</code> repeats it.</p>"
            f"<pre>{escape(_toml(config))}</pre></details>"
        )
    body = (
        f'<div class="two"><div><h3>The run</h3><dl>{listed}</dl></div>{stages}</div>'
        f'<div style="margin-top:28px">{DEFINITIONS}{toml}</div>'
    )
    return Section("made", "How it was made", body)


DEFINITIONS = """
<details open><summary>What U and L are</summary>
<dl style="margin-top:10px">
<dt>Utility U</dt><dd>(top-1 &minus; chance) / (top-1 on raw video &minus; chance): how much of the
action recognition is left, for networks freshly trained on the anonymized clips.</dd>
<dt>Leakage L</dt><dd>(cMAP &minus; chance) / (cMAP on raw video &minus; chance): how much of what
the strongest attacker reads about the person from raw video is still read, by attackers freshly
trained on the anonymized clips. Chance is the mean prevalence of the attributes in the test
split.</dd>
<dt>Action alone</dt><dd>A table of how often each attribute goes with each action. Whoever keeps
the action readable cannot leak less than this.</dd>
<dt>Intervals</dt><dd>95&#8239;%, from resampling test people (or source films), the same for
every row. They do not contain the scatter between training seeds.</dd>
</dl></details>
<details open><summary>What this page cannot tell</summary>
<p style="margin-top:10px">Every L is against the attackers of this run, so it is a lower bound on
what can be read: a stronger network, more data or a person who knows the people may read more.
Only the attributes that were labelled were tested. A low L is no proof of anonymity, and the
strongest attacker is chosen on the test split, against the method.</p></details>
"""


def _moment(text: str) -> str:
    """An ISO date and time for people; as it is, if it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    zone = moment.tzname() or ""
    return f"{moment:%Y-%m-%d %H:%M} {zone}".strip()


def _seconds(value: float) -> str:
    minutes, seconds = divmod(round(value), 60)
    if minutes:
        return f"{minutes} min {seconds:02d} s"
    return f"{value:.1f} s" if value < 10 else f"{seconds} s"


def _toml(config: dict[str, Any]) -> str:
    """The configuration as TOML; fields that are not set (null) have no form there."""

    def given(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: given(v) for k, v in value.items() if v is not None}
        return value

    return to_toml(given(config))
