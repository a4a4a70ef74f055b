"""`stemline evaluate --references`: anybody's files, without a pipeline run, in the layouts that people have."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import museval
import numpy as np
import pytest
import soundfile

from pipeline.evaluation import standalone
from pipeline.evaluation.scores import Figure
from pipeline.evaluation.separated_files import finding
from pipeline.evaluation.standalone import Request

RATE_HZ = 8000
SAMPLES = 2 * RATE_HZ


def stems(seed: int, samples: int = SAMPLES, channels: int = 1) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    time = np.arange(samples)[:, np.newaxis] / RATE_HZ
    voice = 0.3 * np.sin(2 * np.pi * (300 + 50 * seed) * time + 4 * np.sin(35 * time)) * np.ones(channels)
    noise = generator.normal(0, 0.05, (samples, channels))
    return {"vocals": voice, "drums": noise, "bass": 0.1 * np.sin(2 * np.pi * 80 * time) * np.ones(channels)}


def separated(true: Mapping[str, np.ndarray], leak: float) -> dict[str, np.ndarray]:
    rest = true["drums"] + true["bass"]
    return {"vocals": true["vocals"] + leak * rest, "accompaniment": rest + leak * true["vocals"]}


def write(directory: Path, signals: Mapping[str, np.ndarray], suffix: str = ".wav", rate_hz: int = RATE_HZ) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name, signal in signals.items():
        subtype = {"subtype": "FLOAT"} if suffix == ".wav" else {}
        soundfile.write(directory / f"{name}{suffix}", signal, rate_hz, **subtype)
    return directory


@pytest.fixture
def corpus(tmp_path: Path) -> tuple[Path, Path]:
    """MUSDB18's folders beside what Spleeter writes: three tracks, each separated worse than the one before."""
    for seed, name in enumerate(("alpha", "beta", "gamma")):
        true = stems(seed)
        write(tmp_path / "references" / "test" / name, true)
        write(tmp_path / "estimates" / name, separated(true, 0.1 * (1 + seed)))
    return tmp_path / "references", tmp_path / "estimates"


def judge(references: Path, estimates: Path, **more) -> standalone.Judged:
    return standalone.evaluate(Request(references, estimates, jobs=1, **more))


def sdr(judged: standalone.Judged, target: str = "vocals", method: str = "model") -> float:
    return judged.evaluation.scores[method][f"{target}/v4/SDR"]


def test_scores_are_those_of_museval(corpus: tuple[Path, Path]) -> None:
    judged = judge(*corpus)
    expected = []
    for seed in range(3):
        true = stems(seed)
        references = np.stack([true["vocals"], true["drums"] + true["bass"]])
        estimates = np.stack(list(separated(true, 0.1 * (1 + seed)).values()))
        frames, *_ = museval.metrics.bss_eval(references, estimates, window=RATE_HZ, hop=RATE_HZ)
        expected.append(np.median(frames, axis=1))
    assert judged.evaluation.targets == ("vocals", "accompaniment")
    assert sdr(judged) == pytest.approx(np.median(expected, axis=0)[0], abs=1e-4)
    assert sdr(judged, "accompaniment") == pytest.approx(np.median(expected, axis=0)[1], abs=1e-4)
    assert judged.bad == {}
    assert judged.fits == {}
    assert judged.accepted
    assert judged.reasons == []


def test_the_layout_does_not_matter(corpus: tuple[Path, Path], tmp_path: Path) -> None:
    """As museval's folders of estimates; with a mixture and a ready accompaniment; FLAC."""
    usual = judge(*corpus)
    for seed, name in enumerate(("alpha", "beta", "gamma")):
        true = stems(seed)
        pair = {"vocals": true["vocals"], "accompaniment": true["drums"] + true["bass"], "mix": sum(true.values())}
        write(tmp_path / "other" / "references" / name, pair)
        write(tmp_path / "other" / "estimates" / "test" / name, separated(true, 0.1 * (1 + seed)), ".flac")
    other = judge(tmp_path / "other" / "references", tmp_path / "other" / "estimates")
    assert sdr(other) == pytest.approx(sdr(usual), abs=0.01)
    assert sdr(other, method="mixture") == pytest.approx(sdr(usual, method="mixture"), abs=0.01)


