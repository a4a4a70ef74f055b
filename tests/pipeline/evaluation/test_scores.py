"""From tracks to figures: hand-computed aggregation, oracles, and stores that museval itself reads."""

import csv
import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import museval
import numpy as np
import pytest
import soundfile

from models.checked import ConfigError
from models.spec import ModelSpec
from pipeline.config.config import Config, DataConfig, EvaluateConfig
from pipeline.config.gate import GateConfig, Threshold
from pipeline.evaluation import results
from pipeline.evaluation.baselines import Stft, estimate_by_all, ratio_mask
from pipeline.evaluation.evaluation import Evaluation, conclude, spread
from pipeline.evaluation.scores import Figure, Separate, TrackScores, aggregate, describe, score_name, score_track

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
TARGETS = ("vocals", "accompaniment")
RATE_HZ = 8000


def track(name: str = "song", seed: int = 0, samples: int = 20000, channels: int = 1) -> SimpleNamespace:
    """A tone with vibrato against low noise."""
    generator = np.random.default_rng(seed)
    seconds = np.arange(samples)[:, np.newaxis] / RATE_HZ
    vocals = 0.3 * np.sin(2 * np.pi * 900 * seconds + 3 * np.sin(30 * seconds)) * np.ones(channels)
    music = 0.05 * np.cumsum(generator.standard_normal((samples, channels)), axis=0)
    music = (music - music.mean(axis=0)) / np.abs(music).max()
    stems = {"vocals": vocals.astype(np.float32), "accompaniment": (0.4 * music).astype(np.float32)}
    return SimpleNamespace(name=name, sample_rate_hz=RATE_HZ, mixture=sum(stems.values()), stems=stems, metadata={})


def leaky(each: SimpleNamespace, leak: float = 0.2):
    """A separator that knows the stems and lets some of the other one through."""

    def separate(mixture: np.ndarray, _: int) -> dict[str, np.ndarray]:
        return {target: stem + leak * (mixture - stem) for target, stem in each.stems.items()}

    return separate


def scored(name: str, samples: int, **values: tuple[float, ...]) -> TrackScores:
    figures = {Figure("model", "vocals", v, m): f for (v, m), f in ((k.split("_"), f) for k, f in values.items())}
    return TrackScores(name, samples, RATE_HZ, figures)


def settings(*versions: str, **keys) -> EvaluateConfig:
    return EvaluateConfig(metrics=versions, window_seconds=0.5, **keys)


def config(*versions: str, thresholds: tuple[Threshold, ...] = (), targets: tuple[str, ...] = TARGETS) -> Config:
    model = ModelSpec(sample_rate_hz=RATE_HZ, targets=targets, frame_length=256, hop=128)
    data = DataConfig(sample_rate_hz=RATE_HZ, targets=targets)
    return Config("test", data=data, model=model, evaluate=settings(*versions), gate=GateConfig(thresholds))


def scores_of(
    each: SimpleNamespace, separators: Mapping[str, Separate], spec: ModelSpec, settings: EvaluateConfig
) -> TrackScores:
    methods = estimate_by_all(each, separators, spec, settings.baselines)
    return score_track(each, methods, spec.targets, settings.metrics, settings.window_seconds)


def evaluated(tracks: list[SimpleNamespace], setup: Config, leak: float = 0.2) -> Evaluation:
    scores = [scores_of(each, {"model": leaky(each, leak)}, setup.model, setup.evaluate) for each in tracks]
    return conclude(scores, setup)


def test_v3_is_the_mean_weighted_by_length_and_v4_a_median_of_medians() -> None:
    tracks = [
        scored("a", 100, v3_SDR=(2.0,), v3_NSDR=(1.0,), v4_SDR=(1.0, math.nan, 3.0)),
        scored("b", 300, v3_SDR=(6.0,), v3_NSDR=(5.0,), v4_SDR=(10.0,)),
        scored("c", 999, v3_SDR=(math.nan,), v3_NSDR=(math.nan,), v4_SDR=(math.nan, math.nan)),
        scored("d", 600, v3_SDR=(1.0,), v3_NSDR=(0.0,), v4_SDR=(4.0, 5.0, 9.0, 6.0)),
    ]
    assert aggregate(tracks) == {
        "model": {
            "vocals/v3/GSDR": pytest.approx((200 + 1800 + 600) / 1000),
            "vocals/v3/GNSDR": pytest.approx((100 + 1500) / 1000),
            "vocals/v4/SDR": pytest.approx(5.5),
        }
    }


