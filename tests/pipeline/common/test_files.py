"""Files that appear complete or not at all."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from pipeline.common import files


def test_what_is_no_file_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    told: list[str] = []
    reader = threading.Thread(target=lambda: told.append(pipe.read_text()))
    reader.start()
    files.write_text(pipe, "words")
    reader.join(10)
    assert told == ["words"]
    assert pipe.is_fifo()
    with pytest.raises(IsADirectoryError) as refused:
        files.write_text(tmp_path, "words")
    assert refused.value.filename == str(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]
