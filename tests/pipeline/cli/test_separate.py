"""`stemline separate` on lists of real files with a real model: what is written, what is said, what is refused."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import soundfile

from serving.client import decoding

ROOT = Path(__file__).resolve().parents[3]
RATE_HZ, FRAME_LENGTH = 8000, 64
NEEDS_FFMPEG = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
CLI = (sys.executable, "-m", "pipeline.cli.main", "separate")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A small network with weights by chance, at 8 kHz, version 7."""
    return saved(tmp_path_factory.mktemp("model") / "7", ("vocals", "accompaniment"))


@pytest.fixture(scope="module")
def four_stems(tmp_path_factory) -> Path:
    return saved(tmp_path_factory.mktemp("four") / "1", ("vocals", "drums", "bass"))


def saved(directory: Path, targets: tuple[str, ...]) -> Path:
    import tf_keras as keras

    from models import exported
    from models.separator import Separator
    from models.spec import ModelSpec

    keras.utils.set_random_seed(0)
    sizes = {"units": 4, "layers": 1}
    spec = ModelSpec(
        network="dnn", sizes=sizes, sample_rate_hz=RATE_HZ, frame_length=FRAME_LENGTH, hop=32, targets=targets
    )
    separator = Separator(spec)
    random = np.random.default_rng(0)
    separator.set_weights([weight + random.normal(0, 0.2, weight.shape) for weight in separator.get_weights()])
    exported.save(separator, directory)
    return directory


def noise(rate_hz: int = 22050, channels: int = 2, seconds: float = 1.0, seed: int = 0) -> np.ndarray:
    """White: half of it and more is above what the model sees."""
    shape = (int(seconds * rate_hz), channels)
    return 0.1 * np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def song(path: Path, rate_hz: int = 22050, channels: int = 2, subtype: str | None = None, **kind) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, noise(rate_hz, channels, **kind), rate_hz, subtype)
    return path


def by_ffmpeg(path: Path, *options: str) -> Path:
    soundfile.write(path.with_suffix(".tmp.wav"), noise(48000), 48000)
    source = ["ffmpeg", "-v", "error", "-i", path.with_suffix(".tmp.wav")]
    subprocess.run([*source, *options, path], check=True)
    path.with_suffix(".tmp.wav").unlink()
    return path


