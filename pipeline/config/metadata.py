"""The section `metadata` of a configuration: the store that records runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from models.checked import Name, checked


@checked("metadata")
class MetadataConfig:
    """Where runs are recorded. host to user are of backend `mysql`.

    password_env: the environment variable that holds the password; password_file: a file that does, instead. The password
        itself stands in no configuration.
    """

    backend: Literal["sqlite", "mysql"] = "sqlite"
    host: Name = "127.0.0.1"
    port: Annotated[int, Field(strict=True, ge=1, le=65535)] = 3306
    database: Name = "stemline"
    user: Name = "stemline"
    password_env: str = "STEMLINE_METADATA_PASSWORD"
    password_file: str | None = None

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
