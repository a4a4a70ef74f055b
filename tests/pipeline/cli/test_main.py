"""Bad input: one sentence, exit code 2, no traceback, nothing left behind."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

RATE_HZ = 16000


def track(directory: Path, vocals: np.ndarray, drums: np.ndarray, rate_hz: int = RATE_HZ) -> Path:
    """A track of the layout `folder`."""
    directory.mkdir(parents=True)
    soundfile.write(directory / "vocals.wav", vocals, rate_hz, subtype="FLOAT")
    soundfile.write(directory / "drums.wav", drums, rate_hz, subtype="FLOAT")
    return directory


def noise(samples: int) -> np.ndarray:
    return 0.1 * np.random.default_rng(samples).normal(size=samples).astype(np.float32)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Three good tracks, one a split."""
    for split in ("train", "dev", "test"):
        track(tmp_path / "corpus" / split / f"{split}-good", noise(RATE_HZ), noise(RATE_HZ + 1)[:RATE_HZ])
    return tmp_path / "corpus"


def check(outcome, words: tuple[str, ...]) -> None:
    lines = outcome.err.strip().splitlines()
    assert outcome.code == 2, outcome
    assert "Traceback" not in outcome.err + outcome.out
    assert lines
    assert lines[-1].startswith("stemline: ")
    assert [word for word in words if word not in lines[-1]] == [], lines[-1]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--data", "/no/such/folder", "--format", "folder"], ("/no/such/folder",)),
        (["--format", "mirk1"], ("mirk1", "mir1k")),
        (["--recipe", "dem"], ("'dem'", "did you mean 'demo'")),
        (["--set", "train.stesp=3"], ("train.stesp", "did you mean 'steps'")),
        (["--set", "model.network=drn"], ("drn", "drnn")),
        (["--set", "train.loss=csd"], ("csd", "csdr")),
        (["--set", "model.sizes.unitss=3"], ("unitss", "units")),
        (["--set", "train.augment=[gian]"], ("gian", "gain")),
        (["--set", "train.augment_options={speed: {}}"], ("speed", "train.augment")),
        (["--set", "data.options.secnds=3"], ("secnds", "seconds")),
        (["--data", ""], ("data is empty: legal is to leave it out",)),
        (["--set", ""], ("set is empty",)),
    ],
)
def test_bad_configuration_is_refused_before_anything_is_written(stemline, tmp_path: Path, args, words) -> None:
    outcome = stemline("run", "--workdir", tmp_path / "runs", *args)
    check(outcome, words)
    assert not (tmp_path / "runs").exists()


def spoil_with_text(corpus: Path) -> None:
    (corpus / "train" / "train-good" / "vocals.wav").write_text("these are words, not samples\n" * 10)


def spoil_with_nothing(corpus: Path) -> None:
    (corpus / "train" / "train-good" / "vocals.wav").write_bytes(b"")


def spoil_with_two_samples(corpus: Path) -> None:
    for name in ("vocals", "drums"):
        soundfile.write(corpus / "train" / "train-good" / f"{name}.wav", noise(2), RATE_HZ)


def spoil_with_nan(corpus: Path) -> None:
    bad = noise(RATE_HZ)
    bad[100] = np.nan
    soundfile.write(corpus / "train" / "train-good" / "vocals.wav", bad, RATE_HZ, subtype="FLOAT")


def spoil_with_another_rate(corpus: Path) -> None:
    soundfile.write(corpus / "train" / "train-good" / "vocals.wav", noise(RATE_HZ), 2 * RATE_HZ)


def spoil_with_another_length(corpus: Path) -> None:
    soundfile.write(corpus / "train" / "train-good" / "vocals.wav", noise(RATE_HZ // 2), RATE_HZ)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_with_text, ("train-good", "vocals.wav")),
        (spoil_with_nothing, ("train-good", "vocals.wav")),
        (spoil_with_two_samples, ("train-good", "2 samples")),
        (spoil_with_nan, ("train-good", "NaN")),
        (spoil_with_another_rate, ("train-good", "32000")),
        (spoil_with_another_length, ("train-good", "8000")),
    ],
)
def test_a_bad_track_stops_the_run_with_its_reason(stemline, corpus: Path, tmp_path: Path, spoil, words) -> None:
    spoil(corpus)
    workdir = tmp_path / "runs"
    outcome = stemline("ingest", "--data", corpus, "--format", "folder", "--workdir", workdir)
    check(outcome, (*words, "ingest_report.json"))
    assert [path for path in workdir.rglob("*") if path.name.endswith((".gz", ".partial"))] == []