def twenty(folder: Path) -> None:
    """18 files of as many kinds, one that is no audio, and one that breaks off."""
    folder.mkdir()
    song(folder / "float.wav", subtype="FLOAT")
    song(folder / "double.wav", 44100, subtype="DOUBLE")
    song(folder / "bytes.wav", subtype="PCM_U8")
    song(folder / "mono.wav", 8000, 1)
    song(folder / "six channels.wav", 48000, 6)
    song(folder / "low.wav", 4000)
    song(folder / "high.flac", 96000)
    song(folder / "odd.flac", 11113)
    song(folder / "song.ogg", 44100)
    song(folder / "song.mp3", 44100)
    song(folder / "song.aiff", 44100)
    song(folder / "song.w64", 32000)
    song(folder / "deeper" / "song.caf", 44100)
    song(folder / "deeper" / "short.wav", seconds=0.001)
    by_ffmpeg(folder / "song.m4a", "-c:a", "aac")
    by_ffmpeg(folder / "alac.m4a", "-c:a", "alac")
    by_ffmpeg(folder / "song.opus", "-c:a", "libopus")
    by_ffmpeg(folder / "song.wma", "-c:a", "wmav2")
    (folder / "words.wav").write_text("these are words, not samples")
    data = song(folder / "cut.flac", seconds=5).read_bytes()
    (folder / "cut.flac").write_bytes(data[: len(data) // 2])


def below_db(difference: np.ndarray, whole: np.ndarray) -> float:
    return 10 * np.log10(np.square(difference).sum() / np.square(whole).sum() + 1e-30)


@NEEDS_FFMPEG
def test_the_stems_of_twenty_mixed_files_sum_to_them(stemline, model, tmp_path) -> None:
    """To -100 dB, sample by sample, by the names of a template; two broken files stop nothing."""
    twenty(tmp_path / "in")
    (tmp_path / "in" / "._song.wav").write_bytes(b"\0" * 100)
    (tmp_path / "in" / "cover.jpg").write_bytes(b"\0" * 100)
    named = ("--template", "{stem}/{track} ({trackext}).{ext}")
    outcome = stemline("separate", "in", "-o", "out", "-m", model, "--json", *named)
    assert outcome.code == 4
    document = json.loads(outcome.out)
    assert {status: document[status] for status in ("done", "failed", "skipped")} == {
        "done": 18,
        "failed": 2,
        "skipped": 0,
    }
    failed = {each["input"]: each["reason"] for each in document["files"] if each["status"] == "failed"}
    assert sorted(failed) == ["in/cut.flac", "in/words.wav"]
    assert "breaks off" in failed["in/cut.flac"]
    assert "no readable audio" in failed["in/words.wav"]
    assert {each["path"]: each["reason"] for each in document["ignored"]} == {
        "in/._song.wav": "litter",
        "in/cover.jpg": "no audio by its name",
    }
    total = r"20 files in 0:0\d:\d\d: 18 done, 2 failed \((1 litter|1 no audio by its name|, )+ ignored\); stems in out"
    assert re.fullmatch(total, outcome.err.splitlines()[-1])
    done = [each for each in document["files"] if each["status"] == "done"]
    assert {each["version"] for each in done} == {7}
    written = set()
    for each in done:
        source = Path(each["input"])
        track = source.relative_to("in").with_suffix("")
        for stem, path in each["outputs"].items():
            assert path == f"out/{stem}/{track} ({source.suffix[1:]}).wav"
        stems, rates = zip(*(decoding.read(path) for path in each["outputs"].values()), strict=True)
        mixture, rate_hz = decoding.read(source)
        assert set(rates) == {rate_hz}
        assert below_db(sum(stems) - mixture, mixture) < -100, source
        if rate_hz > RATE_HZ and len(mixture) > 1000:  # the model did something, and the vocals hold no residual
            assert below_db(stems[1], mixture) < 0
        written |= set(each["outputs"].values())
    assert {str(path) for path in Path("out").rglob("*") if path.is_file()} == written


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ([], ["accompaniment", "vocals"]),
        (["--stems", "vocals"], ["vocals"]),
        (["--two-stems", "vocals"], ["no_vocals", "vocals"]),
        (["--two-stems", "accompaniment"], ["accompaniment", "no_accompaniment"]),
        (["--no-residual"], ["accompaniment", "vocals"]),
        (["--no-residual", "--two-stems", "vocals"], ["no_vocals", "vocals"]),
        (["--stream"], None),
    ],
)
def test_which_stems(stemline, model, tmp_path, flags, names) -> None:
    song(tmp_path / "song.wav")
    outcome = stemline("separate", "song.wav", "-o", "out", "-m", model, *flags)
    if names is None:
        assert (outcome.code, "cannot stream" in outcome.err) == (2, True)
        assert not Path("out").exists()
        return
    assert (outcome.code, outcome.err) == (0, f"looking at song.wav\nloading {model}\n")
    assert sorted(outcome.out.splitlines()) == [f"wrote out/song/{name}.wav" for name in names]
    stems = {path.stem: soundfile.read(path, dtype="float32")[0] for path in Path("out/song").iterdir()}
    assert sorted(stems) == names
    if len(names) == 2:
        mixture = soundfile.read("song.wav", dtype="float32")[0]
        left_db = below_db(sum(stems.values()) - mixture, mixture)
        assert left_db > -5 if "--no-residual" in flags else left_db < -100  # 64 % of the noise is above 4 kHz


def test_without_an_accompaniment_the_residual_is_a_stem(stemline, four_stems, tmp_path) -> None:
    song(tmp_path / "song.wav")
    assert stemline("separate", "song.wav", "-o", "out", "-m", four_stems).code == 0
    assert sorted(os.listdir("out/song")) == ["bass.wav", "drums.wav", "residual.wav", "vocals.wav"]
    mixture = soundfile.read("song.wav", dtype="float32")[0]
    total = sum(soundfile.read(path, dtype="float32")[0] for path in Path("out/song").iterdir())
    assert below_db(total - mixture, mixture) < -100
    assert stemline("separate", "song.wav", "-o", "two", "-m", four_stems, "--two-stems", "drums").code == 0
    assert sorted(os.listdir("two/song")) == ["drums.wav", "no_drums.wav"]


