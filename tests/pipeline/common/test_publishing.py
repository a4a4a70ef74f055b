"""Publishing where a rename is not to be had: on a real S3 server, by real processes, which are killed and stand still."""

from __future__ import annotations

import inspect
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from models import storage
from models.directory import ModelDirectory
from pipeline.common import publishing

FILES = ("variables/variables.data", "assets/words.txt", "saved_model.pb")
CALLS = ("copy", "remove", "GFile")  # of tf.io.gfile, with which objects are made, read and removed


@pytest.fixture(scope="module")
def forked():
    """Starts a process that has imported TensorFlow already, and publishes with these arguments."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tensorflow_io", "pipeline.common.publishing"])
    # By its source: it cannot import this module.
    imports = (
        "from __future__ import annotations\nimport itertools, os, signal\nfrom pipeline.common import publishing\n"
    )
    source = f"{imports}CALLS = {CALLS}\n{inspect.getsource(publish)}{inspect.getsource(_dies)}"

    def start(*arguments: object) -> BaseProcess:
        process = context.Process(target=exec, args=(f"{source}publish(*{arguments!r})", {}))
        process.start()
        return process

    return start


def model(root: Path, name: str) -> str:
    """A directory whose files all hold the name."""
    for file in FILES:
        path = root / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return str(root / name)


def publish(environment: Mapping[str, str], base: str, source: str, die_at: int = 0, dead_seconds: int = 600) -> None:
    """What a process does: publishes, and kills itself at the call of a number, if that is not 0."""
    os.environ.update(environment)
    publishing.DEAD_SECONDS = dead_seconds
    publishing._WAIT_SECONDS = 0.05, 0.2
    if die_at:
        import tensorflow as tf

        numbers = itertools.count(1)
        for call in CALLS:
            setattr(tf.io.gfile, call, _dies(getattr(tf.io.gfile, call), numbers, die_at))
    with publishing.turn(base) as publisher:
        publisher.publish(source, origin=source)


def _dies(call, numbers, die_at: int):
    def counted(*args, **kwargs):
        if next(numbers) == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **kwargs)

    return counted


def end(process: BaseProcess) -> int | None:
    process.join(120)
    return process.exitcode


def names(version: ModelDirectory) -> set[str]:
    """The models whose files are in a version; all of its files have to be there."""
    assert set(storage.files(version.path)) >= {*FILES, "assets.extra/origin.json"}
    return {(version.path / file).read_text() for file in FILES} | {os.path.basename(version.origin)}


def test_a_version_of_a_bucket_is_whole_and_nothing_else_stays(bucket, forked, tmp_path: Path) -> None:
    base = f"{bucket.url}/served"
    for name in ("one", "two"):
        assert end(forked(bucket.environment, base, model(tmp_path, name))) == 0
    assert list(ModelDirectory.versions(base)) == [1, 2]
    assert [names(version) for version in ModelDirectory.versions(base).values()] == [{"one"}, {"two"}]
    assert len(bucket.keys) == 2 * (len(FILES) + 1)


@pytest.mark.slow
def test_a_publisher_that_is_killed_at_any_object_is_no_harm(bucket, forked, tmp_path: Path) -> None:
    base = f"{bucket.url}/served"
    with publishing.turn(base) as publisher:
        publisher.publish(model(tmp_path, "first"), origin="first")
    served, died_after_it_was_there, halves = "first", 0, 0
    for die_at in itertools.count(1):
        name = f"attempt-{die_at}"
        process = forked(bucket.environment, base, model(tmp_path, name), die_at, 0)
        if end(process) == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        newest = ModelDirectory.newest(base)
        assert newest is not None
        assert names(newest) in ({served}, {name})
        died_after_it_was_there += names(newest) == {name}
        [served] = names(newest)
        halves += len({key.split("/")[1] for key in bucket.keys}) > len(ModelDirectory.versions(base)) + 1
    assert die_at > 2 * len(FILES)  # it died while it staged and while it copied
    assert halves > len(FILES)
    assert 0 < died_after_it_was_there < die_at / 2
    newest = ModelDirectory.newest(base)
    assert newest is not None
    assert names(newest) == {name}
    numbers = {key.split("/")[1] for key in bucket.keys}
    assert numbers == {str(number) for number in ModelDirectory.versions(base)}  # nothing of the dead is left


def test_of_many_at_once_each_waits_for_its_turn(bucket, forked, tmp_path: Path) -> None:
    base = f"{bucket.url}/served"
    processes = [forked(bucket.environment, base, model(tmp_path, name)) for name in ("a", "b", "c")]
    assert [end(process) for process in processes] == [0, 0, 0]
    found = [names(version) for version in ModelDirectory.versions(base).values()]
    assert sorted(found, key=sorted) == [{"a"}, {"b"}, {"c"}]
    assert list(ModelDirectory.versions(base)) == [1, 2, 3]


@pytest.mark.slow
def test_whoever_is_taken_for_dead_at_any_step_mixes_nothing(
    bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One stands still before each step in turn, and meanwhile another takes it for dead and publishes to the end."""
    monkeypatch.setattr(publishing, "DEAD_SECONDS", -(10**9))
    monkeypatch.setattr(publishing, "_WAIT_SECONDS", (0.0, 0.0))
    outcomes = []
    for step in itertools.count(1):
        base, numbers = f"{bucket.url}/step-{step}", itertools.count(1)
        alone = pytest.MonkeyPatch()

        def pushed(name: str, base: str = base) -> None:
            with publishing.turn(base) as publisher:
                publisher.publish(model(tmp_path, name), origin=name)

        def at(call, step=step, numbers=numbers, alone=alone, pushed=pushed):
            def counted(*args):
                if next(numbers) == step:
                    alone.undo()
                    pushed("quick")
                return call(*args)

            return counted

        alone.setattr(storage, "copy_file", at(storage.copy_file))
        alone.setattr(publishing._Bucket, "_write", at(publishing._Bucket._write))
        try:
            pushed("slow")
            outcomes.append("pushed")
        except OSError:
            outcomes.append("given up")
        finally:
            alone.undo()
        found = [names(version) for version in ModelDirectory.versions(base).values()]
        if next(numbers) <= step:
            break
        assert found in ([{"quick"}], [{"quick"}, {"slow"}])
        assert (outcomes[-1] == "pushed") == ({"slow"} in found)
    # Before its own claim the other is simply the first, and so it is where the slow one ends before that step.
    assert outcomes == ["pushed", *["given up"] * (len(outcomes) - 2), "pushed"]
    assert len(outcomes) == 1 + 2 + 2 * len(FILES) + 1  # and one file that says where it is from, which is only copied


