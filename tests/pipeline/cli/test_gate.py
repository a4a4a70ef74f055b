"""`stemline gate power`: of a run in real metadata with files as the judge writes them, and by simulation."""

from __future__ import annotations

import json
from pathlib import Path

import ml_metadata as mlmd
import numpy as np
import pytest
from ml_metadata.proto import metadata_store_pb2 as pb
from typer.testing import CliRunner, Result

from pipeline.cli.main import app
from pipeline.config.config import Config, load
from pipeline.data import catalogue, corpus, leaks
from pipeline.data.catalogue import IngestedTrack
from pipeline.data.leaks import Leak
from pipeline.evaluation import results
from pipeline.evaluation.evaluation import conclude
from pipeline.evaluation.gate import paired
from pipeline.evaluation.outputs.output_facts import OutputFacts
from pipeline.evaluation.scores import Figure, TrackScores
from pipeline.orchestration import preflight
from pipeline.runs import power
from pipeline.runs.workdir import Workdir

SPREAD_DB = 0.8
SINGERS = "abcdefgh"


def check(config: Config, workdir: Workdir) -> None:
    preflight.check_run(config, corpus.usable(config.data), workdir)


def run(workdir: Path, start: str, tracks: list[TrackScores]) -> None:
    """A run of the demo that judged these tracks, in metadata and in files as the evaluator leaves them."""
    evaluation, examples = workdir / start / "evaluation", workdir / start / "examples"
    results.write(conclude(tracks, load("demo")), evaluation)
    examples.mkdir(parents=True)
    entries = [IngestedTrack(t.track, "test", "file", t.samples, t.sample_rate_hz, t.metadata, {}) for t in tracks]
    catalogue.write(entries, str(examples))
    config = pb.ConnectionConfig()
    config.sqlite.filename_uri = str(workdir / "metadata.db")
    config.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    store = mlmd.MetadataStore(config)
    contexts = [
        pb.Context(type_id=store.put_context_type(pb.ContextType(name=kind)), name=name)
        for kind, name in (("pipeline_run", start), ("pipeline", "demo"), ("node", "demo.BssEvaluator"))
    ]
    known = [
        store.get_context_by_type_and_name(kind, c.name)
        for kind, c in zip(("pipeline_run", "pipeline", "node"), contexts, strict=True)
    ]
    execution = pb.Execution(type_id=store.put_execution_type(pb.ExecutionType(name="BssEvaluator")))
    execution.last_known_state = pb.Execution.COMPLETE
    made = []
    for kind, uri in (("ModelEvaluation", evaluation), ("Examples", examples)):
        artifact = pb.Artifact(type_id=store.put_artifact_type(pb.ArtifactType(name=kind)), uri=str(uri))
        artifact.state = pb.Artifact.LIVE
        made.append((artifact, pb.Event(type=pb.Event.OUTPUT)))
    store.put_execution(execution, made, [old or new for old, new in zip(known, contexts, strict=True)])


def judged(count: int, baseline: bool = True) -> list[TrackScores]:
    generator = np.random.default_rng(0)
    tracks = []
    for index, gain in enumerate(SPREAD_DB * generator.standard_normal(count)):
        scores = {"model": 8.0 + gain, "mixture": 0.0, **({"baseline": 8.0} if baseline else {})}
        values = {
            Figure(method, target, "v3", metric): (value,)
            for method, value in scores.items()
            for target in ("vocals", "accompaniment")
            for metric in ("SDR", "NSDR")
        }
        facts = dict.fromkeys(("vocals", "accompaniment"), OutputFacts(level_db=0.0, correlation=0.9, gain_db=8.0))
        tracks.append(TrackScores(f"song {index}", 80_000, 8000, values, {"singer": SINGERS[index % 8]}, facts))
    return tracks


def ask(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["gate", "power", *arguments])


def test_tells_what_the_last_run_with_a_baseline_can_decide(tmp_path: Path) -> None:
    run(tmp_path, "2026-11-20T12:00:00.000001", judged(40))
    run(tmp_path, "2026-11-27T12:00:00.000001", judged(40, baseline=False))
    told = json.loads(ask("--workdir", str(tmp_path), "--json").stdout)
    assert (told["run"], told["started"]) == (1, "2026-11-20T12:00:00.000001"), "the newest one has no baseline"
    only, anchored = told["thresholds"]
    assert (only["over"], anchored["over"], anchored["spread_db"]) == ("baseline", "anchor", only["spread_db"])
    assert (only["target"], only["metric"], only["margin_db"]) == ("vocals", "v3/SDR", -1.0)
    assert (only["tracks"], only["clusters"]) == (40, 8)
    drawn = SPREAD_DB * np.random.default_rng(0).standard_normal(40)
    assert only["spread_db"] == pytest.approx(np.std(drawn, ddof=1), rel=0.1)
    assert only["chances"]["equal"] > 0.9 > 0.05 > only["chances"]["worse by twice the margin"]
    assert 6 <= only["tracks_needed"] < 40
    assert -0.5 < only["margin_allowed_db"] < -0.1
    words = ask("--workdir", str(tmp_path), "--set", "gate.thresholds.2.at_least_db=-0.1").stdout
    assert "By the differences of the two models of run 1 (2026-11-20 12:00):" in words
    assert (
        "vocals v3/SDR over the last blessed model, margin -0.10 dB, 40 tracks in 8 groups; a track's difference spreads by 0."
        in words
    )
    assert "these 40 allow a margin of -0." in words


