"""A corpus with every kind of broken, hostile and unusual file and track among a hundred good ones: each good one arrives, each
bad one is listed with its reason, in one run, and whenever it is killed and started again."""

from __future__ import annotations

import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hostile_files import KINDS, RATE_HZ, Kind, sound

from pipeline.config.config import DataConfig
from pipeline.data import catalogue, ingest, landmarks, leaks, tfrecords
from pipeline.data.corpus import REPORT, discover
from pipeline.data.datasets.track import SPLITS
from serving.client.decoding.names import AUDIO

GOOD_TRACKS = 100
TARGETS = ("vocals", "accompaniment")
RATE, SECONDS = 16000, 2.0


def voice(seed: int, seconds: float = SECONDS) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE))


def write_track(directory: Path, seed: int = 1, mixed: bool = True, **changed: np.ndarray) -> None:
    """Vocals, drums and their mixture, as WAV; what is given instead is written as float."""
    directory.mkdir(parents=True)
    stems = {"vocals": voice(2 * seed), "drums": voice(2 * seed + 1)}
    signals = {**stems, **({"mixture": stems["vocals"] + stems["drums"]} if mixed else {})}
    for name, samples in signals.items():
        soundfile.write(directory / f"{name}.wav", samples, RATE)
    for name, samples in changed.items():
        soundfile.write(directory / f"{name}.wav", samples, RATE, subtype="FLOAT")


def linked(directory: Path) -> None:
    write_track(directory)
    (directory / "vocals.wav").unlink()
    (directory / "vocals.wav").symlink_to("nowhere.wav")


def at_another_rate(directory: Path) -> None:
    write_track(directory)
    soundfile.write(directory / "drums.wav", voice(3), 2 * RATE)


def without_a_voice(directory: Path) -> None:
    write_track(directory)
    (directory / "vocals.wav").unlink()


def with_two_voices(directory: Path) -> None:
    write_track(directory)
    soundfile.write(directory / "vocals.flac", voice(2), RATE)


def of_bad_metadata(directory: Path) -> None:
    write_track(directory)
    (directory / "metadata.json").write_text("{")


def with_nan(signal: np.ndarray) -> np.ndarray:
    return np.where(np.arange(len(signal)) == 7, np.nan, signal)


VOCALS, DRUMS = voice(2), voice(3)
BAD_TRACKS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "link to nothing": ("vocals.wav is a link to nothing", linked),
    "two rates": ("its files differ in sample rate", at_another_rate),
    "no voice": ("it has no stem for vocals", without_a_voice),
    "two voices": ("it has more than one file for vocals", with_two_voices),
    "bad metadata": ("metadata.json is no JSON", of_bad_metadata),
    "short": (
        "less than the 0.1 s",
        lambda at: write_track(at, vocals=VOCALS[:9], drums=DRUMS[:9], mixture=VOCALS[:9]),
    ),
    "uneven": ("vocals has 31993 samples but the mixture has 32000", lambda at: write_track(at, vocals=VOCALS[:-7])),
    "nan": ("vocals has 1 value that is NaN", lambda at: write_track(at, vocals=with_nan(VOCALS))),
    "infinite": ("drums has 32000 values that are NaN", lambda at: write_track(at, drums=DRUMS + np.inf)),
    "silent": ("its mixture is silent", lambda at: write_track(at, mixture=0 * VOCALS)),
    "clipped": ("vocals is clipped: ", lambda at: write_track(at, False, vocals=np.clip(VOCALS, -0.1, 0.1))),
    "inverted": ("they would with vocals inverted", lambda at: write_track(at, vocals=-VOCALS)),
    "late": ("they would with drums 529 samples earlier", lambda at: write_track(at, drums=np.roll(DRUMS, 529))),
    "late mixture": ("they would 700 samples later", lambda at: write_track(at, mixture=np.roll(VOCALS + DRUMS, 700))),
    "too loud": ("they would at -12.0 dB", lambda at: write_track(at, vocals=4 * VOCALS, drums=4 * DRUMS)),
    "another song": ("its stems do not sum to the mixture", lambda at: write_track(at, mixture=voice(99))),
    "a passage": (
        "its stems do not sum to the mixture from 0:01 on",
        lambda at: write_track(at, mixture=np.where(np.arange(2 * RATE) >= RATE, 1.58 * voice(98), 0) + VOCALS + DRUMS),
    ),
    "unscaled": ("over full scale", lambda at: write_track(at, False, vocals=3276.8 * VOCALS, drums=3276.8 * DRUMS)),
}


def corpus(root: Path) -> dict[str, str]:
    """Bad tracks -> what their reasons say, of a corpus that is put below `root`."""
    for index in range(GOOD_TRACKS):
        split = "test" if index % 10 == 1 else "dev" if index % 10 == 2 else "train"
        write_track(root / split / f"good {index:03d}", seed=index + 50)
    for name, (_, make) in BAD_TRACKS.items():
        make(root / "train" / f"bad {name}")
    for kind in KINDS:
        _of_kind(root / "train" / f"file {kind.id}", kind)
    for litter in ("._vocals.wav", ".DS_Store", "Thumbs.db"):
        (root / "train" / "good 000" / litter).write_bytes(b"litter")
    (root / "train" / "good 000" / "back").symlink_to("..")
    unknown = "it has no stem for vocals"  # of a file whose suffix is of no audio that a corpus is made of
    reasons = {
        f"file {kind.id}": kind.reason.strip("^$") if kind.suffix in AUDIO else unknown for kind in KINDS if kind.reason
    }
    reasons["file directory"] = "its directory holds no audio file"  # but two directories that are named like it
    return reasons | {f"bad {name}": words for name, (words, _) in BAD_TRACKS.items()}


