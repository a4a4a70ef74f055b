"""Two runs that were judged against the same served version: one of them pushes, the other says why it does not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import filelock
import pytest

from models.directory import ModelDirectory
from pipeline.config.config import Config, load
from pipeline.orchestration.local_runner import run_local
from pipeline.runs.history import Output, Run
from pipeline.runs.workdir import Workdir

ROOT = Path(__file__).parents[3]
HOLDER = """
import sys
from pathlib import Path
from pipeline.config.config import Config
from pipeline.runs import lock
from pipeline.runs.workdir import Workdir
with lock.held(Workdir(Path(sys.argv[1])), Config("slow_recipe")):
    print("held", flush=True)
    sys.stdin.read()
"""


def blessed_model(root: Path, size: int = 1000) -> Path:
    """A directory as ServingValidator leaves it: the stamped copy of a model."""
    stamped = root / "infra" / "stamped_model"
    (stamped / "assets.extra").mkdir(parents=True)
    (stamped / "variables").mkdir()
    (stamped / "variables" / "variables.data").write_bytes(os.urandom(size))
    (stamped / "saved_model.pb").write_text(root.name)
    return root


def push(root: Path, serving: Path | str, served_version: int, die_before_rename: bool = False) -> dict[str, object]:
    """One execution of the Pusher on blessings of the model in `root`; the properties of its PushedModel."""
    from tfx.proto import pusher_pb2
    from tfx.types import standard_artifacts
    from tfx.utils import proto_utils

    from pipeline.components.pusher import PublishingExecutor

    judged, checked, pushed = (
        standard_artifacts.ModelBlessing(),
        standard_artifacts.InfraBlessing(),
        standard_artifacts.PushedModel(),
    )
    judged.uri, checked.uri, pushed.uri = (str(root / name) for name in ("blessing", "infra", "pushed"))
    judged.set_int_custom_property("blessed", 1)
    judged.set_int_custom_property("served_version", served_version)
    judged.set_string_custom_property("current_model", str(root / "Trainer" / "model" / "1"))
    checked.set_int_custom_property("blessed", 1)
    checked.set_int_custom_property("has_model", 1)
    if die_before_rename:
        os.rename = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
    destination = pusher_pb2.PushDestination(
        filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=str(serving))
    )
    PublishingExecutor().Do(
        {"model_blessing": [judged], "infra_blessing": [checked]},
        {"pushed_model": [pushed]},
        {"push_destination": proto_utils.proto_to_json(destination)},
    )
    found = pushed.mlmd_artifact.custom_properties.items()
    return {name: getattr(value, value.WhichOneof("value")) for name, value in found}


def push_when_told(root: Path, serving: Path | str, served_version: int, die_before_rename: bool) -> None:
    """Pushes as soon as a file `go` lies beside the models, and leaves what came of it beside its own."""
    import pipeline.components.pusher  # noqa: F401  the import takes longer than what is raced

    (root / "ready").touch()
    while not (root.parent / "go").exists():
        time.sleep(0.001)
    (root / "outcome.json").write_text(json.dumps(push(root, serving, served_version, die_before_rename)))


def start(
    root: Path, serving: Path | str, served_version: int = 0, die_before_rename: bool = False
) -> subprocess.Popen:
    """`push_when_told` in a process of its own."""
    command = (
        f"import {Path(__file__).stem} as race; from pathlib import Path; race.push_when_told(Path({str(root)!r}), "
    )
    command += f"{str(serving)!r}, {served_version}, {die_before_rename})"
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    return subprocess.Popen([sys.executable, "-c", command], env={**os.environ, "PYTHONPATH": paths})


def listed(serving: Path) -> list[str]:
    return sorted(path.name for path in serving.iterdir() if not path.name.startswith(".push"))


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """A serving directory after two pushes at once, both of models that were judged when nothing was served."""
    root = tmp_path_factory.mktemp("race")
    return root / "serving", race(root, root / "serving")


def race(root: Path, serving: Path | str) -> list[Path]:
    """Two models that were pushed at once, the one that won first."""
    models = [blessed_model(root / name, size=20_000_000) for name in ("first", "second")]
    processes = [start(model, serving) for model in models]
    while not all((model / "ready").exists() for model in models):
        assert [process.poll() for process in processes] == [None, None]
        time.sleep(0.01)
    (root / "go").touch()
    assert [process.wait() for process in processes] == [0, 0]
    return sorted(models, key=lambda model: not outcome(model)["pushed"])


def outcome(model: Path) -> dict[str, object]:
    return json.loads((model / "outcome.json").read_text())


@pytest.mark.slow
def test_one_of_two_wins_and_the_other_says_why_not(raced: tuple[Path, list[Path]]) -> None:
    serving, (winner, loser) = raced
    [version] = listed(serving)
    assert outcome(winner)["pushed_destination"] == str(serving / version)
    assert (serving / version / "saved_model.pb").read_text() == winner.name
    assert ModelDirectory(serving / version).origin == str(winner / "Trainer/model/1")
    refused = outcome(loser)
    assert refused["pushed"] == 0
    assert "pushed_destination" not in refused
    assert refused["reason"] == (
        f"refused: the model was judged while no version was served, but version {version} has been pushed to {serving} "
        "since; run again to have it judged against that"
    )


@pytest.mark.slow
def test_one_of_two_wins_in_a_bucket_as_well(bucket, tmp_path: Path) -> None:
    serving = f"{bucket.url}/stemline"
    winner, loser = race(tmp_path, serving)
    [(number, version)] = ModelDirectory.versions(serving).items()
    won = outcome(winner)
    assert (won["pushed_destination"], won["pushed_version"]) == (f"{serving}/{number}", str(number))
    assert (version.path / "saved_model.pb").read_text() == winner.name
    data = "variables/variables.data"
    assert (version.path / data).read_bytes() == (winner / "infra/stamped_model" / data).read_bytes()
    assert version.origin == str(winner / "Trainer/model/1")
    assert (outcome(loser)["pushed"], "pushed_destination" in outcome(loser)) == (0, False)
    assert f"version {number} has been pushed to {serving} since" in str(outcome(loser)["reason"])
    assert {key.split("/")[1] for key in bucket.keys} == {str(number)}  # no claim, nothing staged
    assert push(winner, serving, served_version=0)["pushed_version"] == str(number)  # it is served already
    again = push(loser, serving, served_version=number)
    assert int(str(again["pushed_version"])) == max(ModelDirectory.versions(serving)) > number


def test_the_loser_wins_when_it_was_judged_against_the_winner(raced: tuple[Path, list[Path]]) -> None:
    serving, (_, loser) = raced
    [served] = [int(name) for name in listed(serving)]
    again = push(loser, serving, served)
    assert again["pushed"] == 1
    assert int(str(again["pushed_version"])) == max(ModelDirectory.versions(serving)) > served
    assert len(listed(serving)) == 2


@pytest.mark.slow
def test_a_push_that_was_killed_leaves_nothing_that_is_served_and_stops_nobody(tmp_path: Path) -> None:
    model, serving = blessed_model(tmp_path / "model"), tmp_path / "serving"
    (tmp_path / "go").touch()
    assert start(model, serving, die_before_rename=True).wait() == -signal.SIGKILL
    assert listed(serving) == [".staging"]
    assert ModelDirectory.newest(serving) is None
    assert push(model, serving, 0)["pushed"] == 1
    assert listed(serving) == [str(max(ModelDirectory.versions(serving)))]


def test_a_rollback_and_the_same_model_again_are_no_race(tmp_path: Path) -> None:
    model, serving = blessed_model(tmp_path / "model"), tmp_path / "serving"
    first = push(model, serving, served_version=17)  # 17 was taken away since it was judged against
    assert first["pushed"] == 1
    assert push(model, serving, served_version=0) == first  # what was pushed since is this model
    assert listed(serving) == [first["pushed_version"]]
    warm_up(model, b"requests of another length")
    assert int(str(push(model, serving, served_version=0)["pushed_version"])) > int(str(first["pushed_version"]))


def test_an_equal_model_of_another_run_stays_the_version_that_it_is(tmp_path: Path) -> None:
    models, serving = [blessed_model(tmp_path / name) for name in ("week 1", "week 2", "week 3")], tmp_path / "serving"
    for model, identity in zip(models, ("a", "a", "b"), strict=True):
        (model / "infra/stamped_model/assets.extra/stemline.json").write_text(json.dumps({"identity": identity}))
    first = push(models[0], serving, served_version=0)
    version = int(str(first["pushed_version"]))
    assert push(models[1], serving, served_version=version) == first
    assert push(models[1], serving, served_version=0) == first  # nor has another overtaken it
    assert listed(serving) == [str(version)]
    other = push(models[2], serving, served_version=version)["pushed_version"]
    newest = max(ModelDirectory.versions(serving))
    assert other == str(newest) != str(version)
    newer = push(models[1], serving, newest)["pushed_version"]
    assert newer == str(max(ModelDirectory.versions(serving))) != other
    assert len(listed(serving)) == 3


def test_models_that_do_not_tell_who_they_are_are_not_the_same(tmp_path: Path) -> None:
    one, other = blessed_model(tmp_path / "one"), blessed_model(tmp_path / "other")
    first = push(one, tmp_path / "serving", served_version=0)
    second = push(other, tmp_path / "serving", served_version=int(str(first["pushed_version"])))
    assert int(str(second["pushed_version"])) > int(str(first["pushed_version"]))


def warm_up(root: Path, requests: bytes) -> None:
    (root / "infra/stamped_model/assets.extra/tf_serving_warmup_requests").write_bytes(requests)


def publish(version: Path, origin: str = "") -> None:
    version.mkdir(parents=True)
    (version / "saved_model.pb").touch()
    if origin:
        ModelDirectory(version).write_origin(origin)


def test_versions_grow_when_the_clock_is_set_back(tmp_path: Path) -> None:
    ahead = 2 * int(time.time())
    publish(tmp_path / "serving" / str(ahead))
    pushed = push(blessed_model(tmp_path / "model"), tmp_path / "serving", ahead)
    assert pushed["pushed_version"] == str(ahead + 1)


def test_a_second_run_on_a_workdir_is_told_who_holds_it(tmp_path: Path) -> None:
    workdir = Workdir(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as other:
        assert other.stdin
        assert other.stdout
        assert other.stdout.readline() == b"held\n"
        holder = rf"process {other.pid}, recipe slow_recipe, since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d[^)]*"
        with pytest.raises(BlockingIOError, match=rf"another stemline run \({holder}\) is at work in {tmp_path}; wait"):
            run_local(Config("another"), workdir)
        other.stdin.close()
    assert not (tmp_path / ".lock.holder").exists()
    with filelock.FileLock(workdir.lock), pytest.raises(BlockingIOError, match="another stemline run is at work"):
        run_local(Config("another"), workdir)  # in the moment before the holder has said who it is


def test_a_version_that_somebody_else_pushed_makes_the_judge_run_again(tmp_path: Path) -> None:
    """What keys the judge's cache changes with a foreign version, and not with those that the pipeline pushed itself."""
    from pipeline.components import graph

    workdir, config = Workdir(tmp_path), load("demo")

    def cache_key() -> object:
        nodes = {node.id: node for node in graph.components(config, workdir)}
        return nodes["BssEvaluator"].exec_properties["served_elsewhere"]

    def push_from(model: Path, number: int) -> None:
        publish(workdir.serving("demo") / str(number), str(model))

    assert cache_key() == 0
    push_from(workdir.artifacts("demo") / "Trainer/model/6", 1)
    assert cache_key() == 0
    push_from(tmp_path / "elsewhere/artifacts/demo/Trainer/model/6", 2)
    assert cache_key() == 2
    push_from(workdir.artifacts("demo") / "Trainer/model/7", 3)
    assert cache_key() == 2


def test_the_record_of_a_run_that_lost_the_race_says_so() -> None:
    """Its command prints the reasons and ends with exit code 3, which is that of a run that is not accepted."""
    held = {
        "ModelBlessing": Output("ModelBlessing", "", {"blessed": 1, "reasons": '["ok: better"]'}),
        "InfraBlessing": Output("InfraBlessing", "", {"blessed": 1}),
    }
    lost = Output("PushedModel", "", {"pushed": 0, "reason": "refused: version 7 has been pushed since"})
    winner, loser = Run("demo", "now", {}, held), Run("demo", "now", {}, {**held, "PushedModel": lost})
    assert winner.accepted
    assert not loser.accepted
    assert loser.pushed is None
    assert loser.reasons == ["ok: better", "refused: version 7 has been pushed since"]
