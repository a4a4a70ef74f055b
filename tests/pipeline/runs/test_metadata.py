"""Runs that are recorded on a server: a real MariaDB, started for these tests where Debian's mariadb-server is installed."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import filelock
import pytest

from pipeline.config.config import load, to_json
from pipeline.config.metadata import MetadataConfig
from pipeline.runs import history, metadata
from pipeline.runs.workdir import Workdir

PASSWORD = "it's a secret: 47"
VARIABLE = "STEMLINE_METADATA_PASSWORD"
STEMLINE = str(Path(sys.executable).with_name("stemline"))
INGEST = ("StemsExampleGen", "StatisticsGen", "ImportSchemaGen", "ExampleValidator", "AnomalyGate")
TRACKS = "data.options={tracks: {train: 2, dev: 1, test: 1}, seconds: 2}"


@dataclass(frozen=True)
class Server:
    """A MariaDB on this machine, with databases `one` to `four`, all empty at first."""

    port: int

    def overrides(self, database: str, **more: object) -> list[str]:
        """--set of a run that is recorded there."""
        values = {"backend": "mysql", "port": self.port, "database": database, **more}
        return [word for key, value in values.items() for word in ("--set", f"metadata.{key}={value}")]

    def config(self, database: str) -> MetadataConfig:
        return MetadataConfig(backend="mysql", port=self.port, database=database)


@pytest.fixture(scope="module")
def server(free_ports) -> Iterator[Server]:
    """Runs as long as the tests of this module do."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    program, install = shutil.which("mariadbd", path=path), shutil.which("mariadb-install-db", path=path)
    if not program or not install:
        pytest.skip("no MariaDB here: apt-get install mariadb-server brings it")
    with tempfile.TemporaryDirectory() as root:  # a socket's path is short
        where = ["--no-defaults", f"--datadir={root}/data", f"--user={getpass.getuser()}"]
        subprocess.run([install, *where, "--skip-test-db"], check=True, capture_output=True)
        quoted = PASSWORD.replace("'", "''")
        databases = "".join(f"CREATE DATABASE {name};\n" for name in ("one", "two", "three", "four"))
        user = f"CREATE USER stemline@'%' IDENTIFIED BY '{quoted}';\nGRANT ALL ON *.* TO stemline@'%';\n"
        Path(root, "init.sql").write_text(databases + user)
        [port] = free_ports(1)
        listen = ["--bind-address=127.0.0.1", f"--port={port}", f"--socket={root}/socket"]
        process = subprocess.Popen(
            [program, *where, *listen, f"--init-file={root}/init.sql"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for(port)
            yield Server(port)
        finally:
            process.terminate()
            process.wait(60)


def wait_for(port: int) -> None:
    """Until the server listens: it does when its init file is done."""
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(f"nothing listens on {port} after a minute")


def sentence(outcome) -> str:
    """The last line of a refused command; MLMD was loaded by this process, before the command could quiet it."""
    assert outcome.code == 2, outcome
    assert PASSWORD not in outcome.err
    return outcome.err.strip().splitlines()[-1]


# --- without a server ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("metadata.backend=postgres", "metadata.backend is 'postgres'; legal: sqlite, mysql"),
        ("metadata.port=70000", "metadata.port is 70000; legal: a whole number of at least 1 and of at most 65535"),
        ("metadata.host=''", "metadata.host is ''; legal: text that is not empty"),
        ("metadata.password=secret", "unknown key 'metadata.password'; did you mean 'password_env'?"),
    ],
)
def test_a_server_that_cannot_be_is_refused(override: str, words: str) -> None:
    with pytest.raises(ValueError, match=r"\S") as refused:
        load("demo", [override])
    assert words in str(refused.value)


@pytest.mark.slow
def test_no_password_and_no_server_are_one_sentence_each(free_ports, stemline, monkeypatch, tmp_path: Path) -> None:
    [port] = free_ports(1)
    nowhere = Server(port).overrides("one")
    monkeypatch.delenv(VARIABLE, raising=False)
    missing = sentence(stemline("run", "--workdir", tmp_path / "runs", *nowhere))
    assert f"environment variable {VARIABLE}" in missing
    monkeypatch.setenv(VARIABLE, PASSWORD)
    unreachable = sentence(stemline("run", "--workdir", tmp_path / "runs", *nowhere))
    assert f"metadata server 127.0.0.1:{port} cannot be reached" in unreachable
    installed = subprocess.run(
        [STEMLINE, "run", "--workdir", tmp_path / "runs", *nowhere], capture_output=True, text=True
    )
    assert installed.returncode == 2
    assert installed.stderr.splitlines()[-1] == unreachable
    assert not (tmp_path / "runs").exists()


