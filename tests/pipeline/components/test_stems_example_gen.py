"""Ingest: first without TFX (shards, reports, bad tracks), then the component as LocalDagRunner runs it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.config.config import DataConfig, load, to_json
from pipeline.data import catalogue, ingest, landmarks, leaks, spans, tfrecords
from pipeline.data.corpus import REPORT, BadTracksError, discover, published, refuse_bad_tracks
from pipeline.data.datasets.track import SPLITS

TARGETS = ("vocals", "accompaniment")


def section(**given) -> DataConfig:
    return DataConfig(targets=TARGETS, segment_seconds=0.25, **given)


def noise(seed: int, seconds: float = 0.6, rate_hz: int = 16000) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.3, 0.3, round(seconds * rate_hz))


def write_song(directory: Path, seed: int = 0, rate_hz: int = 16000) -> Path:
    directory.mkdir(parents=True)
    for index, stem in enumerate(("vocals", "drums", "bass")):
        soundfile.write(directory / f"{stem}.wav", noise(10 * seed + index, rate_hz=rate_hz), rate_hz)
    return directory


def corpus(root: Path, per_split: int = 2) -> Path:
    for number, split in enumerate(SPLITS):
        for index in range(per_split):
            write_song(root / split / f"{split} {index}", seed=10 * number + index)
    return root


def spoil(root: Path) -> dict[str, str]:
    """One bad track of each kind, in `train`; name -> what its reason must say."""
    train = root / "train"
    (write_song(train / "text") / "bass.wav").write_text("no audio at all")
    (write_song(train / "zero bytes") / "bass.wav").write_bytes(b"")
    for name, signal in {"no samples": noise(0)[:0], "two samples": noise(0)[:2]}.items():
        for stem in ("vocals", "drums", "bass"):
            (train / name).mkdir(exist_ok=True)
            soundfile.write(train / name / f"{stem}.wav", signal, 16000)
    soundfile.write(write_song(train / "uneven") / "bass.wav", noise(0)[:-7], 16000)
    soundfile.write(write_song(train / "two rates") / "bass.wav", noise(0), 22050)
    with_nan = noise(0)
    with_nan[5] = np.nan
    soundfile.write(write_song(train / "nan") / "bass.wav", with_nan, 16000, subtype="FLOAT")
    (write_song(train / "no voice") / "vocals.wav").unlink()
    return {
        "text": "bass.wav is no readable audio",
        "zero bytes": "bass.wav is empty (0 bytes)",
        "no samples": "it has 0 samples",
        "two samples": "it has 2 samples, less than the 0.1 s",
        "uneven": "its stems differ in length",
        "two rates": "its files differ in sample rate",
        "nan": "value that is NaN",
        "no voice": "it has no stem for vocals",
    }


def ingested(data: DataConfig, directory: Path) -> dict:
    for split in SPLITS:
        (directory / f"Split-{split}").mkdir(parents=True)
    outcomes = [ingest.write_shard(shard, data, str(directory)) for shard in ingest.plan(discover(data))]
    entries = [entry for outcome in outcomes for entry in outcome]
    ingest.write_catalogue(entries, str(directory))
    return ingest.report(data, entries)


def digests(artifact: Path) -> dict[str, str]:
    files = sorted(path for path in artifact.rglob("*") if path.is_file())
    return {str(path.relative_to(artifact)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def names(artifact: Path) -> dict[str, list[str]]:
    return {split: [t.name for t in tfrecords.read_tracks(artifact / f"Split-{split}", TARGETS)] for split in SPLITS}


# --- without TFX -----------------------------------------------------------------------------------------------------


def test_bad_tracks_are_listed_and_nothing_else_is_lost(tmp_path):
    reasons = spoil(corpus(tmp_path / "stems"))
    data = section(format="folder", path=str(tmp_path / "stems"), max_bad_tracks=8)
    result = ingested(data, tmp_path / "out")
    found = {entry["track"]: entry["reason"] for entry in result["bad_tracks"]}
    assert found.keys() == reasons.keys()
    for name, words in reasons.items():
        assert words in found[name]
    refuse_bad_tracks(data, result, "report.json")
    assert names(tmp_path / "out") == {split: [f"{split} 0", f"{split} 1"] for split in SPLITS}
    good = ingested(section(format="folder", path=str(corpus(tmp_path / "good"))), tmp_path / "expected")
    assert result["tracks"] == good["tracks"]
    for ours, expected in zip(*(_signals(tmp_path / name) for name in ("out", "expected")), strict=True):
        assert np.array_equal(ours, expected)


def _signals(artifact: Path) -> list[np.ndarray]:
    return [t.mixture for split in SPLITS for t in tfrecords.read_tracks(artifact / f"Split-{split}", TARGETS)]


def test_one_bad_track_too_many_fails_in_one_sentence(tmp_path):
    spoil(corpus(tmp_path / "stems"))
    data = section(format="folder", path=str(tmp_path / "stems"), max_bad_tracks=7)
    result = ingested(data, tmp_path / "out")
    with pytest.raises(BadTracksError) as caught:
        refuse_bad_tracks(data, result, "some/report.json")
    message = str(caught.value)
    assert message.startswith("8 of 14 tracks cannot be used, but data.max_bad_tracks allows 7 (nan: ")
    assert message.endswith("; and 5 more); all are listed in some/report.json.")
    assert "\n" not in message


def test_an_empty_split_must_be_intended(tmp_path):
    shutil.rmtree(corpus(tmp_path / "stems") / "dev")
    data = section(format="folder", path=str(tmp_path / "stems"))
    with pytest.raises(BadTracksError, match=r"dev split of .* has no track; .* add 'dev' to data\.options\.allow"):
        discover(data)
    allowed = replace(data, options={"allow_empty_splits": ["dev"]})
    refuse_bad_tracks(allowed, ingested(allowed, tmp_path / "out"), "report.json")
    assert names(tmp_path / "out") == {"train": ["train 0", "train 1"], "dev": [], "test": ["test 0", "test 1"]}


def test_a_split_that_only_bad_tracks_are_in_fails(tmp_path):
    corpus(tmp_path / "stems", per_split=1)
    (tmp_path / "stems" / "dev" / "dev 0" / "bass.wav").write_text("no audio")
    data = section(format="folder", path=str(tmp_path / "stems"), max_bad_tracks=1)
    result = ingested(data, tmp_path / "out")
    with pytest.raises(BadTracksError, match=r"dev split of .* has no usable track"):
        refuse_bad_tracks(data, result, "report.json")


def test_shards_hold_all_tracks_once_and_are_few():
    data = section(format="synthetic", options={"tracks": {"train": 1000, "dev": 3, "test": 70}})
    refs = discover(data)
    shards = ingest.plan(refs)
    assert [ref for shard in shards for ref in shard.refs] == refs
    assert {split: sum(shard.split == split for shard in shards) for split in SPLITS} == {
        "train": 63,
        "dev": 3,
        "test": 70,
    }
    assert all(ref.split == shard.split for shard in shards for ref in shard.refs)


def test_the_catalogue_lists_every_good_track_with_its_file_and_groups(tmp_path):
    stems = corpus(tmp_path / "stems")
    spoil(stems)
    (stems / "test" / "test 0" / "metadata.json").write_text('{"singer": "Änne"}')
    data = section(format="folder", path=str(stems), max_bad_tracks=8)
    ingested(data, tmp_path / "out")
    listed = catalogue.read(str(tmp_path / "out"))
    assert [entry.name for entry in listed] == [f"{split} {index}" for split in SPLITS for index in range(2)]
    assert [entry.metadata for entry in listed if entry.metadata] == [{"singer": "Änne"}]
    assert len({entry.file for entry in listed if entry.split == "test"}) == 2
    for entry in listed:
        [track] = [t for t in tfrecords.read_tracks([tmp_path / "out" / entry.file], TARGETS) if t.name == entry.name]
        assert (track.split, track.metadata) == (entry.split, entry.metadata)
        assert (len(track.mixture), track.sample_rate_hz) == (entry.samples, entry.sample_rate_hz)
    with pytest.raises(ValueError, match=r"have no tracks\.json: ingest the data again"):
        catalogue.read(str(stems))


@pytest.mark.parametrize(
    ("text", "words"), [("{", "is no JSON"), ('{"year": 1999}', "is no mapping of names to texts")]
)
def test_metadata_that_is_none_is_a_bad_track(tmp_path, text, words):
    (write_song(tmp_path / "stems" / "train" / "song") / "metadata.json").write_text(text)
    data = section(format="folder", path=str(tmp_path / "stems"), options={"allow_empty_splits": ["dev", "test"]})
    [bad] = ingested(data, tmp_path / "out")["bad_tracks"]
    assert bad["reason"].startswith("metadata.json ")
    assert words in bad["reason"]


def test_segments_resampling_and_gain_of_a_track(tmp_path):
    directory = write_song(tmp_path / "stems" / "train" / "song", rate_hz=22050)
    soundfile.write(directory / "bass.wav", 4 * noise(3, rate_hz=22050), 22050, subtype="FLOAT")
    data = section(format="folder", path=str(tmp_path / "stems"), options={"allow_empty_splits": ["dev", "test"]})
    result = ingested(data, tmp_path / "out")
    (track,) = tfrecords.read_tracks(tmp_path / "out" / "Split-train", TARGETS)
    assert track.sample_rate_hz == 16000
    assert track.mixture.shape == (9600, 1)
    assert result["tracks"][0]["seconds"] == pytest.approx(0.6)
    assert 0.5 < result["tracks"][0]["gain"] < 0.9
    assert max(np.abs(x).max() for x in (track.mixture, *track.stems.values())) == pytest.approx(1.0, abs=1e-4)
    assert np.allclose(track.mixture, sum(track.stems.values()), atol=1e-4)


def test_a_shard_that_cannot_be_written_leaves_nothing(tmp_path):
    data = section(format="synthetic", options={"seconds": 1.0})
    shard = ingest.plan(discover(data))[0]
    with pytest.raises(OSError, match="Cannot write"):
        ingest.write_shard(shard, data, str(tmp_path / "absent"))
    assert list(tmp_path.iterdir()) == []


# --- with TFX --------------------------------------------------------------------------------------------------------


def run(data: DataConfig, workdir: Path, workers: int = 1, span: int | None = None, judged: str = "") -> Path:
    """Runs the component alone and returns the directory of its newest artifact."""
    from tfx.orchestration import metadata
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner
    from tfx.orchestration.pipeline import Pipeline

    from pipeline.components.stems_example_gen import stems_example_gen

    workdir.mkdir(parents=True, exist_ok=True)
    parallel = ["--direct_running_mode=multi_threading", f"--direct_num_workers={workers}"]
    LocalDagRunner().run(
        Pipeline(
            "ingest",
            str(workdir / "artifacts"),
            metadata.sqlite_metadata_connection_config(str(workdir / "metadata.sqlite")),
            [stems_example_gen(data, str(workdir / "reports"), span, judged)],
            enable_cache=True,
            beam_pipeline_args=["--runner=FnApiRunner", *(parallel if workers > 1 else [])],
        )
    )
    return artifacts(workdir)[-1]


def artifacts(workdir: Path) -> list[Path]:
    return sorted((workdir / "artifacts" / "StemsExampleGen" / "examples").iterdir(), key=lambda path: int(path.name))


def test_says_on_a_cluster_what_the_gate_cannot_decide_or_stops_there(tmp_path, capsys):
    data = section(format="folder", path=str(corpus(tmp_path / "stems")))  # two test tracks

    def judged(*overrides: str) -> str:
        return to_json(load("demo", overrides))

    run(data, tmp_path / "told", judged=judged())
    said = capsys.readouterr().err
    assert (
        "the gate: the test split has 2 tracks, too few to compare vocals v3/SDR with the last blessed model and"
        in said
    )
    with pytest.raises(ValueError, match=r"gate.when_undecidable is 'refuse'.*has 2 tracks"):
        run(data, tmp_path / "refused", judged=judged("gate.when_undecidable=refuse"))


def test_leaks_that_would_refuse_every_model_refuse_the_data_where_that_is_asked_for(tmp_path, capsys):
    stems = corpus(tmp_path / "stems")
    shutil.copytree(stems / "train" / "train 0", stems / "test" / "copy of train 0")
    data = section(format="folder", path=str(stems))
    run(data, tmp_path / "told", judged=to_json(load("demo")))
    words = "test track 'copy of train 0' has the mixture of training track 'train 0', sample for sample"
    assert words in capsys.readouterr().err
    refusing = to_json(load("demo", ["gate.leaks.at_ingest=refuse"]))
    with pytest.raises(ValueError, match=rf"Every model would be refused: {words}"):
        run(data, tmp_path / "refused", judged=refusing)
    assert artifacts(tmp_path / "refused") == []
    tolerant = to_json(load("demo", ["gate.leaks.at_ingest=refuse", "gate.leaks.test=tell"]))
    run(data, tmp_path / "tolerant", judged=tolerant)


def test_what_was_published_is_known_of_a_layout_that_was_recognised(tmp_path):
    clips = tmp_path / "clips" / "Wavfile"
    clips.mkdir(parents=True)
    for name in ("amy_1_01", "amy_9_08", "Ani_1_01"):
        soundfile.write(clips / f"{name}.wav", np.random.default_rng(len(name)).normal(0, 0.1, (8000, 2)), 16000)
    artifact = run(section(format="auto", path=str(clips.parent)), tmp_path / "out")
    is_published = published(str(artifact))
    assert is_published("amy_1_01", "train")
    assert not is_published("amy_1_01", "test")


def test_the_component_is_deterministic_and_cached_by_every_file(tmp_path):
    stems = corpus(tmp_path / "stems")
    data = section(format="folder", path=str(stems))
    first = run(data, tmp_path / "one")
    assert names(first) == {split: [f"{split} 0", f"{split} 1"] for split in SPLITS}
    assert digests(first) == digests(run(data, tmp_path / "two", workers=2))
    files = {REPORT, catalogue.FILE, leaks.FILE, landmarks.DIRECTORY}
    assert {path.name for path in first.iterdir()} == {*(f"Split-{split}" for split in SPLITS), *files}

    assert run(data, tmp_path / "one") == first  # from the cache
    deep = stems / "train" / "train 0" / "drums.wav"
    before = deep.stat()
    soundfile.write(deep, noise(99), 16000)
    os.utime(deep, ns=(before.st_atime_ns, before.st_mtime_ns + 1))  # the same size, a nanosecond later
    second = run(data, tmp_path / "one")
    assert second != first
    changed = {name for name, digest in digests(second).items() if digests(first)[name] != digest}
    marked = f"{landmarks.DIRECTORY}/train-00000-of-00002.npz"
    assert changed == {"Split-train/data_tfrecord-00000-of-00002.gz", catalogue.FILE, marked}


def test_a_corpus_in_a_bucket_makes_the_same_records_and_is_cached_by_every_object(bucket, tmp_path):
    stems = corpus(tmp_path / "stems")
    here = ingested(section(format="folder", path=str(stems)), tmp_path / "here")
    data = section(format="folder", path=bucket.upload(stems, "my stems"))
    first = run(data, tmp_path / "there")
    records = digests(tmp_path / "here")
    assert {name for name, digest in records.items() if digests(first)[name] != digest} <= {catalogue.FILE}
    listed, again = (
        [
            replace(e, modified="", fingerprint={"digest": e.fingerprint["digest"]})
            for e in catalogue.read(str(artifact))
        ]
        for artifact in (tmp_path / "here", first)
    )
    assert listed == again
    there = json.loads((first / REPORT).read_text())
    assert (here["data"].pop("path"), there["data"].pop("path")) == (str(stems), data.path)
    assert json.loads(json.dumps(here)) == there

    assert run(data, tmp_path / "there") == first  # from the cache
    key = "my stems/train/train 0/drums.wav"
    time.sleep(1.1)  # what was written within one second looks the same to S3
    soundfile.write(tmp_path / "drums.wav", noise(99), 16000)
    bucket.client.put_object(
        Bucket=bucket.name, Key=key, Body=(tmp_path / "drums.wav").read_bytes()
    )  # of the same size
    second = run(data, tmp_path / "there")
    changed = {name for name, digest in digests(second).items() if digests(first)[name] != digest}
    marked = f"{landmarks.DIRECTORY}/train-00000-of-00002.npz"
    assert changed == {"Split-train/data_tfrecord-00000-of-00002.gz", catalogue.FILE, marked}


def test_a_span_in_a_bucket_that_is_still_being_written_is_refused(bucket, tmp_path, monkeypatch):
    weeks(tmp_path / "stems", 1, 2)
    data = section(format="folder", path=bucket.upload(tmp_path / "stems", "") + "/week-{SPAN}", spans=2)
    first = run(data, tmp_path / "work")
    assert names(first)["train"] == ["train of 1", "train of 2"]
    read = ingest.write_shard

    def meanwhile(*args):
        bucket.client.put_object(Bucket=bucket.name, Key="week-2/train/late.txt", Body=b"")
        return read(*args)

    bucket.client.put_object(Bucket=bucket.name, Key="week-2/more.txt", Body=b"")
    monkeypatch.setattr(ingest, "write_shard", meanwhile)
    with pytest.raises(ValueError, match=rf"Files below {bucket.url}/week-2 changed while they were read"):
        run(data, tmp_path / "work")
    assert artifacts(tmp_path / "work") == [first]


def test_the_component_fails_with_a_report_and_without_debris(tmp_path):
    spoil(corpus(tmp_path / "stems"))
    workdir = tmp_path / "work"
    with pytest.raises(BadTracksError, match="8 of 14 tracks") as caught:
        run(section(format="folder", path=str(tmp_path / "stems")), workdir)
    report = workdir / "reports" / REPORT
    assert str(report) in str(caught.value)
    assert len(json.loads(report.read_text())["bad_tracks"]) == 8
    assert artifacts(workdir) == []
    with pytest.raises(ValueError, match="nowhere is not there"):
        run(section(format="folder", path=str(tmp_path / "nowhere")), workdir)


def test_spans_and_versions(tmp_path):
    for span, version in ((1, "01"), (2, "01"), (2, "02"), (10, "01")):
        corpus(tmp_path / f"span-{span}" / f"v{version}" / "stems", per_split=1)
        write_song(tmp_path / f"span-{span}" / f"v{version}" / "stems" / "train" / f"only {span} {version}")
    data = section(format="folder", path=str(tmp_path / "span-{SPAN}" / "v{VERSION}" / "stems"))
    assert names(run(data, tmp_path / "work"))["train"] == ["only 10 01", "train 0"]
    assert names(run(data, tmp_path / "work", span=2))["train"] == ["only 2 02", "train 0"]


def weeks(root: Path, *numbers: int) -> Path:
    """A span for each number, with a track of its own in every split; the pattern that leads to them."""
    for number in numbers:
        for index, split in enumerate(SPLITS):
            write_song(root / f"week-{number}" / split / f"{split} of {number}", seed=10 * number + index)
    return root / "week-{SPAN}"


def test_the_newest_spans_go_into_one_artifact(tmp_path):
    data = section(format="folder", path=str(weeks(tmp_path / "stems", 1, 2, 10)), spans=2)
    first = run(data, tmp_path / "work")
    assert names(first)["train"] == ["train of 10", "train of 2"]
    listed = catalogue.read(str(first))
    assert {entry.name: entry.metadata for entry in listed if entry.split == "test"} == {
        "test of 10": {"span": "10"},
        "test of 2": {"span": "2"},
    }
    modified = datetime.fromisoformat(listed[0].modified)
    assert 0 <= (datetime.now(UTC) - modified).total_seconds() < 600
    assert {len(values) for values in listed[0].measured.values()} == {3}  # 0.6 s in segments of 0.25 s
    assert all(-120 <= level <= 0 for level in listed[0].measured["rms_db/vocals"])

    shutil.rmtree(tmp_path / "stems" / "week-1")  # outside of the window
    assert run(data, tmp_path / "work") == first
    weeks(tmp_path / "stems", 11)
    assert names(run(data, tmp_path / "work"))["train"] == ["train of 10", "train of 11"]


def test_a_span_that_cannot_be_trained_on_is_refused_in_words(tmp_path):
    data = section(format="folder", path=str(weeks(tmp_path / "stems", 1, 2)), spans=2)
    marked = replace(data, options={"success_marker": "_SUCCESS"})
    (tmp_path / "stems" / "week-1" / "_SUCCESS").touch()
    with pytest.raises(ValueError, match=r"Span 2 in .*week-2 has no file _SUCCESS .* not complete yet"):
        discover(marked)
    (tmp_path / "stems" / "week-2" / "_SUCCESS").touch()
    assert [ref.metadata["span"] for ref in discover(marked) if ref.split == "test"] == ["1", "2"]

    (tmp_path / "stems" / "week-3").mkdir()
    with pytest.raises(ValueError, match=r"week-3 holds no track"):
        discover(data)
    write_song(tmp_path / "stems" / "week-3" / "test" / "train of 2")
    words = r"Track 'train of 2' is in span 2 \(train\) and in span 3 \(test\): .* a new \{VERSION\}"
    with pytest.raises(ValueError, match=words):
        discover(data)
    with pytest.raises(ValueError, match=r"nowhere-\{SPAN\} leads to no directory"):
        discover(replace(data, path=str(tmp_path / "nowhere-{SPAN}")))


def test_a_span_that_is_still_being_written_is_refused(tmp_path):
    data = section(format="folder", path=str(weeks(tmp_path / "stems", 1)))
    late, done = tmp_path / "stems" / "week-1" / "train" / "train of 1" / "notes.txt", threading.Event()

    def write() -> None:
        with late.open("w") as file:
            while not done.wait(0.01):
                print("more", file=file, flush=True)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with pytest.raises(ValueError, match=r"Files below .*week-1 changed while they were read"):
            run(data, tmp_path / "work")
    finally:
        done.set()
        writer.join()
    assert artifacts(tmp_path / "work") == []


@pytest.mark.parametrize(
    ("pattern", "directory", "number", "version"),
    [
        ("s[1]-{SPAN}", "s[1]-007", 7, None),
        ("{SPAN:2}x/v{VERSION}", "12x/v03", 12, 3),
        ("{YYYY}-{MM}/{DD}/stems", "1970-02/01/stems", 31, None),
    ],
)
def test_placeholders(tmp_path, pattern, directory, number, version):
    (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "123x" / "v03").mkdir(parents=True)
    [span] = spans.find(str(tmp_path / pattern), 5)
    assert span == spans.Span(str(tmp_path / directory), number, version)
    assert spans.at(str(tmp_path / pattern), str(span.path)) == span


@pytest.mark.parametrize("pattern", ["{SPAN}/{SPAN}", "{VERSION}", "{YYYY}-{MM}", "{SPAN}-{YYYY}-{MM}-{DD}"])
def test_placeholders_that_say_too_much_or_too_little(pattern):
    with pytest.raises(ValueError, match="legal are one SPAN, or one each of YYYY, MM and DD"):
        spans.find(pattern, 1)


def test_synthetic_songs_are_ingested_without_a_path(tmp_path):
    data = section(format="synthetic", options={"seconds": 1.0, "tracks": {"train": 2, "dev": 1, "test": 1}})
    first = run(data, tmp_path / "work")
    assert names(first) == {"train": ["train-0000", "train-0001"], "dev": ["dev-0000"], "test": ["test-0000"]}
    assert run(replace(data, options={**data.options, "seed": 1}), tmp_path / "work") != first