def test_a_silent_estimate_of_one_track_shows_in_the_v3_mean() -> None:
    tracks = [scored("a", 100, v3_SDR=(2.0,)), scored("b", 100, v3_SDR=(-math.inf,))]
    assert aggregate(tracks)["model"]["vocals/v3/GSDR"] == -math.inf


def test_no_defined_track_is_not_a_number() -> None:
    total = aggregate([scored("a", 100, v3_SDR=(math.nan,), v4_SDR=())])["model"]
    assert all(math.isnan(value) for value in total.values())
    assert len(total) == 2


def test_published_names_of_v3() -> None:
    assert score_name("vocals", "v3/SDR") == score_name("vocals", "v3/GSDR") == "vocals/v3/GSDR"
    assert score_name("vocals", "v4/SDR") == "vocals/v4/SDR"


def test_every_figure_says_version_window_and_aggregation() -> None:
    assert describe("v4", 1.0) == (
        "BSS Eval v4 (images, 512-tap filters over the whole track), 1 s windows, median over frames, then over tracks"
    )
    assert "whole track, mean over tracks weighted by length" in describe("v3", 1.0)


def test_nsdr_is_the_gain_over_the_mixture() -> None:
    result = evaluated([track("a"), track("b", seed=1, samples=9000)], config("v3"))
    for target in TARGETS:
        gained = result.scores["model"][f"{target}/v3/GSDR"] - result.scores["mixture"][f"{target}/v3/GSDR"]
        assert result.scores["model"][f"{target}/v3/GNSDR"] == pytest.approx(gained)
        assert gained > 5
        assert result.scores["mixture"][f"{target}/v3/GNSDR"] == 0


def test_a_mixture_copy_gains_nothing_and_is_refused() -> None:
    over = (Threshold("vocals", "v4/SDR", 0.5, over="mixture"),)
    tracks = [track("a"), track("b", seed=1)]
    assert evaluated(tracks, config("v4", thresholds=over)).verdict.blessed
    assert not evaluated(tracks, config("v4", thresholds=over), leak=1.0).verdict.blessed


def test_silence_and_non_finite_samples_are_problems_of_the_model() -> None:
    each, setup = track(), config("v3", "v4")
    outputs = {"vocals": 0 * each.mixture, "accompaniment": np.full_like(each.mixture, np.nan)}
    scores = scores_of(each, {"model": lambda *_: outputs}, setup.model, setup.evaluate)
    verdict = conclude([scores], setup).verdict
    assert not verdict.blessed
    assert [("silent" in c.words, "not finite" in c.words) for c in verdict.checks if c.kind == "output"] == [
        (True, False),
        (False, True),
    ]


def test_silence_where_the_reference_is_silent_is_no_problem() -> None:
    setup, instrumental = config("v3", "v4"), track("b", seed=1)
    instrumental.stems["vocals"] = 0 * instrumental.mixture
    instrumental.mixture = instrumental.stems["accompaniment"]
    result = evaluated([track("a"), instrumental, track("c", seed=2)], setup)
    assert result.verdict.blessed, result.verdict.reasons
    assert math.isnan(result.tracks[1].values[Figure("model", "vocals", "v3", "SDR")][0])


def test_a_single_target_is_judged_against_the_rest_of_the_mixture() -> None:
    alone = evaluated([track()], config("v3", targets=("vocals",)))
    both = evaluated([track()], config("v3"))
    for method in ("model", "irm"):
        for metric in ("GSDR", "GSIR"):
            expected = both.scores[method][f"vocals/v3/{metric}"]
            assert alone.scores[method][f"vocals/v3/{metric}"] == pytest.approx(expected, abs=1e-3)
    assert set(alone.scores["model"]) == {f"vocals/v3/{metric}" for metric in ("GSDR", "GNSDR", "GSIR", "GSAR")}


