"""The section `metadata` of a configuration: the store that records runs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class MetadataConfig:
    """Where runs are recorded. host to user are of backend `mysql`.

    password_env: the environment variable that holds the password; password_file: a file that does, instead. The password
        itself stands in no configuration.
    """

    backend: Literal["sqlite", "mysql"] = "sqlite"
    host: str = "127.0.0.1"
    port: int = 3306
    database: str = "stemline"
    user: str = "stemline"
    password_env: str = "STEMLINE_METADATA_PASSWORD"
    password_file: str | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for a server that cannot be."""
        if not 0 < self.port < 65536:
            raise ValueError(f"metadata.port is {self.port}: legal are 1 to 65535")
        for name in ("host", "database", "user"):
            if not getattr(self, name):
                raise ValueError(f"metadata.{name} is empty: a name is needed")

    @property
    def place(self) -> str:
        """Where that is, in words."""
        if self.backend == "sqlite":
            return "a file of sqlite in the working directory"
        return f"database {self.database!r} of {self.host}:{self.port}"

    def password(self) -> str:
        """The password of `user`. Raises ValueError where there is none, OSError for a file that cannot be read."""
        if self.password_file:
            return Path(self.password_file).read_text().rstrip("\r\n")
        if self.password_env not in os.environ:
            raise ValueError(
                f"metadata.backend is mysql, but the environment variable {self.password_env} with the password of "
                f"{self.user!r} is not set; metadata.password_env names another one, metadata.password_file a file"
            )
        return os.environ[self.password_env]