def test_sources_that_are_no_songs_are_told_by_the_layout_that_was_recognised(stemline, tmp_path: Path) -> None:
    for split, name in itertools.product(("train", "valid", "test"), ("vocals", "drums")):
        (tmp_path / "sources" / split / name).mkdir(parents=True)
        soundfile.write(tmp_path / "sources" / split / name / "1.wav", noise(RATE_HZ), RATE_HZ)
    outcome = stemline("run", "--data", tmp_path / "sources", "--set", "train.augment=[]")
    check(outcome, ("the sources of format sourcefolder belong to no common tracks: add remix",))


@pytest.fixture
def song(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "song.wav", noise(100), RATE_HZ)
    return tmp_path / "song.wav"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["none.wav"], ("none.wav is not there",)),
        (["nothing"], ("folder nothing holds no audio file (1 litter, 2 no audio by its name)",)),
        (["*.mp3"], ("*.mp3 is not there", "a glob that matches")),
        (["text.wav"], ("text.wav is no readable audio",)),
        (["empty.wav"], ("empty.wav is empty (0 bytes)",)),
        (
            ["text.wav", "empty.wav"],
            ("none of 2 files can be separated: text.wav is no readable audio", "empty.wav is empty"),
        ),
        (["song.wav", "none.wav"], ("none.wav is not there",)),
        (["song.wav", "folder/song.wav"], ("song.wav and folder/song.wav", "separated/song")),
        (
            ["song.wav", "song.flac"],
            ("song.wav and song.flac would both become separated/song/<stem>.wav", "{trackext}"),
        ),
        (["*.wav", "--template", "{stem}"], ("would both become separated/<stem>", "{track}")),
        (["...wav"], ("a stem of ...wav would become ../<stem>.wav, outside of separated",)),
        (["song.wav", "--template", "../{track}/{stem}"], ("would become ../song/<stem>, outside of separated",)),
        (["song.wav", "--template", "/tmp/{stem}"], ("outside of separated",)),
        (["song.wav", "--template", ""], ("template is empty",)),
        (["song.wav", "--template", "{stem}.mp3"], ("would become <stem>.mp3, but is written as wav",)),
        (["song.wav", "", "-o", "out"], ("audio is empty: legal is a path",)),
        (["song.wav", "-o", ""], ("output is empty: legal is a path",)),
        (["song.wav", "--output="], ("output is empty: legal is a path",)),
        *(
            (["song.wav", option, ""], (f"{option.strip('-')} is empty: legal is to leave it out",))
            for option in ("--model", "--recipe", "--stems", "--two-stems", "--format", "--server", "--model-name")
        ),
        (["song.wav", "--stems", "vocals,,bass"], ("the name of a stem is empty",)),
        (["song.wav", "--workdir", ""], ("workdir is empty: legal is a path",)),
        (["song.wav", "--template", "{name}/{stem}"], ("{name}", "legal: {track}, {trackext}, {stem}, {ext}")),
        (["song.wav", "--template", "{stem.real}"], ("{stem.real}", "legal: {track}")),
        (["song.wav", "--template", "{stem"], ("'{stem'", "legal: {track}")),
        (
            ["vocals/vocals.wav", "-o", ".", "--stems", "vocals"],
            ("vocals/vocals.wav would be written, and is the input",),
        ),
        (["song.wav", "-o", ".", "--stems", "vocals", "--template", "text.wav"], ("text.wav is there", "--overwrite")),
        (["song.wav", "--format", "wma"], ("format is 'wma'; legal: wav, flac, mp3, ogg, m4a",)),
        (["song.wav", "--bit-depth", "20"], ("bit depth is 20 for wav; legal: 16, 24, 32",)),
        (["song.wav", "--format", "mp3", "--bit-depth", "16"], ("bit depth is 16 for mp3; it has none",)),
        (["song.wav", "--stems", "vocals", "--two-stems", "vocals"], ("both say what to write",)),
        (["song.wav", "--overwrite", "--skip-existing"], ("--overwrite and --skip-existing",)),
        (["song.wav", "-o", "-", "--json"], ("--json and -o -",)),
        (["song.wav", "folder", "-o", "-"], ("one stem of one file, and not of 2 files; legal is one file",)),
        (["song.wav", "-o", "text.wav"], ("stems cannot be written to text.wav: Not a directory",)),
        (["song.wav", "-o", "/proc/new"], ("stems cannot be written to /proc/new: ",)),
        (["song.wav", "--model", "folder", "--recipe", "demo"], ("--model and --recipe",)),
        (["song.wav", "--server", "localhost:1", "--model", "folder"], ("--model and --recipe", "--server")),
        (["song.wav", "--recipe", "drnn"], ("no version of 'drnn' was pushed", "runs")),
        (["song.wav", "--model", "folder"], ("folder is no SavedModel", "saved_model.pb")),
        (["song.wav", "--model", "none"], ("none is no SavedModel",)),
        (["song.wav", "--model", "song.wav"], ("song.wav is no SavedModel",)),
        (["song.wav", "--ca", "text.wav"], ("--ca", "--server")),
        *(
            (["song.wav", "--server", server], (f"server is '{server}'", "host:port"))
            for server in (
                "localhost",
                "localhost:",
                ":8500",
                "http://localhost:8500",
                "localhost:0",
                "a:b:1",
                "h:65536",
            )
        ),
        (["song.wav", "--server", "localhost:1", "--ca", "none.pem"], ("none.pem",)),
        (["song.wav", "--server", "localhost:1", "--ca", "text.wav"], ("text.wav", "no PEM")),
        (["song.wav", "--server", "localhost:1", "--cert", "text.wav"], ("key is missing",)),
    ],
)
def test_separate_says_what_it_cannot_do_before_a_model_is_loaded(stemline, song: Path, args, words) -> None:
    (song.parent / "text.wav").write_text("words")
    (song.parent / "empty.wav").touch()
    (song.parent / "folder").mkdir()
    for name in ("folder/song.wav", "song.flac", "...wav", "vocals/vocals.wav"):
        (song.parent / name).parent.mkdir(exist_ok=True)
        (song.parent / name).write_bytes(song.read_bytes())
    (song.parent / "nothing").mkdir()
    for name in (".hidden.wav", "cover.jpg", "notes"):
        (song.parent / "nothing" / name).touch()
    outcome = stemline("separate", *args)
    check(outcome, words)
    assert len(outcome.err.splitlines()) <= 2, outcome.err
    assert outcome.out == ""
    assert not (song.parent / "separated").exists()