def test_refuses_what_does_not_fit() -> None:
    each, setup = track(), config("v3")
    with pytest.raises(ValueError, match=r"estimate of 'vocals' in track 'song' has the shape \(19999, 1\)"):
        scores_of(each, {"model": lambda m, _: {"vocals": m[1:]}}, setup.model, setup.evaluate)
    del each.stems["vocals"]
    with pytest.raises(ValueError, match="has no stem 'vocals'; it has: accompaniment"):
        scores_of(each, {}, setup.model, setup.evaluate)


def test_spread_takes_tracks_from_the_whole_range() -> None:
    names = [f"{i:02}" for i in range(10)]
    assert spread(names[::-1], None) == names == spread(names, 10)
    assert spread(names, 3) == ["00", "03", "06"]
    with pytest.raises(ValueError, match="max_tracks is 0"):
        spread(names, 0)


def test_the_baselines_asked_for_are_judged_and_shown_in_order(tmp_path: Path) -> None:
    setup = config("v3", "v4")
    setup = dataclasses.replace(setup, evaluate=settings("v3", "v4", baselines=("ibm", "irm", "rpca")))
    result = evaluated([track(samples=9000)], setup)
    assert result.methods == ["mixture", "rpca", "model", "irm", "ibm"]
    vocals = {method: scores["vocals/v3/GSDR"] for method, scores in result.scores.items()}
    assert vocals["mixture"] < vocals["model"] < vocals["irm"]
    assert vocals["mixture"] < vocals["ibm"]
    results.write(result, tmp_path)
    assert sorted(path.name for path in (tmp_path / "museval" / "v4").iterdir()) == sorted(result.methods)
    assert evaluated([track(samples=9000)], config("v3")).methods == ["mixture", "model", "irm"]


def test_robust_pca_needs_vocals_among_the_targets() -> None:
    with pytest.raises(ConfigError, match=r"baselines has rpca, which separates vocals, but data\.targets is"):
        Config(
            "x",
            data=DataConfig(targets=("drums", "rest")),
            model=ModelSpec(targets=("drums", "rest")),
            evaluate=settings("v3", baselines=("rpca",)),
        )


def test_museval_loads_our_stores_and_aggregates_to_the_same_numbers(tmp_path: Path) -> None:
    result = evaluated(
        [track(name, seed, 15000 + 2000 * seed) for seed, name in enumerate(["a", "b.c", "d/e"])], config("v3", "v4")
    )
    results.write(result, tmp_path)
    methods = museval.MethodStore()
    for method in result.methods:
        methods.add_eval_dir(tmp_path / "museval" / "v4" / method)
    theirs = methods.agg_frames_tracks_scores()
    for method in result.methods:
        store = museval.EvalStore()
        store.add_eval_dir(tmp_path / "museval" / "v4" / method)
        for target in TARGETS:
            for metric in ("SDR", "ISR", "SIR", "SAR"):
                ours = result.scores[method][f"{target}/v4/{metric}"]
                assert theirs[method, target, metric] == pytest.approx(ours, abs=1e-9)
                assert store.agg_frames_tracks_scores()[target, metric] == pytest.approx(ours, abs=1e-9)


