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


@pytest.mark.slow
@pytest.mark.parametrize(("end", "code"), [("pass", 0), ("raise SystemExit(3)", 3), ("raise ValueError", 1)])
def test_a_process_that_used_s3_ends_with_its_own_exit_code(bucket, end: str, code: int) -> None:
    """It is 134 where nothing is done about tensorflow/io#2039."""
    program = f"from models import storage; print(storage.path('{bucket.url}/a').exists(), end=''); {end}"
    root = Path(storage.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root)
    assert (done.returncode, done.stdout) == (code, "False"), done.stderr


def test_a_model_goes_to_a_bucket_within_it_and_back(bucket, tmp_path: Path) -> None:
    """Also an empty file, for which tensorflow-io has no copy within a bucket; the graph comes last, and goes first."""
    content = {"assets/empty": b"", "saved_model.pb": b"graph", "variables/variables.data": os.urandom(300_000)}
    for name, data in content.items():
        file = tmp_path / "model" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    storage.copy(tmp_path / "model", f"{bucket.url}/a")
    storage.copy(f"{bucket.url}/a", f"{bucket.url}/b/1")
    assert storage.files(f"{bucket.url}/b/1") == ["assets/empty", "variables/variables.data", "saved_model.pb"]
    with storage.local(f"{bucket.url}/b/1") as directory:
        assert {name: (directory / name).read_bytes() for name in content} == content
    assert not directory.exists()
    storage.remove(f"{bucket.url}/b")
    storage.remove(f"{bucket.url}/b")
    assert bucket.keys == sorted(f"a/{name}" for name in content)
    with storage.local(tmp_path) as itself:
        assert itself == tmp_path
    with pytest.raises(FileNotFoundError, match="nothing-here holds no files"):
        storage.copy(f"{bucket.url}/nothing-here", tmp_path / "x")
