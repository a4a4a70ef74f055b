"""Calls in a process of their own: answers, errors in words, deaths on both sides."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.common import process


def test_answers_from_another_process() -> None:
    assert process.call(os.getpid) != os.getpid()


@pytest.mark.parametrize(
    ("function", "argument", "words"),
    [
        (int, "three", "invalid literal for int() with base 10: 'three'"),
        (os.listdir, "/no/such/folder", "No such file or directory: /no/such/folder"),
        (os.listdir, "/no\n\x1b[31m", r"No such file or directory: /no\n\x1b[31m"),
        (len, 3, "TypeError: object of type 'int' has no len()"),
        (os._exit, 1, "the process was killed before it was done: is there too little memory?"),
    ],
)
def test_what_went_wrong_is_one_sentence(function, argument, words: str) -> None:
    with pytest.raises(process.ProcessError) as caught:
        process.call(function, argument)
    assert str(caught.value) == words


# Page faults of 1 allocation of 32 MB that is written to and freed, of 20 within the block, and of 20 after it.
PAGE_FAULTS = """
import resource
from pipeline.common import process

def page_faults(repeated):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(repeated):
        b"x" * 2**25
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

once = page_faults(1)
with process.keeping_freed_memory():
    page_faults(1)
    kept = page_faults(20)
print(once, kept, page_faults(20))
"""


def test_memory_that_is_freed_is_mapped_once_within_the_block_and_each_time_without() -> None:
    # In a process of its own: a used one has holes in its heap that need no mapping.
    told = subprocess.run([sys.executable, "-c", PAGE_FAULTS], capture_output=True, text=True, check=True).stdout
    once, kept, after = map(int, told.split())
    assert kept < once
    assert after > 10 * once > 100


def test_a_killed_caller_leaves_no_process_behind() -> None:
    code = "import time; from pipeline.common import process; process.call(time.sleep, 300)"
    caller = subprocess.Popen([sys.executable, "-c", code])
    children = Path(f"/proc/{caller.pid}/task/{caller.pid}/children")
    deadline = time.monotonic() + 60
    while not (started := _at_work(children.read_text().split())) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert started
    caller.send_signal(signal.SIGKILL)
    caller.wait()
    while any(_alive(pid) for pid in started) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(_alive(pid) for pid in started)


def _at_work(pids: list[str]) -> list[str]:
    """The spawned processes, once one has the thread that watches its parent."""
    return pids if any(_alive(pid) and len(os.listdir(f"/proc/{pid}/task")) > 1 for pid in pids) else []


def _alive(pid: str) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"