def test_our_stores_are_musevals_own_to_its_precision(tmp_path: Path) -> None:
    """The same track by `museval.evaluate` and `TrackStore`: same frames, times and rounded scores."""
    each = track(samples=22000)
    result = evaluated([each], config("v4"))
    results.write(result, tmp_path)
    ours = json.loads((tmp_path / "museval/v4/model/test/song.json").read_text())
    references = np.stack([each.stems[target] for target in TARGETS]).astype(float)
    estimates = np.stack([leaky(each)(each.mixture, RATE_HZ)[target] for target in TARGETS]).astype(float)
    values = museval.evaluate(references, estimates, win=RATE_HZ // 2, hop=RATE_HZ // 2)
    store = museval.TrackStore("song", win=0.5, hop=0.5)
    for place, target in enumerate(TARGETS):
        store.add_target(
            target, {m: v[place].tolist() for m, v in zip(("SDR", "ISR", "SIR", "SAR"), values, strict=True)}
        )
    store.validate()
    theirs = json.loads(store.json)
    assert len(ours["targets"][0]["frames"]) == 5
    for our_target, their_target in zip(ours["targets"], theirs["targets"], strict=True):
        assert our_target["name"] == their_target["name"]
        for our_frame, their_frame in zip(our_target["frames"], their_target["frames"], strict=True):
            assert (our_frame["time"], our_frame["duration"]) == (their_frame["time"], their_frame["duration"])
            assert our_frame["metrics"] == pytest.approx(their_frame["metrics"], abs=1e-4)


def test_scores_of_a_track_survive_text() -> None:
    scores = scored("a/ö", 100, v3_SDR=(-math.inf,), v4_SDR=(1.0, math.nan, 2.25))
    again = results.from_json(results.to_json(scores))
    assert again.values.keys() == scores.values.keys()
    assert (again.track, again.samples) == ("a/ö", 100)
    np.testing.assert_array_equal(list(again.values.values())[1], (1.0, math.nan, 2.25))


def test_summary_is_strict_json_and_the_csv_has_every_figure(tmp_path: Path) -> None:
    setup = config("v3", "v4")
    each = track()
    scores = scores_of(each, {"model": lambda m, _: {"vocals": 0 * m}}, setup.model, setup.evaluate)
    results.write(conclude([scores], setup), tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text(), parse_constant=pytest.fail)
    assert summary["scores"]["model"]["vocals/v3/GSDR"] is None
    assert summary["blessed"] is False
    assert summary["outputs"]["vocals"]["dropped_share"] == {"low": 1, "median": 1, "high": 1}
    with (tmp_path / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 2 * (4 + 4)
    irm = [r for r in rows if (r["method"], r["version"], r["metric"], r["target"]) == ("irm", "v3", "SDR", "vocals")]
    assert float(irm[0]["value_db"]) == pytest.approx(scores.values[Figure("irm", "vocals", "v3", "SDR")][0], abs=1e-4)
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "ok - Ünïcode (1)", "%2F"])
def test_a_tracks_name_becomes_one_plain_component(name: str) -> None:
    part = results.file_name(name)
    assert "/" not in part
    assert not part.startswith(".")
    assert results.file_name("ok (1)") == "ok (1)"
    assert results.file_name("a/b") != results.file_name("a%2Fb")


@pytest.mark.slow
def test_the_baselines_on_mir1k_are_the_published_ones(mir1k: Path) -> None:
    """Published for the 825 test clips: both oracles at 1024/512, and robust PCA as Huang et al. (2014) quote it."""
    setup = Config("mir1k", evaluate=EvaluateConfig(metrics=("v3",), baselines=("ibm", "irm", "rpca")))
    tracks = (_mir1k_clip(mir1k, name) for name in (mir1k / "splits/test_sample.txt").read_text().split())
    judged = [scores_of(each, {}, setup.model, setup.evaluate) for each in tracks]
    assert len(judged) == 124
    scores = aggregate(judged)
    published = {"ibm": (13.24, 21.64, 14.14), "irm": (13.32, 18.48, 15.18), "rpca": (3.15, 4.43, 11.09)}
    for method, figures in published.items():
        ours = [scores[method][f"vocals/v3/{metric}"] for metric in ("GNSDR", "GSIR", "GSAR")]
        assert ours == pytest.approx(figures, abs=0.7), method


def test_v3_of_a_real_clip_is_musevals(mir1k: Path) -> None:
    each = _mir1k_clip(mir1k, "Ani_1_01")
    result = scores_of(each, {}, ModelSpec(), settings("v3"))
    references = np.stack([each.stems[target] for target in TARGETS])
    estimates = ratio_mask(each.mixture, each.stems, Stft(1024, 512, "sine"))
    theirs = museval.metrics.bss_eval_sources(references, np.stack([estimates[t] for t in TARGETS]), False)
    for metric, values in zip(("SDR", "SIR", "SAR"), theirs[:3], strict=True):
        ours = [result.values[Figure("irm", target, "v3", metric)][0] for target in TARGETS]
        np.testing.assert_allclose(ours, np.ravel(values), atol=1e-6)


def _mir1k_clip(root: Path, name: str) -> SimpleNamespace:
    audio, rate = soundfile.read(root / "Wavfile" / f"{name}.wav")
    stems = {"vocals": audio[:, 1:], "accompaniment": audio[:, :1]}
    return SimpleNamespace(
        name=name, sample_rate_hz=rate, mixture=audio.sum(axis=1, keepdims=True), stems=stems, metadata={}
    )