def test_a_single_track_in_flat_folders_whatever_they_are_called(corpus: tuple[Path, Path]) -> None:
    references, estimates = corpus
    flat = judge(references / "test" / "beta", estimates / "alpha")
    assert [track.track for track in flat.evaluation.tracks] == ["beta"]
    write(estimates.parent / "single" / "something", separated(stems(1), 0.2))
    whole = judge(references, estimates)
    single = judge(references / "test" / "beta", estimates.parent / "single")
    beta = next(track for track in whole.evaluation.tracks if track.track == "beta")
    assert single.evaluation.tracks[0].values == beta.values


def test_one_target_is_judged_against_the_rest_of_the_mixture(corpus: tuple[Path, Path]) -> None:
    only = judge(*corpus, targets=("vocals",))
    assert only.evaluation.targets == ("vocals",)
    assert sdr(only) == pytest.approx(sdr(judge(*corpus)), abs=1e-6)


@pytest.mark.slow
def test_the_number_of_processes_changes_no_digit(corpus: tuple[Path, Path]) -> None:
    one, two = judge(*corpus), standalone.evaluate(Request(*corpus, jobs=2))
    assert [track.values for track in one.evaluation.tracks] == [track.values for track in two.evaluation.tracks]


def test_the_reference_libraries_give_the_same(corpus: tuple[Path, Path]) -> None:
    ours, theirs = judge(*corpus), judge(*corpus, engine="reference")
    for track, other in zip(ours.evaluation.tracks, theirs.evaluation.tracks, strict=True):
        for figure, frames in track.values.items():
            if (figure.method, figure.metric) != ("mixture", "SAR"):  # above 200 dB, all rounding
                np.testing.assert_allclose(frames, other.values[figure], rtol=1e-5, atol=1e-4)


def test_a_baseline_is_another_column(corpus: tuple[Path, Path], tmp_path: Path) -> None:
    for seed, name in enumerate(("alpha", "beta", "gamma")):
        write(tmp_path / "baseline" / name, separated(stems(seed), 0.2))
    judged = judge(*corpus, baseline_estimates=tmp_path / "baseline", metrics=("v4",))
    assert judged.evaluation.methods == ["mixture", "model", "baseline"]
    assert sdr(judged, method="baseline") == pytest.approx(sdr(judged), abs=0.1), "leaks of 0.1, 0.2, 0.3 against 0.2"


def test_estimates_a_little_short_or_long_are_fitted_and_said_so(corpus: tuple[Path, Path]) -> None:
    references, estimates = corpus
    true = separated(stems(0), 0.1)
    write(
        estimates / "alpha",
        {"vocals": true["vocals"][:-100], "accompaniment": np.pad(true["accompaniment"], ((0, 7), (0, 0)))},
    )
    judged = judge(references, estimates)
    [fits] = judged.fits.values()
    assert [(fit.file, fit.padded) for fit in fits] == [("alpha/vocals.wav", 100), ("alpha/accompaniment.wav", -7)]
    assert sdr(judged, "accompaniment") == pytest.approx(sdr(judge(references, estimates), "accompaniment"))


def spoil_channels(references: Path, estimates: Path) -> None:
    write(references / "test" / "beta", stems(1, channels=2))
    write(estimates / "beta", separated(stems(1, channels=3), 0.2))