def _of_kind(directory: Path, kind: Kind) -> None:
    """Both stems, so that they are of one rate and length; beside a name that is of no audio, a sound one."""
    directory.mkdir(parents=True)
    kind.make(directory, "vocals")
    if kind.suffix in AUDIO:
        kind.make(directory, "drums")
    else:
        soundfile.write(directory / "drums.wav", sound(), RATE_HZ)


def section(root: Path) -> DataConfig:
    return DataConfig(
        format="folder", path=str(root), targets=TARGETS, segment_seconds=1.0, max_bad_tracks=999, most_seconds=600
    )


def check(entries: list[dict], artifact: Path, reasons: dict[str, str]) -> None:
    good = {f"good {index:03d}" for index in range(GOOD_TRACKS)} | {f"file {k.id}" for k in KINDS if not k.reason}
    assert {entry["track"] for entry in entries if "reason" not in entry} == good
    bad = {entry["track"]: entry["reason"] for entry in entries if "reason" in entry}
    assert bad.keys() == reasons.keys()
    others = {n: bad[n] for n, words in reasons.items() if words not in bad[n] and not re.search(words, bad[n])}
    assert others == {}
    assert all("\n" not in reason and str(artifact.parent) not in reason for reason in bad.values())
    read = [track.name for split in SPLITS for track in tfrecords.read_tracks(artifact / f"Split-{split}", TARGETS)]
    assert sorted(read) == sorted(good)
    assert sorted(track.name for track in catalogue.read(str(artifact))) == sorted(good)


@pytest.mark.slow
def test_every_good_track_arrives_and_every_bad_one_is_listed(tmp_path):
    assert len(KINDS) + len(BAD_TRACKS) >= 60
    reasons = corpus(tmp_path / "stems")
    data, out, told = section(tmp_path / "stems"), tmp_path / "out", []
    for split in SPLITS:
        (out / f"Split-{split}").mkdir(parents=True)
    shards = ingest.plan(discover(data))
    entries = [entry for shard in shards for entry in ingest.write_shard(shard, data, str(out), tell=told.append)]
    ingest.write_catalogue(entries, str(out))
    check(entries, out, reasons)
    assert told[0].startswith("bad track bad ")
    assert {path.name for path in out.iterdir()} - {f"Split-{split}" for split in SPLITS} == {
        catalogue.FILE, landmarks.DIRECTORY, leaks.FILE,
    }  # fmt: skip
    kinds = ingest.report(data, entries)["counts"]["bad_tracks"]
    assert sum(kinds.values()) == len(reasons)
    assert kinds["delayed"] == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seconds", "number"),
    [(0.0, signal.SIGKILL), (2.0, signal.SIGKILL), (6.0, signal.SIGKILL), (4.0, signal.SIGINT)],
    ids=["at-the-first-shard", "soon", "late", "by-ctrl-c"],
)
def test_a_run_that_is_killed_leaves_nothing_that_the_next_one_meets(tmp_path, seconds, number):
    """Stopped by Ctrl-C, it says how to go on."""
    reasons = corpus(tmp_path / "stems")
    settings = ["data.max_bad_tracks=999", "data.most_seconds=600", "data.segment_seconds=1"]
    command = [sys.executable, "-m", "pipeline.cli.main", "ingest", "--recipe", "demo", "--format", "folder"]
    command += ["--data", str(tmp_path / "stems"), "--workdir", str(tmp_path / "work")]
    command += [part for setting in (*settings, "data.options={}") for part in ("--set", setting)]
    heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs ignore it
    with (tmp_path / "said").open("w") as said:
        running = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True, preexec_fn=heard
        )
    shards = (tmp_path / "work").rglob("data_tfrecord-*")
    while running.poll() is None and next(iter(shards), None) is None:
        time.sleep(0.05)
        shards = (tmp_path / "work").rglob("data_tfrecord-*")
    time.sleep(seconds)
    os.killpg(running.pid, number)
    assert running.wait() == (130 if number == signal.SIGINT else -number)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    if number == signal.SIGINT:
        [last] = (tmp_path / "said").read_text().splitlines()[-1:]
        assert last.startswith(
            f"stopped: finished steps are kept in {tmp_path / 'work'}, and this goes on after them: stemline ingest "
        )
        assert "ImportSchemaGen: unchanged, from the cache" in done.stderr
    else:
        assert (
            "StemsExampleGen of an earlier run was stopped before its end: what it had begun is removed" in done.stderr
        )
    [artifact] = [path.parent for path in (tmp_path / "work").rglob(catalogue.FILE)]
    found = json.loads((artifact / REPORT).read_text())
    check([*found["tracks"], *found["bad_tracks"]], artifact, reasons)
    assert not list((tmp_path / "work").rglob("*.partial"))
