"""The store that records runs (MLMD): a file in the working directory, or a MySQL or MariaDB that machines share.

What imports ML Metadata does so when it is called: configurations are checked without it.
"""

from __future__ import annotations

import dataclasses
import json
import socket
import time
from typing import TYPE_CHECKING

from pipeline.common import files
from pipeline.config.metadata import MetadataConfig

if TYPE_CHECKING:
    import ml_metadata as mlmd
    from ml_metadata.proto import metadata_store_pb2 as pb

    from pipeline.runs.workdir import Workdir

CONNECT_SECONDS = 10.0
# Of processes that meet in an empty database one makes the tables; MLMD tells the others to come again.
COME_AGAIN, ATTEMPTS, WAIT_SECONDS = "concurrent connection to the empty database", 30, 1.0


def connection(config: MetadataConfig, workdir: Workdir) -> pb.ConnectionConfig:
    """How MLMD reaches the store; holds the password. Raises as `MetadataConfig.password`."""
    from ml_metadata.proto import metadata_store_pb2 as pb

    if config.backend == "sqlite":
        sqlite = pb.SqliteMetadataSourceConfig(
            filename_uri=str(workdir.metadata),
            connection_mode=pb.SqliteMetadataSourceConfig.READWRITE_OPENCREATE,
        )
        return pb.ConnectionConfig(sqlite=sqlite)
    mysql = pb.MySQLDatabaseConfig(
        host=config.host, port=config.port, database=config.database, user=config.user, password=config.password()
    )
    return pb.ConnectionConfig(mysql=mysql)


def check_store(config: MetadataConfig, workdir: Workdir) -> None:
    """That a run can be recorded, before anything is written in `workdir`.

    Raises:
      ValueError: runs of `workdir` are recorded elsewhere, or there is no password.
      OSError: the server cannot be reached, or does not let us in.
    """
    before = _noted(workdir)
    if before and before.place != config.place:
        raise ValueError(
            f"the runs of {workdir.root} are recorded in {before.place}, but the section metadata says {config.place}: "
            "legal is the same place, or another --workdir"
        )
    if config.backend == "mysql":
        _opened(config, workdir)


def note(config: MetadataConfig, workdir: Workdir) -> None:
    """Writes down in `workdir` where its runs are recorded, for commands that read them without a configuration."""
    if config.backend == "sqlite":
        return
    files.write_text(workdir.metadata_note, json.dumps(dataclasses.asdict(config), indent=2) + "\n")


def store(workdir: Workdir, config: MetadataConfig | None = None) -> mlmd.MetadataStore | None:
    """The store of `config`, else of the runs of `workdir`; None where nothing was recorded yet. Raises as `check_store`."""
    where = config or _noted(workdir) or MetadataConfig()
    nothing = where.backend == "sqlite" and not workdir.metadata.exists()
    return None if nothing else _opened(where, workdir)


def _noted(workdir: Workdir) -> MetadataConfig | None:
    """Where the runs of `workdir` are recorded; None before its first run."""
    if workdir.metadata_note.exists():
        try:
            return MetadataConfig(**json.loads(workdir.metadata_note.read_text()))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{workdir.metadata_note} does not say where the runs are recorded: {error}") from error
    return MetadataConfig() if workdir.metadata.exists() else None


def _opened(config: MetadataConfig, workdir: Workdir) -> mlmd.MetadataStore:
    import ml_metadata as mlmd
    from ml_metadata import errors

    where = connection(config, workdir)
    problem = None
    for _ in range(ATTEMPTS):
        try:
            return mlmd.MetadataStore(where)
        except (RuntimeError, errors.StatusError) as error:
            problem = error
            if COME_AGAIN not in str(error):
                break
        time.sleep(WAIT_SECONDS)
    raise ConnectionError(_problem(config, str(problem), workdir)) from problem


def _problem(config: MetadataConfig, error: str, workdir: Workdir) -> str:
    """Why the store does not open. MLMD does not say what a server answered, or whether one did."""
    if config.backend == "sqlite":
        told = " ".join(error.split()).partition(" query: CREATE")[0]
        return f"the metadata {workdir.metadata} cannot be opened: {told}"
    try:
        socket.create_connection((config.host, config.port), CONNECT_SECONDS).close()
    except OSError as unreachable:
        return (
            f"the metadata server {config.host}:{config.port} cannot be reached ({unreachable}): is it up, and are "
            "metadata.host and metadata.port right?"
        )
    said = f" ({error})" if "mysql_real_connect" not in error else ""
    return (
        f"the metadata server {config.host}:{config.port} does not open database {config.database!r} for user "
        f"{config.user!r}{said}: the database must exist, and the user log in by mysql_native_password with the password of "
        f"{config.password_file or config.password_env}"
    )
