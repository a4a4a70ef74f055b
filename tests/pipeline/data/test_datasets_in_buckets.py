"""Corpora in a bucket of moto's S3 server: the same tracks as on this machine, and what goes wrong on the way to them."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.config.config import DataConfig
from pipeline.data import datasets, ingest, spans
from pipeline.data.corpus import discover
from pipeline.data.datasets import files
from pipeline.data.datasets.layouts import folder, mir1k, musdb18
from pipeline.data.datasets.loading import load
from pipeline.data.datasets.track import SPLITS, BadTrackError, Track, TrackRef

ROOT = Path(__file__).resolve().parents[3]
STEMLINE = str(Path(sys.executable).with_name("stemline"))
HOSTILE = (
    "a b",
    "#1 hit",
    "100 %",
    "what?",
    "Ärger über 日本",
    "one+one",
    "a&b=c",
    "%2F",
    "'quoted\"",
    "[x]*",
    "~",
    "\\back",
)


def tone(seed: int, samples: int = 4000, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.3, 0.3, (samples, channels)).astype(np.float32)


def song(directory: Path, seed: int = 0, metadata: str | None = None) -> Path:
    directory.mkdir(parents=True)
    for index, stem in enumerate(("vocals", "drums")):
        soundfile.write(directory / f"{stem}.wav", tone(2 * seed + index), 16000)
    if metadata:
        (directory / "metadata.json").write_text(metadata)
    return directory


def corpus(root: Path) -> Path:
    for number, split in enumerate(SPLITS):
        for index in range(2):
            song(root / split / f"{split} {index}", 10 * number + index, '{"singer": "Änne"}' if index else None)
    return root


def section(path: str, **given) -> DataConfig:
    return DataConfig(format="folder", path=path, segment_seconds=0.1, **given)


def found(reader, path: str, options: dict | None = None) -> list[tuple]:
    """What a reader makes of a place, the place itself apart: of every track its ref and its audio."""
    refs = reader.discover(path, {**reader.OPTIONS, **(options or {})})
    return [(_elsewhere(ref, path), _told(reader, ref)) for ref in refs]


def _elsewhere(ref: TrackRef, path: str) -> TrackRef:
    return ref.at({name: name.replace(path, "") for name in ref.files})


def _told(reader, ref: TrackRef) -> tuple | str:
    try:
        with files.at_hand(ref) as near:
            track: Track = load(near)
    except ValueError as error:
        return str(error).replace(str(Path(ref.files[0]).parent), "") if ref.files else str(error)
    digest = hashlib.sha256(b"".join([track.mixture.tobytes(), *(stem.tobytes() for stem in track.stems.values())]))
    return track.sample_rate_hz, tuple(track.stems), dict(track.metadata), digest.hexdigest()


# --- the same as on this machine -------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "some/where/stems"])
def test_a_folder_in_a_bucket_or_in_all_of_it_is_what_it_is_here(bucket, tmp_path: Path, prefix: str) -> None:
    stems = corpus(tmp_path / "stems")
    (stems / "notes.txt").write_text("a file beside the split folders")
    (stems / "train" / "train 0" / "bass.wav").write_text("no audio")
    (stems / "train" / "train 1" / "bass.m4a").write_bytes(b"not read")
    (stems / "dev" / "dev 0" / "vocals.wav").write_bytes(b"")
    (stems / "dev" / "dev 1" / "metadata.json").write_text("[]")
    here = found(folder, str(stems))
    assert found(folder, bucket.upload(stems, prefix)) == here
    reasons = [told for _, told in here if isinstance(told, str)]
    assert [reason.split()[:3] for reason in reasons] == [
        ["bass.wav", "is", "no"],
        ["bass.m4a", "is", "no"],
        ["vocals.wav", "is", "empty"],
        ["metadata.json", "is", "no"],
    ]


def test_splits_by_hash_and_names_that_a_url_would_change(bucket, tmp_path: Path) -> None:
    for seed, name in enumerate(HOSTILE):
        song(tmp_path / "stems" / name, seed)
    here = found(folder, str(tmp_path / "stems"))
    assert {ref.name for ref, _ in here} == set(HOSTILE)
    assert found(folder, bucket.upload(tmp_path / "stems", "a b/c#d+e%20f?g=h")) == here


def test_a_directory_that_is_empty_or_has_the_name_of_a_file(bucket, tmp_path: Path) -> None:
    """Consoles make a directory as an object of 0 bytes whose key ends in a slash."""
    stems = corpus(tmp_path / "stems")
    (stems / "train" / "hollow").mkdir()
    (stems / "train" / "a song.wav").mkdir()
    song(stems / "train" / "another.wav" / "deeper").rename(stems / "train" / "another.wav" / "other")
    here = found(folder, str(stems))
    path = bucket.upload(stems, "stems")
    for name in ("", "train/", "train/hollow/", "train/a song.wav/", "train/train 0/"):
        bucket.client.put_object(Bucket=bucket.name, Key=f"stems/{name}", Body=b"")
    assert found(folder, path) == here
    assert [told for ref, told in here if ref.name in ("hollow", "a song.wav", "another.wav")] == [
        "its directory holds no audio file"
    ] * 3


@pytest.mark.parametrize("listed", [False, True])
def test_mir1k(bucket, tmp_path: Path, listed: bool) -> None:
    (tmp_path / "Wavfile").mkdir()
    for name in ("abjones_1_01", "amy_9_08", "bug_1_01"):
        soundfile.write(tmp_path / "Wavfile" / f"{name}.wav", tone(1, channels=2), 16000)
    soundfile.write(tmp_path / "Wavfile" / "bug_1_02.wav", tone(1), 16000)
    if listed:
        (tmp_path / "splits").mkdir()
        (tmp_path / "splits" / "train.txt").write_text("abjones_1_01\namy_9_08\n")
        (tmp_path / "splits" / "test.txt").write_text("bug_1_01\nbug_1_02\n")
    here = found(mir1k, str(tmp_path))
    path = bucket.upload(tmp_path, "MIR-1K")
    assert found(mir1k, path) == here
    if listed:
        bucket.client.delete_object(Bucket=bucket.name, Key="MIR-1K/Wavfile/amy_9_08.wav")
        [bad] = [ref for ref in mir1k.discover(path, {}) if ref.reason]
        assert (bad.name, bad.reason) == ("amy_9_08", f"it is listed in {path}/splits, but has no file in Wavfile")
    with pytest.raises(ValueError, match=rf"{path}/Wavfile is not MIR-1K: .* {path}/Wavfile/Wavfile/\*\.wav"):
        mir1k.discover(f"{path}/Wavfile", {})


def test_musdb18(bucket, tmp_path: Path, musdb18: Path) -> None:
    from pipeline.data.datasets.layouts import musdb18 as reader

    here = found(reader, str(musdb18))
    assert all(told[1] == ("bass", "drums", "other", "vocals") for _, told in here)
    assert found(reader, bucket.upload(musdb18, "")) == here


def test_a_file_that_ffmpeg_cannot_read_is_named_as_it_is_in_the_bucket(bucket, tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "A - B.stem.mp4").write_bytes(b"not an mp4")
    path = bucket.upload(tmp_path, "musdb")
    [ref] = musdb18.discover(path, {})
    with pytest.raises(BadTrackError) as caught, files.at_hand(ref) as near:
        load(near)
    assert "A - B.stem.mp4 is no readable audio" in str(caught.value)
    assert tempfile.gettempdir() not in str(caught.value)


# --- gs:// -----------------------------------------------------------------------------------------------------------

# TensorFlow 2.16's own file system of gs:// can be sent nowhere but to Google (tsl/platform/cloud/gcs_file_system.cc). That of
# tensorflow-io-gcs-filesystem, of the same interface, goes where CLOUD_STORAGE_EMULATOR_ENDPOINT says, and falls over numbers
# that are not set.
OTHER_FILE_SYSTEM = {
    "TF_USE_MODULAR_FILESYSTEM": "1",
    "GCS_READ_CACHE_BLOCK_SIZE_MB": "1",
    "GCS_READ_CACHE_MAX_SIZE_MB": "0",
    "GCS_READ_CACHE_MAX_STALENESS": "0",
    "GCS_STAT_CACHE_MAX_AGE": "0",
    "GCS_STAT_CACHE_MAX_ENTRIES": "0",
}
READS = """
import hashlib, json, sys
from models import storage
from pipeline.config.config import DataConfig
from pipeline.data import corpus
from pipeline.data.datasets import files
from pipeline.data.datasets.loading import load
read = []
for ref in corpus.discover(DataConfig(format="folder", path="gs://stems/my stems/week-{SPAN}")):
    with files.at_hand(ref) as near:
        track = load(near)
    read.append([ref.name, ref.split, dict(track.metadata), hashlib.sha256(track.mixture.tobytes()).hexdigest()])
