"""The report: one file, no network, verdict first, every track in the table, small enough to mail."""

import base64
import html.parser
import io
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
import soundfile

from models.spec import ModelSpec
from pipeline.config.config import Config, DataConfig, EvaluateConfig
from pipeline.config.gate import GateConfig, Threshold
from pipeline.data.datasets.track import Track
from pipeline.evaluation.baselines import estimate_by_all
from pipeline.evaluation.evaluation import Evaluation, conclude
from pipeline.evaluation.report import intervals, page, tables, templates
from pipeline.evaluation.report.page import choose_tracks, worst_tracks, write_report
from pipeline.evaluation.report.rooms import AUDIO_BUDGET_BYTES, Heard, Shown, excerpts
from pipeline.evaluation.scores import VERSIONS, Figure, score_track

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
RATE_HZ = 8000
NAMES = ["<b>bold & co</b>", "plain song", "zulu"]


def track(name: str, seed: int, seconds: float = 3.0, rate: int = RATE_HZ, channels: int = 1) -> SimpleNamespace:
    generator = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate))[:, np.newaxis] / rate
    sung = np.sin(2 * np.pi * 2 * time) > -0.5
    voice = 0.3 * sung * np.sin(2 * np.pi * 440 * time + 4 * np.sin(35 * time)) * np.ones(channels)
    stems = {"vocals": voice, "accompaniment": 0.1 * generator.standard_normal((len(time), channels))}
    return SimpleNamespace(name=name, sample_rate_hz=rate, mixture=sum(stems.values()), stems=stems, metadata={})


def leaky(each: SimpleNamespace, leak: float):
    return lambda mixture, _: {target: stem + leak * (mixture - stem) for target, stem in each.stems.items()}


@pytest.fixture(scope="module")
def judged() -> tuple[Evaluation, list[Shown]]:
    setup = Config(
        "demo_1.5 + more",
        data=DataConfig(sample_rate_hz=RATE_HZ),
        model=ModelSpec(sample_rate_hz=RATE_HZ, frame_length=256, hop=128),
        evaluate=EvaluateConfig(metrics=("v3", "v4")),
        gate=GateConfig((Threshold("vocals", "v3/SDR", 3.0, "mixture"), Threshold("vocals", "v4/SDR", 90.0))),
    )
    tracks = [track(name, seed, seconds=2.0 + seed) for seed, name in enumerate(NAMES)]
    results, shown = [], []
    for leak, each in zip((0.5, 0.02, 0.1), tracks, strict=True):
        separators = {"model": leaky(each, leak), "baseline": leaky(each, 0.3)}
        methods = estimate_by_all(each, separators, setup.model, setup.evaluate.baselines)
        results.append(score_track(each, methods, setup.model.targets, ("v3", "v4"), setup.evaluate.window_seconds))
        heard = Heard(each, {method: separate(each.mixture, RATE_HZ) for method, separate in separators.items()})
        shown.append(Shown("best", each.name, lambda heard=heard: heard))
    return conclude(results, setup), shown


