"""Versions in a bucket, on a real S3 server: what is served while they are published, broken off, taken away, or not to be had."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from models import storage
from serving import process
from serving.client import Client
from serving.server.models import versions

POLLING = ["--file_system_poll_wait_seconds=0.1"]


def publish(base: str, number: int, model: Path, without: str = "") -> None:
    """Copies a model as a publisher does, but for one file."""
    for name in storage.files(model):
        if name != without:
            storage.copy_file(model / name, f"{base}/{number}/{name}")


def gain(address: str) -> float:
    with Client(address, model_name="stemline") as client:
        return float(client.predict(np.ones((1, 8), np.float32))["vocals"][0, 0])


def wait_for(address: str, wanted: float, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while (got := gain(address)) != wanted:
        assert time.monotonic() < end, f"{got} is served, not {wanted}"
        time.sleep(0.1)


def test_what_is_half_written_is_no_version(bucket, saved_model: Path) -> None:
    base = f"{bucket.url}/stemline"
    with pytest.raises(OSError, match="holds nothing"):
        versions.on_disk(storage.path(base))
    publish(base, 1, saved_model)
    publish(base, 2, saved_model, without="saved_model.pb")
    publish(base, 3, saved_model, without="variables/variables.index")
    for name in (".push", "4.old", "notes"):
        (storage.path(base) / name / "saved_model.pb").write_text("")
    assert versions.on_disk(storage.path(base)) == {1: storage.path(f"{base}/1"), 3: storage.path(f"{base}/3")}


def test_a_version_is_served_when_it_is_whole_and_not_before(bucket, saved_model: Path, louder_model: Path) -> None:
    base = f"{bucket.url}/stemline"
    publish(base, 7, louder_model, without="saved_model.pb")  # of a publisher who died before there was a server
    publish(base, 1, saved_model)
    with process.running(base, flags=POLLING) as address:
        assert gain(address) == 0.25
        answers, stop = [], threading.Event()
        asking = threading.Thread(target=lambda: [answers.append(gain(address)) for _ in iter(stop.is_set, True)])
        asking.start()
        try:
            publish(base, 8, louder_model, without="variables/variables.index")  # its load fails
            time.sleep(1.0)
            publish(base, 9, louder_model, without="saved_model.pb")
            time.sleep(1.0)
            assert set(answers) == {0.25}
            storage.copy_file(louder_model / "saved_model.pb", f"{base}/9/saved_model.pb")
            wait_for(address, 0.5)
            storage.remove(f"{base}/9")
            storage.remove(f"{base}/8")
            wait_for(address, 0.25)  # a rollback
        finally:
            stop.set()
            asking.join()
        assert set(answers) <= {0.25, 0.5}
        storage.remove(base)
        time.sleep(1.0)
        assert gain(address) == 0.25  # a bucket that is emptied looks like one that is gone


@pytest.mark.slow
def test_a_bucket_that_does_not_answer_ends_nothing(bucket_to_lose, saved_model: Path) -> None:
    """It would be one without versions to somebody who believes what tensorflow-io says."""
    bucket, s3_server = bucket_to_lose
    for name in storage.files(saved_model):
        bucket.client.upload_file(saved_model / name, bucket.url.removeprefix("s3://"), f"stemline/1/{name}")
    flags = [*POLLING, "--port=0", "--model_name=stemline", f"--model_base_path={bucket.url}/stemline"]
    with subprocess.Popen(process.command(*flags), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            assert server.stderr
            port = re.search(r":(\d+) ", server.stdout.readline())
            assert port
            s3_server.kill()
            refused = next(line for line in server.stderr if "cannot list the versions" in line)
            assert "stemline cannot be used" in refused
            assert gain(f"localhost:{port[1]}") == 0.25
        finally:
            assert process.stop(server) == 0