@pytest.mark.slow  # it waits for a server
def test_separate_where_no_server_is(stemline, song: Path, caplog) -> None:
    outcome = stemline("separate", song, "--server", "localhost:1")
    check(outcome, ("localhost:1", "no model server"))
    assert outcome.err.startswith(f"looking at {song}\nasking model 'stemline' at localhost:1\n")
    assert "waiting up to 60 s for server localhost:1" in caplog.text
    assert not (song.parent / "separated").exists()


@pytest.mark.parametrize(
    ("args", "name"),
    [
        (["run", "--workdir"], "workdir"),
        (["runs", "--workdir"], "working directory"),
        (["serve", "--workdir"], "workdir"),
        (["kubeflow", "compile", "--output"], "output"),
        (["evaluate", "--references", "/tmp", "--model"], "model"),
        (["separate"], "audio"),
    ],
)
def test_a_bucket_where_a_path_is_needed(stemline, args: list[str], name: str) -> None:
    """It would become a directory `s3:` here."""
    check(stemline(*args, "s3://bucket/place"), (f"{name} is s3://bucket/place: legal is a ", "of this machine"))
    assert list(Path().iterdir()) == []


def test_separate_takes_a_model_from_a_bucket(stemline, song: Path, bucket) -> None:
    check(
        stemline("separate", song, "--model", "s3://no-such-bucket/1"),
        ("s3://no-such-bucket/1 cannot be used", "bucket does not exist"),
    )
    check(stemline("separate", song, "--model", f"{bucket.url}/1"), (f"{bucket.url}/1 is no SavedModel",))


def test_serve_without_a_pushed_model(stemline, tmp_path: Path) -> None:
    check(stemline("serve", "-r", "drnn", "-w", tmp_path / "runs"), ("no version of 'drnn' was pushed", "runs"))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--rest_api_prot=8501"], "rest_api_prot"),
        (
            ["--model_name=m", "--model_base_path=x"],
            "Expected model m to have an absolute path or URI; got base_path()=x",
        ),
        (["--model_base_path=x"], "Expected model stemline to have an absolute path"),
        (["--model_config_file=none"], "none cannot be read"),
    ],
)
def test_serve_hands_flags_on_to_the_server(tmp_path: Path, flags: list[str], words: str) -> None:
    """In a process of its own, which the server takes over: it refuses them before it loads anything.

    Only without those that name models a pushed one is asked for.
    """
    if "model" not in flags[0]:
        (tmp_path / "serving" / "mine" / "1").mkdir(parents=True)
        (tmp_path / "serving" / "mine" / "1" / "saved_model.pb").touch()
    command = [sys.executable, "-m", "pipeline.cli.main", "serve", "-p", "0", "-w", str(tmp_path), "--", *flags]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert outcome.returncode == 2, outcome
    assert words in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_serve_takes_models_from_one_place(stemline) -> None:
    outcome = stemline("serve", "--recipe", "demo", "--", "--model_base_path=/models/m")
    check(outcome, ("--recipe and --model_base_path",))


