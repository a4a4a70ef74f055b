"""The drop-in for museval: whatever a caller of museval passes, gets, is warned of and catches."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import museval as library
import numpy as np
import pytest
import soundfile

from pipeline.evaluation.bss_eval import museval

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

RATE_HZ = 4000


def signals(seed: int, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Coloured references, and estimates with interference and noise in another order."""
    rng = np.random.default_rng(seed)
    references = rng.standard_normal(shape)
    references[:, 1:] += 0.9 * references[:, :-1]
    estimates = 0.8 * references + 0.2 * np.roll(references, 1, axis=0) + 0.2 * rng.standard_normal(shape)
    return references, np.roll(estimates, 1, axis=0)


def assert_same(ours: tuple[np.ndarray, ...], theirs: tuple[np.ndarray, ...]) -> None:
    assert len(ours) == len(theirs)
    for mine, their in zip(ours, theirs, strict=True):
        assert (mine.shape, mine.dtype) == (their.shape, their.dtype)
        np.testing.assert_allclose(mine, their, atol=1e-6)


def refusal(function: Callable[..., object], *arguments: object, **options: object) -> str:
    """The words of the ValueError that a call raises."""
    with pytest.raises(ValueError, match=r".+") as raised:
        function(*arguments, **options)
    return str(raised.value)


@pytest.mark.parametrize("sources_version", [False, True])
@pytest.mark.parametrize("framewise", [False, True])
@pytest.mark.parametrize("permute", [False, True])
@pytest.mark.parametrize("shape", [(2, 5000), (3, 4100, 2)])
def test_bss_eval_is_musevals(shape: tuple[int, ...], permute: bool, framewise: bool, sources_version: bool) -> None:
    references, estimates = signals(1, *shape)
    references[0, 1900:3200] = 0
    arguments = (references, estimates, 1000, 700.5, permute, 32, framewise, sources_version)
    ours, theirs = museval.metrics.bss_eval(*arguments), library.metrics.bss_eval(*arguments)
    assert_same(ours, theirs)
    assert np.isnan(ours[0]).any()
    assert not np.isnan(ours[0]).all()


@pytest.mark.parametrize(
    ("window", "hop"), [(np.inf, np.inf), (2500.0, np.inf), (1000, 1500), (999.5, 333.3), (6000, 10), (4000, 4000)]
)
def test_framing_is_musevals(window: float, hop: float) -> None:
    references, estimates = signals(2, 2, 4000)
    if np.isinf(hop) and window < 4000:
        for bss_eval in (museval.metrics.bss_eval, library.metrics.bss_eval):
            with pytest.raises(ValueError, match="cannot convert float NaN to integer"):
                bss_eval(references, estimates, window, hop, filters_len=16)
        return
    arguments = (references, estimates, window, hop, False, 16)
    assert_same(museval.metrics.bss_eval(*arguments), library.metrics.bss_eval(*arguments))


@pytest.mark.parametrize(
    "name", ["bss_eval_sources", "bss_eval_images", "bss_eval_sources_framewise", "bss_eval_images_framewise"]
)
def test_the_wrappers_are_musevals(name: str) -> None:
    references, estimates = signals(3, 2, 6000)
    frames = {"window": 3000, "hop": 3000} if name.endswith("framewise") else {}
    ours = getattr(museval.metrics, name)(references, estimates, **frames)
    assert_same(ours, getattr(library.metrics, name)(references, estimates, **frames))


@pytest.mark.parametrize("silent", ["raise", "nan"])
def test_one_signal_one_channel_and_one_source(silent: str) -> None:
    references, estimates = signals(4, 1, 3000)
    for these in [(references[0], estimates[0]), (references, estimates)]:
        ours = museval.metrics.bss_eval(*these, 1000, 1000, filters_len=64, silent=silent)
        theirs = library.metrics.bss_eval(*these, 1000, 1000, filters_len=64)
        assert_same(ours[:2] + ours[3:], theirs[:2] + theirs[3:])
        assert (np.minimum(ours[2], theirs[2]) > 200).all()  # no interference but rounding


