"""What reaches the log: no forged lines, no flood."""

import logging
import os
import subprocess
import time

import pytest

from serving import process
from serving.server import logs


def record(message: str, *args: object, line: int = 1) -> logging.LogRecord:
    return logging.LogRecord("serving", logging.ERROR, "place.py", line, message, args, None)


def test_a_line_cannot_be_forged():
    name = "m\n2026-01-01 INFO all is well\r\x1b[2J\u2028\u202e\x85\udc80"
    text = logs.Lines("%(levelname)s: %(message)s").format(record("model %s failed", name))
    first, second = text.split("\n")
    assert first == "ERROR: model m"
    assert second == r"    2026-01-01 INFO all is well\r\x1b[2J\u2028\u202e\x85\udc80 failed"


def test_of_one_kind_a_few_are_shown_and_the_others_counted(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    flood = logs.Flood()
    shown = [each for each in (record("%d fails", number) for number in range(10_000)) if flood.filter(each)]
    assert [each.getMessage() for each in shown[:2]] == ["0 fails", "1 fails"]
    assert len(shown) == logs.AT_ONCE
    assert shown[-1].getMessage() == "19 fails (of its kind one in 30 s is shown from here on)"
    assert flood.filter(record("another place", line=2))
    now[0] += logs.SECONDS
    late = record("late")
    assert flood.filter(late)
    assert late.getMessage().startswith("late (9980 before it were not shown, ")
    now[0] += 1000 * logs.SECONDS
    late = record("later")
    assert flood.filter(late)
    assert late.getMessage() == "later"


def test_directories_that_are_no_models_do_not_fill_the_log(tmp_path, saved_model):
    """And the server neither ends nor waits for them all: the one that is a model serves."""
    for number in range(3000):
        (tmp_path / "m" / str(number)).mkdir(parents=True)
    os.rename(tmp_path / "m" / "2999", tmp_path / "m" / "none")
    os.symlink(saved_model, tmp_path / "m" / "2999")
    (tmp_path / "models.config").write_text(
        f'model_config_list {{ config {{ name: "m" base_path: "{tmp_path}/m" model_platform: "tensorflow" '
        "model_version_policy { all { } } } }"
    )
    flags = [f"--model_config_file={tmp_path}/models.config", "--port=0", "--max_num_load_retries=0"]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(process.command(*flags), stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert server.stdout.readline().startswith("Running gRPC ModelServer")
            time.sleep(3)
        finally:
            assert process.stop(server) == 0
    text = (tmp_path / "log").read_text()
    assert "model m version 2999 is available" in text
    assert text.count("failed to load") == logs.AT_ONCE
    assert len(text) < 10_000


@pytest.mark.parametrize(
    ("flag", "name"),
    [("--model_name=a\nb", r'The model name "a\nb"'), ("--model_base_path=/a\x1b", r'The base path "/a\x1b"')],
)
def test_names_with_control_characters_are_refused_at_the_start(tmp_path, flag, name):
    line = process.command(f"--model_base_path={tmp_path}", "--port=0", flag)
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"{name} has control characters; legal is printable text" in done.stderr.splitlines()[-1]