@NEEDS_FFMPEG
@pytest.mark.parametrize(
    ("flags", "subtype", "left_db"),
    [
        (["--format", "wav", "--bit-depth", "16"], "PCM_16", -68),
        (["--format", "wav", "--bit-depth", "24"], "PCM_24", -110),
        (["--format", "flac"], "PCM_24", -110),
        (["--format", "flac", "--bit-depth", "16"], "PCM_16", -68),
        (["--format", "mp3"], "MPEG_LAYER_III", -10),
        (["--format", "ogg"], "VORBIS", -10),
        (["--format", "m4a"], None, -10),
    ],
)
def test_every_format_is_aligned_with_the_mixture(stemline, model, tmp_path, flags, subtype, left_db) -> None:
    """A noise that is late by a sample is as far from itself as from another."""
    song(tmp_path / "song.wav", 44100)
    assert stemline("separate", "song.wav", "-o", "out", "-m", model, *flags).code == 0
    paths = sorted(Path("out/song").iterdir())
    assert [path.name for path in paths] == [f"{stem}.{flags[1]}" for stem in ("accompaniment", "vocals")]
    assert subtype is None or {soundfile.info(path).subtype for path in paths} == {subtype}
    mixture = soundfile.read("song.wav", dtype="float32")[0]
    stems = [decoding.read(path)[0] for path in paths]
    assert all(len(stem) == len(mixture) for stem in stems)
    total = sum(stems)
    low = np.hanning(9)[:, None] / 4  # an encoder leaves the highest tones out, and a delay none
    smooth = [np.apply_along_axis(np.convolve, 0, each, low[:, 0], "same") for each in (total, mixture)]
    assert below_db(smooth[0] - smooth[1], smooth[1]) < left_db


def test_what_is_beyond_full_scale_is_counted_and_the_loudness_kept(stemline, model, tmp_path) -> None:
    soundfile.write("loud.wav", 12 * noise(RATE_HZ), RATE_HZ, "FLOAT")
    beyond = stemline("separate", "loud.wav", "-m", model, "-o", "flac", "--format", "flac", "--json")
    [file] = json.loads(beyond.out)["files"]
    float_ = stemline("separate", "loud.wav", "-m", model, "-o", "float", "--json")
    assert json.loads(float_.out)["files"][0]["clipped"] == {}
    for stem in ("vocals", "accompaniment"):
        exact, clipped = (soundfile.read(path)[0] for path in (f"float/loud/{stem}.wav", f"flac/loud/{stem}.flac"))
        assert file["clipped"].get(stem, 0) == (np.abs(exact) > 1).sum()
        np.testing.assert_allclose(clipped, np.clip(exact, -1, 1), atol=2**-22)
    assert sum(file["clipped"].values()) > 0
    assert "are beyond full scale, and are clipped; wav of 32 bits holds them" in beyond.err


def test_existing_files_are_overwritten_or_skipped_when_that_is_said(stemline, model, tmp_path) -> None:
    song(tmp_path / "song.wav")
    Path("out/song").mkdir(parents=True)
    Path("out/song/vocals.wav").write_text("from before")
    flags = ("separate", "song.wav", "-o", "out", "-m", model)
    refused = stemline(*flags)
    assert refused.code == 2
    assert refused.err.splitlines()[-1] == (
        "stemline: out/song/vocals.wav is there; legal with --overwrite or --skip-existing"
    )
    assert os.listdir("out/song") == ["vocals.wav"]
    skipped = stemline(*flags, "--skip-existing")
    assert (skipped.code, skipped.out) == (0, "wrote out/song/accompaniment.wav\n")
    assert Path("out/song/vocals.wav").read_text() == "from before"
    again = stemline(*flags, "--skip-existing", "--json")
    assert json.loads(again.out)["files"][0]["status"] == "skipped"
    assert stemline(*flags, "--overwrite").code == 0
    assert soundfile.info("out/song/vocals.wav").frames == 22050
    assert stemline(*flags, "--overwrite", "--skip-existing").code == 2


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["vocals/vocals.wav", "-o", "."], ("vocals/vocals.wav would be written, and is the input",)),
        (["link.wav", "-o", ".", "--template", "vocals/{stem}.wav"], ("is the input link.wav",)),
        (["song.wav", "--stems", "vocal"], ("the model has no stem 'vocal'", "vocals")),
        (["song.wav", "--two-stems", "drums"], ("no stem 'drums'", "accompaniment, vocals")),
        (["song.wav", "--template", "{track}.wav"], ("accompaniment and vocals of song.wav would both become",)),
        (["song.wav", "-o", "-"], ("-o - writes one stem of one file, and not accompaniment, vocals",)),
    ],
)
def test_what_the_model_decides_is_refused_before_anything_is_separated(stemline, model, tmp_path, args, words) -> None:
    song(tmp_path / "song.wav")
    song(tmp_path / "vocals/vocals.wav")
    Path("link.wav").symlink_to("vocals/vocals.wav")
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    outcome = stemline("separate", "-m", model, *args)
    assert outcome.code == 2
    assert outcome.out == ""
    assert [word for word in words if word not in outcome.err.splitlines()[-1]] == [], outcome.err
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*")} == before