def test_groups_that_no_track_has_are_none(tmp_path: Path) -> None:
    run(tmp_path, "2026-11-20T12:00:00.000001", judged(40))
    threshold = "{target: vocals, metric: v3/SDR, at_least_db: -1, over: baseline, across: shoe}"
    told = ask("--workdir", str(tmp_path), "--set", f"gate.thresholds=[{threshold}]")
    assert "40 of the 40 tracks of the test split have no shoe, by which a threshold asks: every model" in told.stderr
    assert "has no paired test" in str(told.exception)


def test_leaks_of_what_was_ingested_before_are_told_before_the_next_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The ingest that found them comes from the cache, and says nothing."""
    start = "2026-11-20T12:00:00.000001"
    run(tmp_path, start, judged(40))
    found = [Leak("song 3", "test", "song 3 again", "train", ("mixture",), None, 1.0)]
    leaks.write(found, str(tmp_path / start / "examples"))
    (tmp_path / start / "examples" / corpus.REPORT).write_text(json.dumps({"data": {"format": "synthetic"}}))
    check(load("demo"), Workdir(tmp_path))
    said = capsys.readouterr().err
    assert "by the last ingest: test track 'song 3' has the mixture of training track 'song 3 again'" in said
    assert "every model will be refused" in said
    check(load("demo", ["gate.leaks.test=tell"]), Workdir(tmp_path))
    assert "song 3" not in capsys.readouterr().err


def test_the_spread_is_that_of_the_paired_test(tmp_path: Path) -> None:
    """The pairs from the files are those that the gate compared: their interval is the same."""
    run(tmp_path, "2026-11-20T12:00:00.000001", judged(40))
    found = power.last_pairs(Workdir(tmp_path), "demo")
    assert found
    pairs = found[1].scores["baseline", "vocals", "v3", "SDR"]
    gains = np.array([ours - theirs for ours, theirs, _ in pairs.values()])
    assert sorted(gains) == pytest.approx(sorted(SPREAD_DB * np.random.default_rng(0).standard_normal(40)), abs=1e-4)
    assert {seconds for _, _, seconds in pairs.values()} == {10.0}
    groups = paired.clusters_of([found[1].metadata[name] for name in pairs], load("demo").gate.paired)
    assert sorted(set(groups or ())) == [f"singer {name}" for name in SINGERS]


def test_says_so_in_one_sentence_where_nothing_is_known(tmp_path: Path) -> None:
    none = ask("--workdir", str(tmp_path))
    assert isinstance(none.exception, ValueError)
    assert "no run of 'demo' in" in str(none.exception)
    assert "judged a model against a last blessed one yet" in str(none.exception)
    run(tmp_path, "2026-11-20T12:00:00.000001", judged(12))
    without = ask("--workdir", str(tmp_path), "--set", "gate.thresholds=[]")
    assert "the gate of 'demo' has no paired test over the last blessed model" in str(without.exception)


def test_the_table_by_simulation() -> None:
    """As docs/gates.md shows it; equal models pass in 90 % at 50 tracks, and worse ones by twice the margin in 5 % at most."""
    rows = json.loads(ask("--simulate", "--json").stdout)["rows"]
    equal = [row for row in rows if row["truth"] == "equal" and not row["seeds_db"]]
    assert [row["version"] for row in equal] == ["v3", "v4"]
    assert all(row["tracks"]["50"] >= 0.9 for row in equal)
    twice = [row for row in rows if row["truth"] == "worse by twice the margin"]
    assert all(chance <= 0.05 for row in twice for chance in row["tracks"].values())
    printed = ask("--simulate").stdout
    docs = (Path(__file__).parents[3] / "docs" / "gates.md").read_text()
    assert printed.strip() in docs


def test_a_run_is_told_before_it_trains_what_its_gate_cannot_decide(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ten = load("demo", ["gate.thresholds.2.at_least_db=-0.05"])
    check(ten, Workdir(tmp_path))
    assert "gate" not in capsys.readouterr().err, "nothing is known yet"
    run(tmp_path, "2026-11-20T12:00:00.000001", judged(40))
    check(ten, Workdir(tmp_path))
    said = capsys.readouterr().err
    assert (
        "on 10 tracks an equally good model passes the required -0.05 dB of vocals v3/SDR over the last blessed" in said
    )
    assert "tracks or a margin of -0." in said
    with pytest.raises(ValueError, match="on 10 tracks an equally good model passes"):
        check(load("demo", ["gate.thresholds.2.at_least_db=-0.05", "gate.when_undecidable=refuse"]), Workdir(tmp_path))
