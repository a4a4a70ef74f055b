"""What `stemline data` prints: a corpus before any work, and what was ingested."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from pipeline.common.process import shown
from pipeline.common.terminal import Terminal

console = Terminal(highlight=False)
MOST_LISTED, MOST_NAMED = 20, 3


def print_survey(found: Mapping[str, Any]) -> None:
    """A corpus as `pipeline.data.survey.survey` describes it, the verdict last."""
    console.say(f"layout: {found['format']} ({found['layout']})")
    files = found["files"]
    unusable = f", {files['unusable']} of them unusable" if files["unusable"] else ""
    console.say(
        f"files: {files['count']}, {size(files['bytes'])}{unusable}; TFRecords of about {size(found['records_bytes'])}"
    )
    for words, kind, unit in (("codecs", "codecs", ""), ("rates", "rates_hz", " Hz"), ("channels", "channels", "")):
        console.say(f"{words}: {counted(files[kind], unit)}")
    console.print(_splits(found["splits"]))
    console.print(_stems(found["stems"]))
    for remark in found["remarks"]:
        console.say(remark, "yellow")
    for words in beside(found):
        console.say(words)
    for track in found["bad_tracks"][:MOST_LISTED]:
        console.say(f"bad track: {track['track']} ({track['split']}): {track['reason']}", "yellow")
    if (more := len(found["bad_tracks"]) - MOST_LISTED) > 0:
        console.say(f"and {more} more, which --json and --page list", "yellow")
    console.say(found["verdict"], None if found["usable"] else "red")


def print_ingested(found: Mapping[str, Any]) -> None:
    """What `pipeline.data.survey.ingested` describes, and the run that took it in."""
    data = found["data"]
    console.say(f"ingested by run {found['run']} of {found['recipe']} ({found['started'][:16].replace('T', ' ')})")
    console.say(f"data: {data['format']}{', ' + data['path'] if data['path'] else ''}")
    console.say(f"examples: {found['examples']}")
    rate, channels = data["sample_rate_hz"], data["channels"]
    encoding = data.get("encoding", "int16")  # all that there was once
    records = f"{found['records']['files']} files, {size(found['records']['bytes'])}"
    console.say(f"records: {records}; {rate} Hz, channels: {channels}, stems as {encoding}")
    console.print(_splits(found["splits"]))
    console.print(_signals(found["signals"]))
    for name, span in found["spans"].items():
        console.say(f"span {name}: {span['tracks']} tracks, {span['hours']:.2f} h, last changed {span['modified']}")
    console.say(_quality(found))
    for what, kinds in found["counts"].items():
        if kinds:
            console.say(f"{what.replace('_', ' ')} by kind: {counted(kinds)}", "yellow")
    for leak in found["leaks"]:
        console.say(f"leak: {leak}", "yellow")
    for track in found["bad_tracks"]:
        console.say(f"bad track: {track['track']} ({track['split']}): {track['reason']}", "yellow")


def beside(found: Mapping[str, Any]) -> list[str]:
    """What is no part of what was asked for, in a line each: tracks, litter, and files that no track has."""
    reasons = Counter(track["reason"] for track in found["skipped"])
    words = [f"skipped: {count} x {reason}" for reason, count in reasons.items()]
    if found["litter"]:
        more = ", …" if len(found["litter"]) > MOST_NAMED else ""
        words.append(f"litter: {len(found['litter'])} ({', '.join(found['litter'][:MOST_NAMED])}{more})")
    if found["unused"]:
        words.append(f"files that are part of no track: {counted(found['unused'])}")
    return words


def counted(counts: Mapping[str, int], unit: str = "") -> str:
    """`44100 Hz (20), 48000 Hz (1)`."""
    return ", ".join(f"{value}{unit} ({count})" for value, count in counts.items()) or "–"


def size(count: int) -> str:
    """`12.3 MB`."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} bytes"


def _cell(name: str) -> Text:
    return Text(shown(name))


def _splits(splits: Mapping[str, Mapping[str, Any]]) -> Table:
    keys = list(dict.fromkeys(key for split in splits.values() for key in split["groups"]))
    table = Table("split", box=box.SIMPLE, pad_edge=False)
    bad = ["bad"] if "bad" in splits["train"] else []
    for name in ("tracks", *bad, "hours", *keys):
        table.add_column(_cell(name), justify="right", overflow="fold")
    for name, split in splits.items():
        groups = (str(split["groups"].get(key, "–")) for key in keys)
        counts = (str(split[key]) for key in ("tracks", *bad))
        table.add_row(name, *counts, f"{split['hours']:.2f}", *groups)
    return table


def _signals(signals: Mapping[str, Mapping[str, list[float]]]) -> Table:
    """Percentiles over segments."""
    table = Table("signal", box=box.SIMPLE, pad_edge=False)
    for kind in ("RMS", "peak"):
        table.add_column(f"{kind} dBFS: 5, 50, 95 % of segments", justify="right", overflow="fold")
    for name, levels in signals.items():
        table.add_row(
            _cell(name), *(", ".join(f"{value:.1f}" for value in levels[kind]) for kind in ("rms_db", "peak_db"))
        )
    return table


def _quality(found: Mapping[str, Any]) -> str:
    """`silent: 3.1 %; turned down: 2 tracks, by at most 4.1 dB; mixture minus stems: at most -80.0 dB in 95 % of segments`."""
    words = [] if found["silence_share"] is None else [f"silent: {found['silence_share']:.1%}".replace("%", " %")]
    turned = found["turned_down"]
    words.append(f"turned down: {turned['tracks']} tracks, by at most {abs(turned['lowest_db']):.1f} dB")
    if residual := found["residual_db"]:
        words.append(f"mixture minus stems: at most {residual[-1]:.1f} dB in 95 % of segments")
    return "; ".join(words)


def _stems(stems: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table("stem", "goes to", box=box.SIMPLE, pad_edge=False)
    table.add_column("tracks", justify="right")
    for name, stem in stems.items():
        table.add_row(_cell(name), _cell(stem["target"] or "no target"), str(stem["tracks"]))
    return table