def test_a_second_run_on_the_same_workdir_is_refused_at_once(stemline, tmp_path: Path) -> None:
    import filelock

    (tmp_path / "runs").mkdir()
    with filelock.FileLock(tmp_path / "runs" / ".lock"):
        check(stemline("ingest", "--workdir", tmp_path / "runs"), ("another stemline run", "runs"))


def test_runs_of_an_empty_workdir(stemline, tmp_path: Path) -> None:
    outcome = stemline("runs", "--workdir", tmp_path)
    assert outcome.code == 0
    assert "no runs" in outcome.out
    assert list(tmp_path.iterdir()) == []


def test_models_lists_every_system_with_its_parameters_and_latency(stemline, tmp_path: Path) -> None:
    outcome = stemline("models", "--workdir", tmp_path)
    assert outcome.code == 0
    listed = "".join(outcome.out.split())
    for told in ("5,569,026", "drnn_mir1k", "or_unet_df", "64ms", "Huang", "11.98"):
        assert told in listed


def test_models_answers_without_tensorflow(tmp_path: Path) -> None:
    code = "import sys; from pipeline.cli import main; sys.argv = ['stemline', 'models']\ntry: main.main()\nfinally: print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    loaded = done.stdout.splitlines()[-1]
    assert "'pipeline.cli.tables'" in loaded
    assert "'tensorflow'" not in loaded
    assert "'ml_metadata'" not in loaded


def test_the_installed_command_exits_with_two_and_no_traceback(tmp_path: Path) -> None:
    command = [
        str(Path(sys.executable).with_name("stemline")),
        "run",
        "--recipe",
        "dem",
        "--workdir",
        str(tmp_path / "runs"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    begun, last = done.stderr.splitlines()
    assert begun.startswith("reading recipe dem and what is in ")
    assert last.startswith("stemline: unknown recipe 'dem'")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("evaluate", "--references", "a", "--estimates", "b", "--data", "c"), "--data is of a pipeline run"),
        (("evaluate", "--references", "absent", "--estimates", "b"), "is not a directory"),
        (("runs", "diff", "1", "2", "--workdir", "absent"), "there are no runs in"),
    ],
)
def test_the_installed_command_refuses_bad_input_of_its_tools(tmp_path: Path, args, words: str) -> None:
    command = [str(Path(sys.executable).with_name("stemline")), *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 2
    begun, last = done.stderr.splitlines()
    assert begun.startswith(("looking at", "reading"))
    assert last.startswith("stemline: ")
    assert words in last
    assert list(tmp_path.iterdir()) == []


@contextlib.contextmanager
def mounted(disk: Path, options: str) -> Iterator[Path]:
    """A small disk."""
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("this machine does not allow mounts, or not to us")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize(
    ("options", "words"), [("size=600k", "No space left on device"), ("size=9m,ro", "Read-only file system")]
)
def test_a_disk_that_takes_nothing_is_told_at_once(stemline, tmp_path: Path, options: str, words: str) -> None:
    loaded = "tensorflow" in sys.modules
    with mounted(tmp_path / "disk", options) as disk:
        outcome = stemline("run", "--workdir", disk / "runs")
        check(outcome, (f"the working directory is {disk}/runs, where nothing can be written: {words}",))
        outcome = stemline("kubeflow", "compile", "--output", disk / "pipeline.yaml")
        check(outcome, (f"the folder of --output is {disk}, where nothing can be written: {words}",))
        assert list(disk.iterdir()) == []
    assert ("tensorflow" in sys.modules) == loaded


@pytest.mark.slow
def test_a_disk_that_becomes_full_is_one_sentence(stemline, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=2m") as disk:
        tracks = "data.options={tracks: {train: 9, dev: 1, test: 1}, seconds: 20}"
        outcome = stemline("ingest", "--workdir", disk / "runs", "--set", tracks)
        check(outcome, (f"the disk of {disk}/runs is full, or that of the temporary files: ",))
        assert list((disk / "runs").rglob("*.partial")) == []


def test_serve_runs_the_projects_server_whatever_lies_in_the_current_directory(tmp_path: Path) -> None:
    for name in ("serving.py", "models.py", "grpc.py", "random.py"):
        (tmp_path / name).write_text("import os; os._exit(99)")
    line = [Path(sys.executable).with_name("stemline"), "serve", "-p", "0", "--", "--model_base_path=/m"]
    done = subprocess.run([*line, "--ssl_config_file=/nowhere"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("Failed to start server. Error: /nowhere cannot be read: ")