def test_a_silent_channel_and_integer_samples() -> None:
    references, estimates = signals(5, 2, 3000, 2)
    references, estimates = (1000 * references).astype(np.int16), (1000 * estimates).astype(np.int16)
    references[0, :, 1] = 0
    arguments = (references, estimates, 1000, 1000, False, 64)
    assert_same(museval.metrics.bss_eval(*arguments), library.metrics.bss_eval(*arguments))


@pytest.mark.parametrize("silenced", [0, 1])
def test_silence_raises_or_is_nan(silenced: int) -> None:
    pair = signals(6, 2, 3000, 2)
    pair[silenced][1] = 0
    refusals = [refusal(each.metrics.bss_eval, *pair, 1000, 1000) for each in (library, museval)]
    assert refusals[0] == refusals[1]
    assert "should be non-silent" in refusals[0]
    scores = museval.metrics.bss_eval(*pair, 1000, 1000, silent="nan")
    assert all(np.isnan(each).all() and each.shape == (2, 3) for each in scores[:4])
    with pytest.raises(ValueError, match="silent is 'zero'; legal: 'raise', 'nan', 'source'"):
        museval.metrics.bss_eval(*pair, silent="zero")


@pytest.mark.parametrize("framewise", [False, True])
@pytest.mark.parametrize("silenced", [0, 1])
def test_silence_of_a_source_can_be_its_own(silenced: int, framewise: bool) -> None:
    """sigsep-mus-eval#94: the others score as museval scores them without it, or beside an estimate that sounds."""
    pair = signals(6, 3, 3000, 2)
    estimates = pair[1][[1, 2, 0]]
    sounding = library.metrics.bss_eval(pair[0], estimates, 1000, 1000, False, 32, framewise)[:4]
    pair = pair[0], estimates
    pair[silenced][1] = 0
    scores = museval.metrics.bss_eval(*pair, 1000, 1000, False, 32, framewise, silent="source")[:4]
    others = [0, 2]
    if silenced == 0:
        two = [each[others] for each in pair]
        sounding = [
            np.insert(m, 1, 0, axis=0) for m in library.metrics.bss_eval(*two, 1000, 1000, False, 32, framewise)[:4]
        ]
    for ours, theirs in zip(scores, sounding, strict=True):
        assert np.isnan(ours[1]).all()
        np.testing.assert_allclose(ours[others], theirs[others], atol=1e-6)


def test_silence_in_a_frame_is_nan_in_that_frame_of_that_source_alone() -> None:
    references, estimates = signals(6, 2, 3000, 2)
    estimates = np.roll(estimates, -1, axis=0)
    references[1, 1000:2000] = 0
    sdr = museval.metrics.bss_eval(references, estimates, 1000, 1000, filters_len=32, silent="source")[0]
    assert np.isnan(sdr).tolist() == [[False, False, False], [False, True, False]]
    error = ((references - estimates)[0, 1000:2000] ** 2).sum()
    assert sdr[0, 1] == pytest.approx(10 * np.log10((references[0, 1000:2000] ** 2).sum() / error))
    with pytest.raises(ValueError, match="compute_permutation=False"):
        museval.metrics.bss_eval(references, estimates, compute_permutation=True, silent="source")


def test_a_hop_of_nothing_is_what_museval_raises_and_a_sentence() -> None:
    for bss_eval in (library.metrics.bss_eval, museval.metrics.bss_eval):
        with pytest.raises(ZeroDivisionError):
            bss_eval(*signals(2, 2, 4000), 1000, 0)
    with pytest.raises(ValueError, match="hop is 0; legal: above 0"):
        museval.evaluate(*signals(2, 2, 4000, 1), 0, 0)


def test_signals_of_several_lengths_are_told_as_that() -> None:
    """sigsep-mus-eval#85."""
    references = list(signals(2, 2, 4000, 1)[0])
    with pytest.raises(ValueError, match=r"estimates have the shapes \(3000, 1\), \(4000, 1\); legal: one for all"):
        museval.evaluate(references, [references[0], references[1][:3000]])