def test_a_password_comes_from_a_file_too(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    config = load("demo", ["metadata.backend=mysql", f"metadata.password_file={tmp_path / 'password'}"])
    assert metadata.connection(config.metadata, Workdir(tmp_path)).mysql.password == PASSWORD
    assert PASSWORD not in to_json(config)


def test_a_workdir_keeps_to_its_store(stemline, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, PASSWORD)
    (tmp_path / "metadata.db").touch()
    refusal = sentence(stemline("run", "--workdir", tmp_path, "--set", "metadata.backend=mysql"))
    assert (
        "are recorded in a file of sqlite in the working directory, but the section metadata says database" in refusal
    )
    (tmp_path / "metadata.db").unlink()
    metadata.note(MetadataConfig(backend="mysql", host="db.example"), Workdir(tmp_path))
    assert "recorded in database 'stemline' of db.example:3306" in sentence(stemline("run", "--workdir", tmp_path))


# --- with one --------------------------------------------------------------------------------------------------------


def test_a_server_that_does_not_let_us_in_is_one_sentence(
    stemline, server: Server, monkeypatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(VARIABLE, "guessed")
    for user in ("stemline", "nobody"):
        refusal = sentence(stemline("run", "--workdir", tmp_path / "runs", *server.overrides("one", user=user)))
        assert f"does not open database 'one' for user '{user}'" in refusal
        assert VARIABLE in refusal
    assert not (tmp_path / "runs").exists()


def test_processes_that_meet_in_an_empty_database_all_get_in(server: Server, tmp_path: Path) -> None:
    """One makes the tables; MLMD by itself turns the others away."""
    script = (
        "from pathlib import Path; from pipeline.runs import metadata; from pipeline.runs.workdir import Workdir;"
        f"config = metadata.{server.config('two')!r};"
        f"print(metadata.store(Workdir(Path({str(tmp_path)!r})), config).get_contexts())"
    )
    environment = {**os.environ, VARIABLE: PASSWORD}
    processes = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(4)
    ]
    assert [process.communicate()[0].strip() for process in processes] == ["[]"] * 4


@pytest.mark.slow
def test_runs_at_the_same_time_are_all_recorded(server: Server, tmp_path: Path) -> None:
    """Two workdirs with one recipe, and a second recipe in the first of them; then one of them again, from the cache."""
    (tmp_path / "other.yaml").write_text("extends: demo\n")
    first, second = Workdir(tmp_path / "first"), Workdir(tmp_path / "second")
    jobs = [(first, "demo"), (second, "demo"), (first, str(tmp_path / "other.yaml"))]
    environment = {**os.environ, VARIABLE: PASSWORD}

    def ingest(workdir: Workdir, recipe: str) -> subprocess.Popen:
        command = [STEMLINE, "ingest", "--recipe", recipe, "--workdir", str(workdir.root), "--set", TRACKS]
        command += server.overrides("three")
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)

    processes = [ingest(*job) for job in jobs]
    said = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], said
    again = ingest(*jobs[0])
    said.append(again.communicate()[0])
    assert again.returncode == 0, said[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, PASSWORD)
        found = history.runs(second)
        assert history.runs(first) == found
        with filelock.FileLock(first.lock_of("demo")):
            refused = ingest(*jobs[0])
            assert "another stemline run is at work" in refused.communicate()[0]
    assert [run.pipeline for run in found].count("demo") == 3
    assert [run.pipeline for run in found].count("other") == 1
    assert found[0].states == dict.fromkeys(INGEST, "cached")
    for run in found[1:]:  # the schema, which is of no workdir's data, may come from the other run's
        assert run.states.pop("ImportSchemaGen") in ("done", "cached")
        assert run.states == dict.fromkeys(INGEST[:2] + INGEST[3:], "done")
    written = [Path(run.outputs["Examples"].uri) for run in found[1:]]
    assert len(set(written)) == 3
    assert all((place / "tracks.json").is_file() for place in written)
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert first.metadata_note in kept
    assert first.metadata not in kept
    assert [path for path in kept if PASSWORD.encode() in path.read_bytes()] == []
    assert PASSWORD not in "".join(said)


@pytest.mark.parametrize("inside", ["", "runs", "more/below"])
def test_a_working_directory_that_is_or_lies_below_a_file_is_refused(tmp_path: Path, inside: str) -> None:
    (tmp_path / "song.wav").touch()
    with pytest.raises(
        ValueError, match=r"the working directory is .*song\.wav.*song\.wav is a file: legal is a directory"
    ):
        Workdir(tmp_path / "song.wav" / inside)
