"""What long work says while it runs: how long it still takes, in one line of any terminal."""

from __future__ import annotations

import math
import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.common import progress
from pipeline.common.terminal import Terminal

PARTS = st.lists(st.floats(0.94, 1.06), min_size=40, max_size=200)


@settings(deadline=None)
@given(parts=PARTS, first=st.floats(0, 500), beside=st.integers(1, 4))
def test_the_time_left_is_right_from_five_percent_on(parts: list[float], first: float, beside: int) -> None:
    """With as many at a time, whose first ones take long: they load a model."""
    now, told = 0.0, []
    pace = progress.Pace(beside=beside, clock=lambda: now)
    parts = parts[: len(parts) // beside * beside]
    for done, seconds in enumerate(parts):
        if done % beside == 0:
            now += first if done == 0 else seconds
        told.append((now, pace.at((done + 1) / len(parts))))
    late = [(when, left) for when, left in told[2 * beside - 1 :] if when < now]
    assert all(abs(left - (now - when)) <= 0.3 * (now - when) for when, left in late)
    assert math.isnan(told[beside - 1][1])


def test_it_counts_down_between_the_parts_and_begins_anew_where_the_work_does() -> None:
    now = 0.0
    pace = progress.Pace(clock=lambda: now)
    for parts in (1, 2, 3):
        now = 40.0 + 10 * parts
        left = pace.at(parts / 10)
    assert left == pytest.approx(70.0)
    now = 75.0
    assert pace.at(0.3) == pace.left == pytest.approx(65.0)
    assert math.isnan(pace.at(0.0))
    now = 80.0
    assert math.isnan(pace.at(0.1))


@pytest.mark.parametrize("columns", [40, 80, 200])
@pytest.mark.parametrize("name", ["demo", "gru_skip_filtering_mir1k", "Björk – Jóga (live).flac", "日本語" * 9])
def test_a_bar_is_one_line_of_the_terminal(columns: int, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the time left, whatever else there is no room for."""
    console = Terminal(width=columns, height=24, force_terminal=True, color_system=None, legacy_windows=False)
    monkeypatch.setattr(progress, "console", console)
    monkeypatch.setattr(Terminal, "size", property(lambda self: super(Terminal, self).size))
    at = progress.TrainingProgress("blstm", 123456, 0.127, -1.2345, 2.3456, 4958.0)
    with console.capture() as shown, progress.training(name) as show:
        show(at)
    with console.capture() as listed, progress.separating({name: 100}) as part:
        part(name, 0.5)
    for told in (shown.get(), listed.get()):
        lines = [line for line in re.split(r"[\r\n]+", re.sub("\x1b\\[[0-9;?]*[A-Za-z]", "", told)) if line.strip()]
        assert lines
        assert all(line.startswith(("  training", "  separating")) for line in lines), "none goes on in a second line"
        assert max(map(progress.cell_len, lines)) <= columns
    assert "1:22:38 left" in shown.get()
    assert ("loss -1.234" in shown.get()) == (columns == 200)


def test_tracks_are_counted_by_the_files_that_workers_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0)
    monkeypatch.setattr(progress, "_WATCH_SECONDS", 0.01)

    def said(words: str) -> bool:
        """Within ten seconds."""
        deadline, heard = time.monotonic() + 10, ""
        while words not in heard and time.monotonic() < deadline:
            heard += capsys.readouterr().err
            time.sleep(0.01)
        return words in heard

    with progress.watching("reading", "read", tmp_path / "later", {"a": 3, "b": 1, "c": 4}):
        (tmp_path / "later").mkdir()
        (tmp_path / "later" / "no part").touch()
        (tmp_path / "later" / "a").touch()
        assert said("read 3 of 8 tracks")
        (tmp_path / "later" / "c").touch()
        (tmp_path / "later" / "b").touch()
        assert said("read 8 of 8 tracks")