def test_a_slash_in_a_name_is_found_before_anything_is_computed(tmp_path: Path) -> None:
    song, estimates = track(9)
    song.name = "AC/DC - Song"
    song.targets = {name: SimpleNamespace() for name in song.targets}  # without audio: nothing can be computed
    with pytest.raises(FileNotFoundError, match="'AC/DC - Song' cannot be written"):
        museval.eval_mus_track(song, estimates, tmp_path)


@pytest.mark.parametrize("shape", [(0, 100, 1), (2, 0, 1)])
@pytest.mark.parametrize("silent", ["raise", "nan"])
def test_nothing_warns_and_is_empty(shape: tuple[int, ...], silent: str) -> None:
    with pytest.warns(UserWarning, match="is empty") as theirs:
        expected = library.metrics.bss_eval(np.zeros(shape), np.zeros(shape))
    with pytest.warns(UserWarning, match="is empty") as ours:
        scores = museval.metrics.bss_eval(np.zeros(shape), np.zeros(shape), silent=silent)
    assert [str(each.message) for each in ours] == [str(each.message) for each in theirs]
    assert_same(scores, expected)


@pytest.mark.parametrize("shapes", [((2, 100), (2, 99)), ((2, 100, 1), (2, 100, 2)), ((1, 2, 3, 4), (1, 2, 3, 4))])
@pytest.mark.parametrize("silent", ["raise", "nan"])
def test_shapes_that_do_not_fit_raise_as_musevals(shapes: tuple[tuple[int, ...], ...], silent: str) -> None:
    arrays = [np.ones(shape) for shape in shapes]
    assert refusal(museval.metrics.bss_eval, *arrays, silent=silent) == refusal(library.metrics.bss_eval, *arrays)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_estimate_that_is_not_finite_is_nan_as_musevals(bad: float) -> None:
    references, estimates = signals(7, 2, 3000)
    estimates[1, 1234] = bad
    ours = museval.metrics.bss_eval(references, estimates, 1000, 1000, filters_len=32)
    assert_same(ours, library.metrics.bss_eval(references, estimates, 1000, 1000, filters_len=32))
    assert np.isnan(ours[0][1]).all()
    assert np.isfinite(ours[0][0]).all()


def test_a_reference_that_is_not_finite_makes_everything_nan() -> None:
    references, estimates = signals(7, 2, 3000)
    references[1, 1234] = np.inf
    assert all(np.isnan(each).all() for each in museval.metrics.bss_eval(references, estimates, 1000, 1000)[:4])


def track(seed: int) -> tuple[SimpleNamespace, dict[str, np.ndarray]]:
    """What museval uses of a musdb track, and estimates of it."""
    names = ["drums", "bass", "other", "vocals"]
    references, estimates = signals(seed, 4, 2 * RATE_HZ, 1)
    estimates = np.roll(estimates, -1, axis=0)
    targets = {name: SimpleNamespace(audio=audio) for name, audio in zip(names, references, strict=True)}
    targets["accompaniment"] = SimpleNamespace(audio=references[:3].sum(axis=0))
    of_targets = dict(zip(names, estimates, strict=True)) | {"accompaniment": estimates[:3].sum(axis=0)}
    return SimpleNamespace(name=f"Song {seed}", subset="test", rate=RATE_HZ, targets=targets), of_targets


@pytest.mark.parametrize(
    ("names", "mode"),
    [
        (["drums", "bass", "other", "vocals", "accompaniment"], "v4"),
        (["vocals", "accompaniment"], "v4"),
        (["bass", "vocals"], "v3"),
    ],
)
def test_eval_mus_track_stores_what_museval_stores(names: list[str], mode: str) -> None:
    song, estimates = track(8)
    chosen = {name: estimates[name][:-100] for name in names}
    ours, theirs = (json.loads(each.eval_mus_track(song, chosen, mode=mode).json) for each in (museval, library))
    assert_same_json(ours, theirs)


