"""Memory of a server whose model is replaced again and again; -m slow -s shows the figures."""

from __future__ import annotations

import gc
import shutil
import weakref
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
from tensorflow_serving.apis import get_model_status_pb2, model_pb2, model_service_pb2_grpc

from models import exported as export
from models.separator import Separator
from models.spec import ModelSpec
from serving import process
from serving.server.models.versions import State, VersionManager
from serving.wire import tensors
from serving.wire.status import Code, StatusError

SWAPS = 200
MEGABYTE = 10**6
SPEC = ModelSpec("lstm_online", {"units": 64, "layers": 1}, frame_length=256, hop=128)
MIXTURE = np.random.default_rng(0).uniform(-0.5, 0.5, (1, SPEC.sample_rate_hz)).astype(np.float32)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    export.save(Separator(SPEC), tmp_path / "model")
    return tmp_path / "model"


def publish(model: Path, base: Path, version: int, broken: bool) -> None:
    """By rename; of a broken one the variables end too early."""
    staging = base / ".staging"
    shutil.copytree(model, staging)
    if broken:
        [variables] = staging.glob("variables/*.data-*")
        variables.write_bytes(variables.read_bytes()[:-1000])
    staging.rename(base / str(version))


def wait_for(channel: grpc.Channel, version: int, state: State) -> None:
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    request = get_model_status_pb2.GetModelStatusRequest(model_spec=model_pb2.ModelSpec(name="stemline"))
    for _ in range(10_000):
        answer = stub.GetModelStatus(request, timeout=60)
        if any((each.version, each.state) == (version, state) for each in answer.model_version_status):
            return
    raise AssertionError(f"version {version} did not reach {state.name}: {answer}")


@pytest.mark.slow
def test_two_hundred_swaps_end_within_five_percent_of_the_twentieth(model, tmp_path):
    """Every third version is broken, and after each the newest that is not answers a request."""
    base = tmp_path / "stemline"
    base.mkdir()
    publish(model, base, 1, broken=False)
    served, resident = 1, []
    with process.running(base, flags=["--file_system_poll_wait_seconds=0.02", "--enable_batching"]) as address:
        [server] = psutil.Process().children()
        with grpc.insecure_channel(address) as channel:
            predict = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
            for version in range(2, 2 + SWAPS):
                broken = version % 3 == 0
                publish(model, base, version, broken)
                wait_for(channel, version, State.END if broken else State.AVAILABLE)
                if not broken:
                    wait_for(channel, served, State.END)
                    shutil.rmtree(base / str(served))
                    served = version
                request = tensors.predict_request(model_pb2.ModelSpec(name="stemline"), {"mixture": MIXTURE})
                assert tensors.from_response(predict(request, timeout=60))[1].version.value == served
                resident.append(server.memory_info().rss)
    print(f"\nMB after every 20th of {SWAPS} swaps: " + " ".join(f"{size / MEGABYTE:.0f}" for size in resident[19::20]))
    assert resident[-1] <= 1.05 * resident[19]


class Model:
    """Kept alive by a cycle, as a graph is."""

    def __init__(self) -> None:
        self.itself = self

    def close(self) -> None:
        pass


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_of_a_version_that_went_or_failed_stays(tmp_path, fails):
    """Without Python's own collector, which may come or not."""
    made = []

    def load(directory: Path) -> Model:
        loaded = Model()
        made.append(weakref.ref(loaded))
        if fails:
            raise StatusError(Code.DATA_LOSS, "the file ends too early")
        return loaded

    manager = VersionManager("stemline", load)
    manager.configure(tmp_path)
    (tmp_path / "1").mkdir()
    gc.disable()
    try:
        manager.poll()
        (tmp_path / "1").rename(tmp_path / "2")
        manager.poll()
        kept = [model() for model in made]
    finally:
        gc.enable()
    assert [model is None for model in kept] == [True, fails]
    assert manager.states()[1].state is State.END