def pipe(*args: object, **kind) -> subprocess.CompletedProcess:
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([*CLI, *map(str, args)], capture_output=True, env=variables, **kind)


@NEEDS_FFMPEG
def test_standard_input_and_output(model, tmp_path) -> None:
    source = song(tmp_path / "song.ogg", 44100)
    piped = pipe("-", "-o", "-", "--stems", "vocals", "-m", model, input=source.read_bytes())
    assert (piped.returncode, piped.stderr.decode()) == (0, f"looking at standard input\nloading {model}\n")
    Path("piped.wav").write_bytes(piped.stdout)
    named = pipe("-", "-m", model, "--json", input=source.read_bytes())
    assert json.loads(named.stdout)["files"][0]["outputs"]["vocals"] == "separated/stdin/vocals.wav"
    assert soundfile.info("piped.wav").frames == 44100
    expected, vocals = (soundfile.read(path)[0] for path in ("separated/stdin/vocals.wav", "piped.wav"))
    np.testing.assert_array_equal(vocals, expected)
    bad = pipe("-", "-o", "-", "--stems", "vocals", "-m", model, input=b"words")
    assert (bad.returncode, bad.stdout) == (2, b"")
    assert b"stemline: standard input is no readable audio" in bad.stderr


def test_a_server_that_is_gone_ends_the_list(model, tmp_path, capsys) -> None:
    """After the file under which it went none is tried: each would wait for it anew."""
    from pipeline.cli import separate as command
    from serving import process
    from serving.client import Client
    from serving.client.files.encodings import Encoding
    from serving.client.selection import Selection

    songs = [song(tmp_path / f"{name}.wav", seconds=30) for name in "abcd"]
    request = command.Request(
        songs, tmp_path / "out", None, Encoding(), Selection(), False, False, stream=False, json=True
    )
    with ExitStack() as running:
        address = running.enter_context(process.running(model.parent))

        def stop() -> None:
            while not (tmp_path / "out" / "a" / "vocals.wav").exists():
                time.sleep(0.01)
            running.close()

        thread = threading.Thread(target=stop)
        thread.start()
        assert not command.run(request, lambda: Client(address, patience_seconds=1))
        thread.join()
    files = json.loads(capsys.readouterr().out)["files"]
    statuses = [each["status"] for each in files]
    failed = statuses.index("failed")
    assert failed > 0
    assert set(statuses[failed:]) == {"failed"}
    assert {each["reason"] for each in files[failed + 1 :]} == {files[failed]["reason"]}
    assert all(each["seconds"] < 0.1 for each in files[failed + 1 :])
    assert len(os.listdir(tmp_path / "out")) == failed


def test_names_of_every_kind(stemline, model, tmp_path) -> None:
    names = ["new\nline", "-dash", "per%cent %d {stem} {0}", "quo'te\"", "[b*?]", " x ", "a.b.c", "dots.", "y" * 251]
    for name in [*names, os.fsdecode(b"latin\xe9")]:
        (tmp_path / f"{name}.wav").write_bytes(song(tmp_path / "in" / "x.wav", RATE_HZ, 1, seconds=0.1).read_bytes())
    outcome = stemline("separate", *tmp_path.glob("*.wav"), "-m", model, "-o", "out", "--json")
    assert (outcome.code, len(outcome.err.splitlines())) == (0, 3)
    files = json.loads(outcome.out)["files"]
    assert sorted(os.fsencode(path) for path in os.listdir("out")) == sorted([*map(os.fsencode, names), b"latin\xe9"])
    assert all(soundfile.info(os.fsencode(path)).frames == 800 for each in files for path in each["outputs"].values())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_what_is_stopped_leaves_no_half_file(model, tmp_path, number) -> None:
    for name in "abc":
        soundfile.write(f"{name}.flac", noise(44100, seconds=60), 44100)
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs ignore it
    command = [*CLI, "a.flac", "b.flac", "c.flac", "-m", model]
    process = subprocess.Popen(command, env=variables, preexec_fn=heard, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(Path().glob("separated/b/.*.part")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    said = process.communicate(timeout=60)[1].splitlines()[-1]
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    if number != signal.SIGKILL:
        others = f"stemline separate --skip-existing a.flac b.flac c.flac -m {model}"
        assert said == f"stopped: what was written to separated is whole, and this makes the others: {others}"
    assert sorted(path.name for path in Path("separated").glob("*/[!.]*")) == ["accompaniment.wav", "vocals.wav"]
    assert {soundfile.info(path).frames for path in Path("separated/a").iterdir()} == {60 * 44100}
    if number != signal.SIGKILL:
        assert os.listdir("separated") == ["a"]