def test_who_has_stood_still_too_long_publishes_nothing(
    bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = f"{bucket.url}/served"
    monkeypatch.setattr(publishing, "LIMIT_SECONDS", -1)
    with (
        pytest.raises(
            OSError, match=r"served: nothing is pushed, for that took \d+ s, in which another may have begun"
        ),
        publishing.turn(base) as publisher,
    ):
        publisher.publish(model(tmp_path, "late"))
    assert bucket.keys == []


def test_a_bucket_that_is_not_there_is_named(bucket, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"^s3://no-such-bucket/served cannot be used at http.*: .*bucket does not exist"):  # noqa: SIM117
        with publishing.turn("s3://no-such-bucket/served") as publisher:
            publisher.publish(model(tmp_path, "one"))


def test_a_number_above_all_that_are_taken(bucket, tmp_path: Path) -> None:
    """A server that has given up on half a version never tries its number again."""
    base = f"{bucket.url}/served"
    (storage.path(base) / "70/notes.txt").write_text("whose is this?")
    with publishing.turn(base) as publisher:
        assert publisher.publish(model(tmp_path, "one"), at_least=7).version == 71
    assert "served/70/notes.txt" in bucket.keys  # not a publisher's: it stays


def test_who_waits_for_a_turn_on_this_machine_says_so_at_once(tmp_path: Path) -> None:
    code = "import sys; from pipeline.common import publishing\nwith publishing.turn(sys.argv[1]): pass"
    command = [sys.executable, "-c", code, str(tmp_path)]
    assert (
        "waiting"
        not in (alone := subprocess.run(command, capture_output=True, text=True, check=True)).stderr + alone.stdout
    )
    with publishing.turn(tmp_path):
        second = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert second.stdout
        assert second.stdout.readline().strip() == f"waiting: another model is being pushed to {tmp_path}"
        assert second.poll() is None
    assert second.wait(30) == 0
    second.stdout.close()
