"""What sounds in silence, over all tracks: in summary.json and on the page."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from models.spec import ModelSpec
from pipeline.config.config import Config, DataConfig
from pipeline.data.datasets.track import Track
from pipeline.evaluation import results, silences
from pipeline.evaluation.evaluation import Evaluation, conclude
from pipeline.evaluation.report.page import render
from pipeline.evaluation.scores import score_track

RATE_HZ = 8000
TIME = np.arange(3 * RATE_HZ)[:, np.newaxis] / RATE_HZ


def track(name: str, voice: float) -> Track:
    """The music is louder than the voice, which sounds in the first second if at all."""
    stems = {
        "vocals": voice * np.sin(2 * np.pi * 500 * TIME) * (TIME < 1),
        "accompaniment": 0.2 * np.sin(2 * np.pi * 300 * TIME),
    }
    return Track(name, "test", RATE_HZ, np.sum(list(stems.values()), axis=0), stems, {})


@pytest.fixture(scope="module")
def judged() -> Evaluation:
    """A tenth of the amplitude leaks into the voice everywhere, half of it on the instrumental."""
    tracks = []
    for each, leak in ((track("song", 0.1), 0.1), (track("ballad", 0.1), 0.1), (track("instrumental", 0.0), 0.5)):
        model = {target: stem + leak * (each.mixture - stem) for target, stem in each.stems.items()}
        methods = {"mixture": dict.fromkeys(each.stems, each.mixture), "model": model}
        tracks.append(score_track(each, methods, tuple(each.stems), ("v3",), 1.0))
    config = Config("silent", data=DataConfig(sample_rate_hz=RATE_HZ), model=ModelSpec(sample_rate_hz=RATE_HZ))
    return conclude(tracks, config)


def test_every_figure_is_that_of_the_tones(judged: Evaluation) -> None:
    """A sine of amplitude a has a mean square of a^2 / 2."""
    [(target, found)] = silences.by_target(judged.tracks).items()
    assert (target, found.tracks, found.worst_track) == ("vocals", 3, "instrumental")
    assert found.seconds == pytest.approx(1.9 + 1.9 + 3, abs=0.02)
    pes = [10 * math.log10((leak * 0.2) ** 2 / 2) for leak in (0.1, 0.1, 0.5)]
    assert found.pes_db == pytest.approx(np.mean(pes), abs=0.01)
    assert found.over_mixture_db == pytest.approx(-20, abs=0.01)
    assert found.worst_db == pytest.approx(20 * math.log10(0.5), abs=0.01)
    assert found.leakage_db == pytest.approx(-20, abs=0.1)


def test_they_are_in_the_summary_and_on_the_page(judged: Evaluation) -> None:
    told = json.loads(json.dumps(results.summary(judged), allow_nan=False))["silence"]["vocals"]
    assert (told["tracks"], told["worst_track"]) == (3, "instrumental")
    assert told["over_mixture_db"] == pytest.approx(-20, abs=0.01)
    [section] = re.findall(r'<section id="silence">.*?</section>', render(judged, []), re.DOTALL)
    assert re.findall(r"<td[^>]*>(.*?)</td>", section)[-3:] == ["−6.02", "−20.00", "instrumental"]


def test_where_nothing_is_silent_or_nothing_is_heard_there_is_no_figure(judged: Evaluation, tmp_path: Path) -> None:
    assert "accompaniment" not in silences.by_target(judged.tracks)
    assert silences.by_target([]) == {}
    each = track("silent", 0.1)
    methods = {"mixture": dict.fromkeys(each.stems, each.mixture), "model": each.stems}
    tracks = [score_track(each, methods, ("vocals", "accompaniment"), ("v3",), 1.0)]
    config = Config("silent", data=DataConfig(sample_rate_hz=RATE_HZ), model=ModelSpec(sample_rate_hz=RATE_HZ))
    results.write(conclude(tracks, config), tmp_path)
    told = json.loads((tmp_path / "summary.json").read_text())["silence"]["vocals"]
    assert told["pes_db"] == -80
    assert told["over_mixture_db"] is None