def spoil_length(references: Path, estimates: Path) -> None:
    write(estimates / "beta", separated(stems(1, samples=SAMPLES - RATE_HZ // 5), 0.2))


def spoil_text(references: Path, estimates: Path) -> None:
    (estimates / "beta" / "vocals.wav").write_text("words, not samples")


def spoil_empty(references: Path, estimates: Path) -> None:
    (estimates / "beta" / "vocals.wav").write_bytes(b"")


def spoil_target(references: Path, estimates: Path) -> None:
    (estimates / "beta" / "accompaniment.wav").unlink()


def spoil_reference_rate(references: Path, estimates: Path) -> None:
    write(references / "test" / "beta", {"drums": stems(1)["drums"]}, rate_hz=2 * RATE_HZ)


def spoil_reference_nan(references: Path, estimates: Path) -> None:
    write(references / "test" / "beta", {"drums": np.full((SAMPLES, 1), np.nan)})


def spoil_two_files(references: Path, estimates: Path) -> None:
    write(estimates / "beta", separated(stems(1), 0.2), ".flac")


def remove(directory: Path) -> None:
    for file in directory.iterdir():
        file.unlink()
    directory.rmdir()


def spoil_no_estimates(references: Path, estimates: Path) -> None:
    remove(estimates / "beta")


def spoil_no_reference(references: Path, estimates: Path) -> None:
    remove(references / "test" / "beta")


SPOILS = [
    (spoil_channels, ("beta/vocals.wav has 3 channels", "has 2: legal is mono too")),
    (spoil_length, ("beta/vocals.wav has 14400 samples", "16000", "800")),
    (spoil_text, ("beta/vocals.wav is no readable audio",)),
    (spoil_empty, ("beta/vocals.wav is empty",)),
    (spoil_target, ("its estimates have no accompaniment (they have vocals)",)),
    (spoil_reference_rate, ("beta/drums.wav has 16000 Hz",)),
    (spoil_reference_nan, ("its reference accompaniment holds samples that are NaN",)),
    (spoil_two_files, ("its vocals may be beta/vocals.flac or beta/vocals.wav",)),
    (spoil_no_estimates, ("it has a reference but no estimates",)),
    (spoil_no_reference, ("it has estimates but no reference",)),
]


@pytest.mark.parametrize(("spoil", "words"), SPOILS, ids=[spoil.__name__ for spoil, _ in SPOILS])
def test_an_unusable_track_is_refused_by_name_or_left_out(corpus: tuple[Path, Path], spoil, words) -> None:
    spoil(*corpus)
    with pytest.raises(ValueError, match=r"1 of 3 tracks cannot be judged.*beta: ") as raised:
        judge(*corpus)
    assert [word for word in words if word not in str(raised.value)] == []
    judged = judge(*corpus, max_bad_tracks=1)
    assert list(judged.bad) == ["beta"]
    assert [track.track for track in judged.evaluation.tracks] == ["alpha", "gamma"]


def test_not_finite_and_silent_estimates_are_scored_and_told(corpus: tuple[Path, Path]) -> None:
    write(corpus[1] / "alpha", {"vocals": np.full((SAMPLES, 1), np.nan)})
    judged = judge(*corpus, metrics=("v4",))
    alpha = judged.evaluation.tracks[0]
    assert all(np.isnan(frames).all() for figure, frames in alpha.values.items() if figure[:2] == ("model", "vocals"))
    assert any("alpha" in reason and "finite" in reason for reason in judged.reasons)
    assert judged.accepted, "there is no gate"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"metrics": ("v5",)}, "--metrics has 'v5'; legal: v3, v4"),
        ({"metrics": ("v4", "v4")}, "none twice"),
        ({"window_seconds": 0.0}, "--window is 0 s"),
        ({"model": Path("m")}, "exactly one of --estimates and --model"),
        ({"targets": ("vocals", "vocals")}, "none twice"),
        ({"targets": ("vocals", "drums", "accompaniment")}, "accompaniment holds drums"),
        ({"targets": ("guitar",)}, "no guitar"),
        ({"baseline_estimates": Path("a"), "baseline_model": Path("b")}, "only one"),
    ],
)
def test_illegal_requests_are_one_sentence(corpus: tuple[Path, Path], more, words: str) -> None:
    with pytest.raises(ValueError, match=f"^[^\n]*{re.escape(words)}[^\n]*$"):
        judge(*corpus, **more)


def test_estimates_of_parts_and_whole_ask_for_a_choice(corpus: tuple[Path, Path]) -> None:
    for seed, name in enumerate(("alpha", "beta", "gamma")):
        write(corpus[1] / name, {"drums": stems(seed)["drums"]})
    with pytest.raises(ValueError, match=r"accompaniment holds drums.*--targets"):
        judge(*corpus)
    assert judge(*corpus, targets=("vocals", "drums"), metrics=("v4",)).evaluation.targets == ("vocals", "drums")


def test_estimates_of_what_no_reference_has_name_the_nearest(corpus: tuple[Path, Path]) -> None:
    write(corpus[1] / "alpha", {"vocal": stems(0)["vocals"]})
    with pytest.raises(ValueError, match=r"'vocal', which no reference has.*did you mean 'vocals'"):
        judge(*corpus)


@pytest.mark.parametrize("missing", [0, 1])
def test_folders_without_tracks_are_one_sentence(corpus: tuple[Path, Path], tmp_path: Path, missing: int) -> None:
    (tmp_path / "empty").mkdir()
    directories = list(corpus)
    for place in ("empty", "absent"):
        directories[missing] = tmp_path / place
        with pytest.raises(ValueError, match=f"{place} (holds no track|is not a directory)"):
            judge(*directories)


