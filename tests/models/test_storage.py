"""Places of this machine and of a bucket; the bucket is on moto's S3 server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from models import storage


def test_a_place_of_this_machine_is_a_path_and_loads_nothing() -> None:
    code = "import sys; from models import storage; p = storage.path('/a'); print(type(p).__name__, 'tensorflow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(storage.__file__).parents[1]
    )
    assert done.stdout.split() == ["PosixPath", "False"], done.stderr


def test_what_is_written_to_a_bucket_is_there(bucket) -> None:
    file = storage.path(f"{bucket.url}/a/b.txt")
    file.write_text("hello")
    assert bucket.keys == ["a/b.txt"]
    assert storage.path(f"{bucket.url}/a/b.txt").read_text() == "hello"
    assert [found.name for found in storage.path(f"{bucket.url}/a").iterdir()] == ["b.txt"]
    assert os.fspath(file.parent) == f"{bucket.url}/a"


@pytest.mark.parametrize(("end", "code"), [("pass", 0), ("raise SystemExit(3)", 3), ("raise ValueError", 1)])
def test_a_process_that_used_s3_ends_with_its_own_exit_code(bucket, end: str, code: int) -> None:
    """It is 134 where nothing is done about tensorflow/io#2039."""
    program = f"from models import storage; print(storage.path('{bucket.url}/a').exists(), end=''); {end}"
    root = Path(storage.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root)
    assert (done.returncode, done.stdout) == (code, "False"), done.stderr