class Page(html.parser.HTMLParser):
    """Title, table cells, and every attribute of the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._open and data.strip():
            self.text.setdefault(self._open[-1], []).append(data.strip())


@pytest.fixture(scope="module")
def written(judged, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(*judged, path, caption="Model /somewhere/7")
    return path


def rooms_of(text: str) -> list[dict]:
    """The rooms of a page, as its script reads them."""
    [found] = re.findall(r'<script type="application/json" id="rooms">(.*?)</script>', text, re.DOTALL)
    return json.loads(found)


def test_says_the_verdict_and_its_reasons_first(written: Path) -> None:
    parsed = Page(written.read_text())
    assert parsed.text["title"] == ["demo_1.5 + more: not blessed"]
    assert parsed.text["strong"] == ["Not blessed"]
    assert parsed.text["li"][0].startswith("vocals v4/SDR is ")
    assert parsed.text["li"][0].endswith("misses the required 90.00 dB")
    assert parsed.text["span"][0] == "floor"
    checks = written.read_text().partition("</section>")[0]
    assert Page(checks).text["li"][-1].endswith("meets the required 3.00 dB")
    passed = ["passed" in attributes.get("class", "") for tag, attributes in Page(checks).tags if tag == "li"]
    assert passed == sorted(passed), "what failed comes first"
    assert passed.count(False) == 1
    text = written.read_text()
    assert text.index('id="verdict"') < text.index("<table")


@pytest.mark.parametrize(("seconds", "words"), [(9.4, "9 s"), (252, "4.2 min"), (9100, "2.53 h")])
def test_says_how_much_was_judged_in_a_fitting_unit(seconds: float, words: str) -> None:
    assert page._duration(seconds) == words


def test_every_track_and_method_is_in_the_tables(written: Path, judged) -> None:
    cells = Page(written.read_text()).text["td"]
    for name in NAMES:
        assert cells.count(name) == 2, "once for each version"
    for method in ("mixture (no separation)", "model", "last blessed model", "oracle: ideal ratio mask"):
        assert cells.count(method) == 2 * 2, "once for each version and target"
    for name in ("vocals/v3/GNSDR", "accompaniment/v4/SIR"):
        assert templates._db(judged[0].scores["model"][name]) in cells
    assert (
        "BSS Eval v3 (sources, 512-tap filters), whole track, mean over tracks weighted by length"
        in written.read_text()
    )


@pytest.mark.parametrize(("figure", "statistic"), [("v3/SDR", "mean"), ("v4/SDR", "median")])
def test_intervals_are_those_of_scipy(judged, figure: str, statistic: str) -> None:
    """Of 40 tracks of one length, the percentile bootstrap of scipy.stats; other draws, so within 0.15 dB."""
    version, metric = figure.split("/")
    values = np.random.default_rng(5).normal(6, 3, 40)
    what = Figure("model", "vocals", version, metric)
    tracks = [replace(judged[0].tracks[0], values={what: (value,)}) for value in (*values, math.nan)]
    low, high = intervals.interval(tracks, what)
    expected = scipy.stats.bootstrap(
        (values,), getattr(np, statistic), method="percentile", n_resamples=20000, random_state=1
    )
    np.testing.assert_allclose((low, high), expected.confidence_interval, atol=0.15)
    assert templates._interval((low, -1.25)) == f"[{low:.1f}, −1.2]"


def test_intervals_weigh_by_length_and_are_left_out_of_too_few_tracks(judged) -> None:
    what = Figure("model", "vocals", "v3", "SDR")
    tracks = [
        replace(judged[0].tracks[0], samples=samples, values={what: (value,)})
        for samples, value in zip((1, 1, 1, 1, 10**9), (0.0, 1.0, 2.0, 3.0, 9.0), strict=True)
    ]
    assert intervals.interval(tracks, what)[1] == pytest.approx(9.0)
    assert intervals.interval(tracks[1:], what) is None
    assert intervals.interval([*tracks, replace(tracks[0], values={what: (math.inf,)})], what) is None


def test_needs_no_network_and_is_small(written: Path) -> None:
    text = written.read_text()
    assert re.findall(r"https?://|//cdn|@import|url\((?!#)", text) == []
    links = [value for _, attributes in Page(text).tags for key, value in attributes.items() if key in ("src", "href")]
    assert links
    assert all(value.startswith(("data:", "#")) for value in links)
    assert written.stat().st_size < 15_000_000


def test_plays_what_was_separated(written: Path, judged) -> None:
    rooms = rooms_of(written.read_text())
    assert [room["name"] for room in rooms] == NAMES
    heard = judged[1][0].load()
    stems, estimates = heard.track.stems["vocals"], heard.estimates["model"]["vocals"]
    expected = {
        "mixture": heard.track.mixture,
        "vocals/reference": stems,
        "vocals/estimate": estimates,
        "vocals/baseline": heard.estimates["baseline"]["vocals"],
        "vocals/residual": stems - estimates,
    }
    assert list(rooms[0]["signals"])[:5] == list(expected)
    assert len(rooms[0]["signals"]) == 1 + 4 * 2
    for key, signal in expected.items():
        kind, data = rooms[0]["signals"][key]["audio"].split(",")
        audio, rate = soundfile.read(io.BytesIO(base64.b64decode(data)))
        assert (kind, rate) == ("data:audio/flac;base64", RATE_HZ)
        np.testing.assert_allclose(audio, signal[:, 0], atol=2 / 32768, err_msg=key)


def test_same_evaluation_same_bytes(written: Path, judged) -> None:
    assert page.render(*judged, caption="Model /somewhere/7") == written.read_text()


def test_what_does_not_fit_without_loss_becomes_mp3_that_decodes_to_the_same_sound() -> None:
    each = track("stereo", 1, seconds=2.0, rate=44100, channels=2)
    shown = [Shown("worst", "stereo", lambda: Heard(each, {"model": each.stems}))] * 3
    room = excerpts(shown, ("vocals", "accompaniment"))[2]
    kind, data = room["signals"]["vocals/reference"]["audio"].split(",")
    assert kind == "data:audio/mpeg;base64"
    heard, rate = soundfile.read(io.BytesIO(base64.b64decode(data)))
    assert rate == 44100
    error = heard - each.stems["vocals"]
    assert 10 * np.log10(np.sum(each.stems["vocals"] ** 2) / np.sum(error**2)) > 15, "and without a delay"


@pytest.mark.slow
def test_three_long_stereo_tracks_of_four_targets_and_a_baseline_stay_within_the_budget() -> None:
    """White noise is the worst for FLAC and for pictures."""
    targets = ("vocals", "drums", "bass", "other")
    stems = {t: np.random.default_rng(i).normal(0, 0.1, (44100 * 11, 2)) for i, t in enumerate(targets)}
    long = Track("long", "test", 44100, sum(stems.values()), stems)
    shown = [Shown("best", "long", lambda: Heard(long, {"model": stems, "baseline": stems}))] * 3
    made = excerpts(shown, targets)
    audio = [signal["audio"] for room in made for signal in room["signals"].values()]
    assert len(audio) == 3 * (1 + 4 * 4)
    assert all(uri.startswith("data:audio/mpeg;base64,") for uri in audio)
    assert sum(map(len, audio)) < AUDIO_BUDGET_BYTES
    assert len(json.dumps(made)) < 14_000_000
    assert all(7 < room["seconds"] <= 10 for room in made)


def test_chooses_best_median_and_worst(judged) -> None:
    chosen = choose_tracks(judged[0], "v3/GSDR", "vocals", 3)
    assert chosen == {"best": "plain song", "median": "zulu", "worst": NAMES[0]}
    assert next(iter(chosen)) == "worst"
    assert choose_tracks(judged[0], "v4/SDR", "vocals", 1) == {"worst": NAMES[0]}
    assert worst_tracks(judged[0], "v4/SDR", "vocals", 2) == {"worst": NAMES[0], "median": "zulu"}
    assert worst_tracks(judged[0], "v4/SDR", "vocals", 0) == {}
    assert choose_tracks(judged[0], "v4/NONE", "vocals", 3) == {}


def test_without_a_gate_there_is_no_verdict(judged) -> None:
    text = page.render(replace(judged[0], gated=False), [], labels={"model": "their estimates"})
    parsed = Page(text)
    assert parsed.text["title"] == ["demo_1.5 + more"]
    assert parsed.text["strong"] == ["Scores, without a gate"]
    assert "li" not in parsed.text
    assert "their estimates" in parsed.text["td"]
    assert "refused" not in text


def test_compares_with_the_baseline_track_by_track(judged) -> None:
    told = tables.version(judged[0], "v3", page.METHOD_NAMES)
    plot, words = told["differences"]["vocals"]
    gains = [track["gains"][0] for track in told["tracks"]]
    assert words.startswith(f"mean {np.mean(gains):+.2f} dB, better on 2 and worse on 1 of 3".replace("-", "−"))
    assert plot.startswith("<svg")


def test_groups_only_by_what_groups(judged) -> None:
    singers = ("Ani", "Bob", "Ani")
    tracks = tuple(
        replace(track, metadata={"singer": singer, "title": track.track, "year": "2000"})
        for track, singer in zip(judged[0].tracks, singers, strict=True)
    )
    told = tables.version(replace(judged[0], tracks=tracks), "v4", page.METHOD_NAMES)
    assert told["keys"] == ["singer", "title", "year"]
    assert [group["key"] for group in told["groups"]] == ["singer"]
    rows = {name: (count, scores) for name, count, scores in told["groups"][0]["rows"]}
    assert {name: count for name, (count, _) in rows.items()} == {"Ani": 2, "Bob": 1}
    own = [track["scores"] for track in told["tracks"]]
    np.testing.assert_allclose(rows["Bob"][1], own[1])
    np.testing.assert_allclose(rows["Ani"][1], np.median([own[0], own[2]], axis=0))


@pytest.mark.slow
def test_any_number_of_long_tracks_stays_below_15_megabytes(judged) -> None:
    """More tracks than rows, in four targets, and 150 of them to be shown."""
    targets = ("vocals", "drums", "bass", "other")
    long = vars(track("long", 1, seconds=60.0))
    stems = {target: np.random.default_rng(i).normal(0, 0.1, long["mixture"].shape) for i, target in enumerate(targets)}
    long = Track("", "test", long["sample_rate_hz"], sum(stems.values()), stems)
    values = {
        Figure(method, target, version, metric): tuple(np.random.default_rng(3).normal(5, 3, 5))
        for method in ("mixture", "model", "baseline", "irm")
        for target in targets
        for version, metrics in VERSIONS.items()
        for metric in metrics
    }
    names = [f"{place:04d} {'a long name ' * 4}" for place in range(1200)]
    one = replace(judged[0].tracks[0], values=values, metadata={"genre": "Pop"})
    many = replace(judged[0], targets=targets, tracks=tuple(replace(one, track=name) for name in names))
    heard = [Heard(replace(long, name=name), {"model": stems, "baseline": stems}) for name in names[:150]]
    shown = [Shown(f"rank {place}", names[place], lambda each=each: each) for place, each in enumerate(heard)]
    text = page.render(many, shown)
    assert len(text.encode()) < 15_000_000
    parsed = Page(text)
    assert [room["rank"] for room in rooms_of(text)] == ["rank 0", "rank 74", "rank 149"]
    assert (
        len([name for name in parsed.text["td"] if name.strip() in set(map(str.strip, names))]) == 2 * tables.MOST_ROWS
    )
    assert "The 1000 worst of them; scores.csv has all." in text