def test_writes_what_museval_reads_and_a_report(corpus: tuple[Path, Path], tmp_path: Path) -> None:
    judged = judge(*corpus, metrics=("v4",))
    standalone.write(judged, tmp_path / "out")
    store = museval.EvalStore(frames_agg="median", tracks_agg="median")
    store.add_eval_dir(tmp_path / "out" / "museval" / "v4" / "model")
    frame = store.df
    theirs = frame[(frame.target == "vocals") & (frame.metric == "SDR")].groupby("track").score.median().median()
    assert theirs == pytest.approx(sdr(judged), abs=1e-4)
    rows = list(csv.DictReader((tmp_path / "out" / "scores.csv").open()))
    assert {row["track"] for row in rows} == {"alpha", "beta", "gamma"}
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["scores"]["model"]["vocals/v4/SDR"] == pytest.approx(sdr(judged))
    assert "blessed" not in summary, "without a gate nothing was blessed"
    rows = list(csv.DictReader((tmp_path / "out" / "files.csv").open()))
    assert [row["track"] for row in rows] == ["alpha"] * 2 + ["beta"] * 2 + ["gamma"] * 2
    assert rows[0] == {
        **{"track": "alpha", "reference": str(corpus[0] / "test/alpha"), "method": "model", "target": "vocals"},
        **{"file": str(corpus[1] / "alpha/vocals.wav"), "matched": "same name", "fitted": ""},
    }
    text = (tmp_path / "out" / "report.html").read_text()
    assert "Scores, without a gate" in text
    assert text.count('"vocals/estimate":') == 3
    assert "vocals/baseline" not in text


def test_kept_audio_can_be_judged_again_and_scores_the_same(corpus: tuple[Path, Path], tmp_path: Path) -> None:
    """But for 16 bits: the worst track is judged from the files that lie beside its report."""
    out, audio = tmp_path / "out", tmp_path / "out" / "report_audio"
    judged = judge(*corpus, metrics=("v4",), keep_audio=1)
    assert standalone.write(judged, out)[-1] == audio
    again = judge(audio / "references", audio / "estimates", metrics=("v4",))
    [track] = again.evaluation.tracks
    figure = Figure("model", "vocals", "v4", "SDR")
    before = {each.track: each.score(figure) for each in judged.evaluation.tracks}
    assert track.track == min(before, key=lambda name: before[name])
    assert track.score(figure) == pytest.approx(before[track.track], abs=0.05)
    with pytest.raises(ValueError, match=r"would replace .*references, which is to be judged"):
        standalone.check_output(out, (audio / "references", audio / "estimates"))
    standalone.write(judge(*corpus, metrics=("v4",)), out)
    assert not audio.exists(), "of an evaluation that keeps none"