def assert_same_json(ours: object, theirs: object) -> None:
    """Equal but for figures, which agree to 1e-4."""
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            assert_same_json(ours[key], value)
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs)
        for mine, their in zip(ours, theirs, strict=True):
            assert_same_json(mine, their)
    elif isinstance(theirs, float):
        assert ours == pytest.approx(theirs, abs=1e-4, nan_ok=True)
    else:
        assert ours == theirs


def test_eval_mus_track_warns_of_a_single_target() -> None:
    song, estimates = track(9)
    with pytest.warns(UserWarning, match="at least two estimates"):
        assert museval.eval_mus_track(song, {"bass": estimates["bass"]}).scores["targets"] == []


def test_musevals_aggregation_loads_what_is_written(tmp_path: Path) -> None:
    for seed in (10, 11):
        song, estimates = track(seed)
        museval.eval_mus_track(song, {name: estimates[name] for name in ("bass", "vocals")}, tmp_path)
    scores = library.EvalStore()
    scores.add_eval_dir(tmp_path)
    assert sorted(scores.df.track.unique()) == ["Song 10", "Song 11"]
    assert np.isfinite(scores.agg_frames_tracks_scores()).all()
    assert sorted(file.name for file in (tmp_path / "test").iterdir()) == ["Song 10.json", "Song 11.json"]


def test_eval_mus_track_of_a_silent_stem_can_be_nan() -> None:
    song, estimates = track(12)
    song.targets["bass"].audio[:] = 0
    with pytest.raises(ValueError, match="non-silent"):
        museval.eval_mus_track(song, estimates)
    frames = museval.eval_mus_track(song, estimates, silent="nan").scores["targets"][0]["frames"]
    assert all(np.isnan(float(frame["metrics"]["SDR"])) for frame in frames)


def test_folders_of_files(tmp_path: Path) -> None:
    song, estimates = track(13)
    for folder, audio in {
        "references": {n: t.audio for n, t in song.targets.items()},
        "mine/test/Song 13": estimates,
    }.items():
        (tmp_path / folder).mkdir(parents=True)
        for name in ("bass", "drums"):
            soundfile.write(tmp_path / folder / f"{name}.wav", audio[name], RATE_HZ, subtype="FLOAT")
    references, mine = tmp_path / "references", tmp_path / "mine/test/Song 13"
    ours = museval.eval_dir(references, mine, tmp_path / "out")
    read = [
        np.stack([soundfile.read(d / f"{n}.wav", always_2d=True)[0] for n in ("bass", "drums")])
        for d in (references, mine)
    ]
    sdr = library.evaluate(*read, win=RATE_HZ, hop=RATE_HZ)[0]
    found = [[float(f["metrics"]["SDR"]) for f in each["frames"]] for each in ours.scores["targets"]]
    np.testing.assert_allclose(found, sdr, atol=1e-4)
    assert [each["name"] for each in ours.scores["targets"]] == ["bass.wav", "drums.wav"]
    museval.eval_mus_dir([song], tmp_path / "mine", tmp_path / "out")
    written = json.loads((tmp_path / "out/test/Song 13.json").read_text())
    assert [each["name"] for each in written["targets"]] == ["drums", "bass"]


def test_folders_that_do_not_fit(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with pytest.raises(ValueError, match="contains no wav files"):
        museval.eval_dir(tmp_path / "a", tmp_path / "b")
    soundfile.write(tmp_path / "a/bass.wav", np.ones(100), 8000)
    with pytest.raises(ValueError, match="legal: the names of"):
        museval.eval_dir(tmp_path / "a", tmp_path / "b")
    soundfile.write(tmp_path / "b/bass.wav", np.ones(100), 16000)
    with pytest.raises(ValueError, match="16000 Hz; legal: the references' 8000 Hz"):
        museval.eval_dir(tmp_path / "a", tmp_path / "b")


def test_no_warnings_on_good_input() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        museval.evaluate(*signals(14, 2, 3000, 2), 1000, 1000)


def test_the_stores_are_musevals_own() -> None:
    for name in ("TrackStore", "EvalStore", "MethodStore", "pad_or_truncate", "json2df", "aggregate"):
        assert getattr(museval, name) is getattr(library, name)
    assert museval.metrics.Framing is library.metrics.Framing