sizes = {str(file): state.size for file, state in storage.walk("gs://stems/my stems")}
try:
    said = corpus.discover(DataConfig(format="folder", path="gs://absent/stems"))
except OSError as error:
    said = str(error)
print(json.dumps([read, sizes, said]))
"""


@pytest.fixture
def google(free_ports, tmp_path: Path) -> Iterator[str]:
    """The address of an emulator of Google's store with the bucket `stems`, a process of its own."""
    [port] = free_ports(1)
    command = [sys.executable, "-m", "gcp_storage_emulator", "start", "--host=127.0.0.1", f"--port={port}"]
    command += ["--in-memory", "--default-bucket=stems"]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            for _ in range(300):
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def test_a_span_in_googles_store(google: str, tmp_path: Path) -> None:
    stems = corpus(tmp_path / "week-3")
    song(stems / "train" / "Ärger + 100 %", 77)
    uploaded = [path for path in stems.rglob("*") if path.is_file()]
    for file in uploaded:
        name = urllib.parse.quote(f"my stems/{file.relative_to(tmp_path)}", safe="")
        url = f"{google}/upload/storage/v1/b/stems/o?uploadType=media&name={name}"
        request = urllib.request.Request(url, file.read_bytes(), {"Content-Type": "audio/wav"})
        urllib.request.urlopen(request).close()
    environment = {**os.environ, **OTHER_FILE_SYSTEM, "CLOUD_STORAGE_EMULATOR_ENDPOINT": google}
    done = subprocess.run([sys.executable, "-c", READS], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    read, sizes, said = json.loads(done.stdout)
    tracks = [load(ref) for ref in folder.discover(str(stems), folder.OPTIONS)]
    assert read == [
        [track.name, track.split, {**track.metadata, "span": "3"}, hashlib.sha256(track.mixture.tobytes()).hexdigest()]
        for track in tracks
    ]
    assert sizes == {f"gs://stems/my stems/{file.relative_to(tmp_path)}": len(file.read_bytes()) for file in uploaded}
    assert said.startswith("gs://absent/stems cannot be used: ")


# --- copies ----------------------------------------------------------------------------------------------------------


def test_copies_are_there_while_a_track_is_read_and_gone_afterwards(bucket, tmp_path: Path, monkeypatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    path = bucket.upload(song(tmp_path / "stems" / "one", metadata='{"a": "b"}').parent, "stems")
    [ref] = folder.discover(path, folder.OPTIONS)
    with files.at_hand(ref) as near:
        assert [Path(name).name for name in near.files] == ["drums.wav", "vocals.wav"]
        assert all(Path(name).is_relative_to(scratch) for name in near.files)
        assert Path(near.files[0]).read_bytes() == (tmp_path / "stems" / "one" / "drums.wav").read_bytes()
        age = time.time() - Path(near.files[0]).stat().st_mtime
        assert -2 < age < 600  # the time of the object
    assert list(scratch.iterdir()) == []
    with pytest.raises(BadTrackError, match=rf"^\[Errno 2\] .* '{path}/one/gone\.wav'$"), files.at_hand(ref) as near:
        Path(near.files[0]).with_name("gone.wav").read_bytes()
    with pytest.raises(ZeroDivisionError), files.at_hand(ref):
        raise ZeroDivisionError
    assert list(scratch.iterdir()) == []


def test_a_machine_without_a_place_for_copies_is_told_and_no_track_is_to_blame(
    bucket, tmp_path: Path, monkeypatch
) -> None:
    path = bucket.upload(corpus(tmp_path / "stems"), "stems")
    data = section(path)
    shard = ingest.plan(discover(data))[0]
    (tmp_path / "Split-train").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    with pytest.raises(files.ScratchError, match=r"to .*/absent: No such file or directory; TMPDIR chooses another"):
        ingest.write_shard(shard, data, str(tmp_path))


def test_an_object_that_is_gone_before_it_is_read_is_a_bad_track(bucket, tmp_path: Path) -> None:
    path = bucket.upload(corpus(tmp_path / "stems"), "stems")
    data = section(path, max_bad_tracks=1)
    shards = ingest.plan(discover(data))
    bucket.client.delete_object(Bucket=bucket.name, Key="stems/train/train 1/drums.wav")
    (tmp_path / "Split-train").mkdir()
    entries = [entry for shard in shards[:2] for entry in ingest.write_shard(shard, data, str(tmp_path))]
    assert [entry.get("reason") for entry in entries] == [None, f"{path}/train/train 1/drums.wav is not there"]


# --- spans -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "my stems [1]"])
def test_spans_versions_and_markers(bucket, tmp_path: Path, prefix: str) -> None:
    for week, version in ((1, 1), (2, 1), (2, 2), (10, 1)):
        song(tmp_path / f"week-{week}" / f"v{version}" / "train" / f"song of {week}.{version}")
    (tmp_path / "week-11").write_text("a file")
    (tmp_path / "week-x" / "v1").mkdir(parents=True)
    (tmp_path / "week-x" / "v1" / "file").touch()
    path = bucket.upload(tmp_path, prefix) + "/week-{SPAN}/v{VERSION}"
    newest = spans.of(section(path, spans=2))
    assert [(span.number, span.version) for span in newest] == [(2, 2), (10, 1)]
    assert newest[1].path == path.format(SPAN=10, VERSION=1)
    assert [span.number for span in spans.of(section(path), last=2)] == [2]
    with pytest.raises(ValueError, match=r"leads to no directory up to span 0\."):
        spans.of(section(path), last=0)
    below = spans.of(section(f"{path}/train", spans=2))
    assert [span.path for span in below] == [f"{span.path}/train" for span in newest]
    marked = section(path, spans=2, options={"success_marker": "_SUCCESS"})
    with pytest.raises(ValueError, match=r"Span 2 in s3://.*/week-2/v2 has no file _SUCCESS"):
        spans.of(marked)
    for span in newest:
        key = f"{span.path}/_SUCCESS".removeprefix(f"{bucket.url}/")
        bucket.client.put_object(Bucket=bucket.name, Key=key, Body=b"")
    assert spans.of(marked) == newest


def test_dates(bucket, tmp_path: Path) -> None:
    song(tmp_path / "2026" / "11-28" / "one")
    [span] = spans.of(section(bucket.upload(tmp_path, "x") + "/{YYYY}/{MM}-{DD}"))
    assert (span.path, span.number) == (f"{bucket.url}/x/2026/11-28", 20785)


def test_a_bucket_cannot_be_a_span(bucket) -> None:
    with pytest.raises(ValueError, match=r"s3://week-\{SPAN\}/stems has a placeholder in the name of its bucket"):
        spans.of(section("s3://week-{SPAN}/stems"))


# --- what cannot be read ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["folder", "mir1k", "musdb18"])
def test_a_bucket_or_directory_that_is_not_there(bucket, format: str) -> None:
    reader = datasets.reader(format)
    bucket.client.put_object(Bucket=bucket.name, Key="stems-2/file", Body=b"")
    with pytest.raises(ValueError, match=rf"^{bucket.url}/stems is not "):
        reader.discover(f"{bucket.url}/stems", reader.OPTIONS)
    with pytest.raises(OSError, match=rf"^{bucket.url}-not/stems.* cannot be used at http.*: NoSuchBucket"):
        reader.discover(f"{bucket.url}-not/stems", reader.OPTIONS)


@contextmanager
def answering(code: int) -> Iterator[str]:
    """A server that has one answer to everything, as S3 words it."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
            self.send_response(code)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body if self.command == "GET" else b"")

        do_HEAD = do_GET

        def log_message(self, *_) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


def test_a_server_that_refuses_and_one_that_is_not_there_are_one_sentence_each(
    bucket, tmp_path: Path, free_ports: Callable[[int], list[int]], monkeypatch
) -> None:
    """By processes of their own, for TensorFlow keeps the first endpoint that it meets."""
    command = [STEMLINE, "ingest", "--format", "folder", "--data", f"{bucket.url}/stems"]
    nobody = f"http://127.0.0.1:{free_ports(1)[0]}"
    with answering(403) as refusing:
        running = []
        for endpoint in (refusing, nobody):
            monkeypatch.setenv("S3_ENDPOINT", endpoint)
            running.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path))
        begun = time.monotonic()
        ends = [(process.communicate()[1], process.returncode) for process in running]
    assert time.monotonic() - begun < 60
    assert ends[0] == (
        f"looking at {bucket.url}/stems\nstemline: {bucket.url}/stems cannot be used at {refusing}: AccessDenied: Access Denied\n",
        2,
    )
    assert ends[1] == (
        f"looking at {bucket.url}/stems\nstemline: {bucket.url}/stems cannot be used at {nobody}: Connection refused\n",
        2,
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("s3://", "s3:// is no place in a bucket: legal is s3://BUCKET/NAME/…"),
        ("s3://b//stems", "no part of it empty"),
        ("gs://b/../stems", "gs://b/../stems is no place in a bucket"),
        (
            "S3://b/stems",
            "S3://b/stems cannot be used: legal are paths of this machine, s3://BUCKET/… and gs://BUCKET/…",
        ),
        ("https://b/stems", "https://b/stems cannot be used"),
    ],
)
@pytest.mark.parametrize("flag", [True, False])
def test_places_that_are_none_are_refused(stemline, path: str, words: str, flag: bool, tmp_path: Path) -> None:
    data = ("--data", path) if flag else ("--set", f"data.path={path}")
    outcome = stemline("ingest", "--format", "folder", *data)
    assert outcome.code == 2
    assert outcome.err.count("\n") == 2
    assert outcome.err.splitlines()[-1].startswith("stemline: ")
    assert words in outcome.err.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_no_path_leads_to_is_refused(bucket, tmp_path: Path) -> None:
    path = bucket.upload(corpus(tmp_path / "stems"), "stems")
    bucket.client.put_object(Bucket=bucket.name, Key="stems/train/../vocals.wav", Body=b"")
    with pytest.raises(OSError, match=rf"{path}/train has an object with a part '\.\.' in its name"):
        folder.discover(path, folder.OPTIONS)