@pytest.mark.slow
def test_a_second_evaluation_replaces_the_first_and_nothing_else(corpus: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    for directory in (corpus[0] / "test" / "gamma", corpus[1] / "gamma"):
        remove(directory)
    standalone.write(judge(*corpus, metrics=("v4",)), out)
    remove(corpus[0] / "test" / "beta")
    remove(corpus[1] / "beta")
    standalone.write(judge(*corpus, metrics=("v4",)), out)
    assert {path.stem for path in out.rglob("museval/**/*.json")} == {"alpha"}
    (out / "summary.json").unlink()
    with pytest.raises(ValueError, match="holds a folder museval that is not of stemline"):
        standalone.check_output(out)
    with pytest.raises(ValueError, match=r"scores\.csv is a file"):
        standalone.check_output(out / "scores.csv")
    with pytest.raises(ValueError, match=r"lies below .*scores\.csv, which is a file"):
        standalone.check_output(out / "scores.csv" / "more" / "below")


def test_musdb18_as_it_comes(musdb18: Path, tmp_path: Path) -> None:
    """Native stem files, and estimates made of them by cutting."""
    from pipeline.data.datasets.layouts import musdb18 as reader
    from pipeline.data.datasets.loading import load

    for ref in reader.discover(str(musdb18), {}):
        track = load(ref)
        voice = 0.9 * track.stems["vocals"]
        write(
            tmp_path / ref.name, {"vocals": voice, "accompaniment": track.mixture - voice}, rate_hz=track.sample_rate_hz
        )
    judged = judge(musdb18, tmp_path, metrics=("v4",))
    assert len(judged.evaluation.tracks) == 2
    assert sdr(judged) == pytest.approx(20, abs=0.01), "0.9 times the reference: 20 dB in every frame"


@pytest.mark.slow
def test_a_model_separates_the_mixtures_itself(corpus: tuple[Path, Path], tmp_path: Path) -> None:
    """At twice its own rate, beside the files of another system; exactly as `stemline separate` separates."""
    from models import exported
    from models.separator import Separator
    from models.spec import ModelSpec
    from serving.local import local_client

    spec = ModelSpec(sizes={"units": 4}, sample_rate_hz=RATE_HZ // 2, frame_length=256, hop=128)
    exported.save(Separator(spec), str(tmp_path / "model"))
    request = Request(corpus[0], model=tmp_path / "model", baseline_estimates=corpus[1], metrics=("v4",), jobs=1)
    judged = standalone.evaluate(request)
    assert judged.evaluation.targets == ("vocals", "accompaniment")
    assert judged.labels == {"model": "model", "baseline": "baseline estimates"}
    assert sdr(judged, method="baseline") == pytest.approx(sdr(judge(*corpus, metrics=("v4",))), abs=1e-9)
    for place, name in enumerate(("alpha", "beta", "gamma")):
        mixture = sum(
            soundfile.read(file, dtype="float32", always_2d=True)[0]
            for file in sorted((corpus[0] / "test" / name).iterdir())
        )
        with local_client(tmp_path / "model") as model:
            write(tmp_path / "separated" / name, model.separate(mixture, RATE_HZ))
        assert judged.evaluation.tracks[place].track == name
    files = judge(corpus[0], tmp_path / "separated", metrics=("v4",))
    assert sdr(judged) == pytest.approx(sdr(files), abs=1e-4)


def test_a_folder_that_is_no_model_is_one_sentence(corpus: tuple[Path, Path]) -> None:
    with pytest.raises(ValueError, match=rf"^{corpus[1]} is no SavedModel; legal is a directory with saved_model\.pb$"):
        standalone.evaluate(Request(corpus[0], model=corpus[1]))


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_prints_a_table_with_version_window_and_aggregation(stemline, corpus: tuple[Path, Path]) -> None:
    references, estimates = corpus
    outcome = stemline("evaluate", "--references", references, "--estimates", estimates, "--metrics", "v4", "--jobs", 1)
    assert outcome.code == 0, outcome.err
    assert "BSS Eval v4 (images, 512-tap filters over the whole track), 1 s windows, median over frames" in outcome.out
    assert f"{sdr(judge(references, estimates)):.2f}" in outcome.out
    assert "3 track(s)" in outcome.out
    assert not (Path.cwd() / "runs").exists()


def test_the_command_tells_what_it_matched_fitted_and_ignored(
    stemline, corpus: tuple[Path, Path], tmp_path: Path
) -> None:
    """As UVR writes them, in mono at another rate, of what are stereo references."""
    references, estimates = tmp_path / "stereo", tmp_path / "uvr"
    write(references / "my song", stems(1, channels=2))
    true = separated({name: signal[::2] for name, signal in stems(1).items()}, 0.1)
    names = {"1_My_Song_(Vocals)": true["vocals"], "1_My_Song_(Instrumental)": true["accompaniment"]}
    write(estimates, names, rate_hz=RATE_HZ // 2)
    (estimates / "1_My_Song_(Vocals).wav.part").write_bytes(b"")
    write(estimates, {"lead": true["vocals"]}, rate_hz=RATE_HZ // 2)
    outcome = stemline("evaluate", "--references", references, "--estimates", estimates, "--metrics", "v4", "--jobs", 1)
    assert outcome.code == 0, outcome.err
    [shown, _] = outcome.out.split("BSS Eval v4")
    assert [word for word in ("my song", "1_My", "separators", "number") if word not in shown] == []
    assert "not used, as no name of a stem and a track is in its path: 1 file(s), uvr/lead.wav" in shown
    assert "ignored (unfinished): 1 file(s), uvr/1_My_Song_(Vocals).wav.part" in shown
    assert "resampled from 4000 to 8000 Hz: 2 file(s)" in outcome.out
    assert "copied from mono to 2 channels: 2 file(s)" in outcome.out


def test_names_may_hold_anything(stemline, tmp_path: Path) -> None:
    """What is no UTF-8 or would move a terminal's cursor is printed as its escape, on one line, and can be written."""
    latin, moving = os.fsdecode(b"caf\xe9"), "a\n\x1b[2Jb"
    for seed, name in enumerate((latin, moving)):
        write(tmp_path / "references" / "track", stems(seed)).rename(tmp_path / "references" / name)
        write(tmp_path / "estimates" / "track", separated(stems(seed), 0.1)).rename(tmp_path / "estimates" / name)
        (tmp_path / "estimates" / name / f"{name}.wav.part").touch()
        (tmp_path / "estimates" / name / f"lead {name}.wav").touch()
    (tmp_path / "estimates" / f"vocals_x{moving}.wav").touch()
    places = ["--references", "references", "--estimates", "estimates", "--output", f"out{moving}"]
    outcome = stemline("evaluate", *places, "--metrics", "v4", "--jobs", 1, "--max-bad-tracks", 1)
    assert outcome.code == 0, outcome.err
    assert not set(outcome.out) & {"\x1b", "\udce9"}
    escaped = "a\\n\\x1b[2Jb"
    lines = outcome.out.splitlines()
    assert f"left out: x{escaped}: it has estimates but no reference" in lines
    assert f"wrote out{escaped}/scores.csv" in lines
    for beside in ("lead {0}.wav", "{0}.wav.part"):
        told = [f"{name}/{beside.format(name)}" for name in (escaped, "caf\\xe9")]
        assert [line for line in lines if line.endswith(f"2 file(s), {', '.join(told)}")], outcome.out
    for file in ("scores.csv", "files.csv"):
        rows = list(csv.DictReader((tmp_path / f"out{moving}" / file).open(newline="")))
        assert {row["track"] for row in rows} == {"caf\\xe9", moving}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--estimates", "E"], "--references is needed"),
        (["--metrics", "v4"], "--references is needed"),
        (["--references", "R"], "exactly one of --estimates and --model"),
        (["--references", "R", "--estimates", "E", "--keep-audio", "1"], "--keep-audio lays audio beside the report"),
        (["--references", "R", "--estimates", "E", "--data", "D"], "--data is of a pipeline run"),
        (["--references", "R", "--estimates", "E", "--workdir", "D"], "--workdir is of a pipeline run"),
        (["--references", "R", "--estimates", "E", "--set", "train.steps=3"], "--set changes a recipe"),
        (["--references", "R", "--estimates", "E", "--recipe", "demo", "--targets", "vocals"], "--targets cannot"),
        (["--references", "R", "--estimates", "E", "--recipe", "dmo"], "did you mean 'demo'"),
        (["--references", "/absent", "--estimates", "E"], "/absent is not a directory"),
    ],
)
def test_mixed_or_missing_options_are_bad_input(
    stemline, corpus: tuple[Path, Path], args: list[str], words: str
) -> None:
    places = {"R": corpus[0], "E": corpus[1]}
    outcome = stemline("evaluate", *(places.get(arg, arg) for arg in args))
    assert outcome.code == 2
    assert outcome.err.count("\n") == 2
    assert outcome.err.splitlines()[-1].startswith("stemline: ")
    assert words in outcome.err.splitlines()[-1]


def test_the_gate_of_a_recipe_refuses_with_exit_code_three(stemline, corpus: tuple[Path, Path]) -> None:
    files = ["--references", corpus[0], "--estimates", corpus[1], "--jobs", 1]
    thresholds = "gate.thresholds=[{{target: vocals, metric: v4/SDR, at_least_db: {}}}]"
    refused = stemline("evaluate", *files, "--recipe", "demo", "--set", thresholds.format(60))
    assert refused.code == 3, refused
    assert "misses the required 60.00 dB" in refused.out
    passed = stemline("evaluate", *files, "--recipe", "demo", "--set", thresholds.format(5))
    assert passed.code == 0, passed


def test_the_installed_command_neither_runs_a_pipeline_nor_imports_one(
    corpus: tuple[Path, Path], tmp_path: Path
) -> None:
    code = (
        "import sys; from pipeline.cli import main\n"
        f"sys.argv = ['stemline', 'evaluate', '--references', {str(corpus[0])!r}, '--estimates', {str(corpus[1])!r}, '--jobs', '1']\n"
        "try: main.main()\nfinally: print(sorted({'tensorflow', 'tfx', 'apache_beam', 'ml_metadata'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    assert sorted(os.listdir(tmp_path)) == ["estimates", "references"], "nothing is written unasked"


def test_find_refuses_audio_beside_tracks(corpus: tuple[Path, Path]) -> None:
    write(corpus[1], {"vocals": stems(0)["vocals"]})
    with pytest.raises(ValueError, match="holds audio files and also folders of tracks"):
        finding.references(corpus[1])
