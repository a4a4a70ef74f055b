"""What is said when somebody presses Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest


@pytest.mark.parametrize(("before", "code"), [("default_int_handler", 130), ("SIG_IGN", 0)])
def test_ctrl_c_ends_with_a_sentence_and_nobody_takes_it_for_a_failure(before: str, code: int) -> None:
    """But where a shell has it ignored."""
    program = (
        "import os, signal, time; from pipeline.common.progress import sigint_ends\n"
        f"signal.signal(signal.SIGINT, signal.{before})\n"
        "with sigint_ends('stopped: a\\nb is kept'):\n"
        "    try: os.kill(os.getpid(), signal.SIGINT); time.sleep(0.1)\n"
        "    except BaseException: print('a failure')\n"
        "    finally: print('gone on')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    said = ("", "stopped: a\\nb is kept\n") if code else ("gone on\n", "")
    assert (done.returncode, (done.stdout, done.stderr)) == (code, said)


def test_after_the_block_ctrl_c_is_what_it_was() -> None:
    from pipeline.common.progress import sigint_ends

    here = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job has it ignored
    try:
        with sigint_ends("stopped"):
            assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, here)
