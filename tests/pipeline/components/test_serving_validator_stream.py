"""ServingValidator on an online model: the stream is served, carried on, and equal to the whole mixture; or refused."""

import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from models import exported
from models.separator import Separator
from models.spec import ModelSpec
from pipeline.components import serving_validator
from serving.client import Client
from serving.local import Local, local_client
from serving.server.models.servable import Servable

RATE_HZ, HOP = 8000, 256
TOLERANCE = 1e-4


@pytest.fixture(scope="module", params=["mono", "stereo"])
def candidate(request, tmp_path_factory):
    tf.random.set_seed(0)
    spec = ModelSpec(
        network="lstm_online",
        sizes={"units": 8, "layers": 1},
        channels=["mono", "stereo"].index(request.param) + 1,
        sample_rate_hz=RATE_HZ,
        frame_length=2 * HOP,
        hop=HOP,
    )
    directory = tmp_path_factory.mktemp("candidate") / "model"
    exported.save(Separator(spec), directory)
    return directory


@pytest.mark.slow
def test_a_stream_is_validated_over_the_wire(candidate):
    """With a server process: every signature, the stream with a carried state, and all of a stream."""
    report = serving_validator.validate(candidate, {}, RATE_HZ, 2 * RATE_HZ, TOLERANCE)
    assert set(report) == {"serving_default", "stream", "wav", "examples", "describe"}
    assert set(report["stream"]) == {"1 hop", "3 hops", "as the whole mixture"}
    assert all(0 <= case["max_difference"] <= TOLERANCE for case in report["stream"].values())
    assert report["stream"]["1 hop"]["latency_p50_ms"] > 0


def test_the_requests_of_a_stream_carry_a_state_and_are_compared(candidate):
    """In one process: what `validate` asks, against a server of the same model and against one that is off."""

    class Off(Local):
        def run(self, inputs, signature_name):
            return {
                name: value + 0.01 * (name == "state_1") for name, value in super().run(inputs, signature_name).items()
            }

    with local_client(candidate) as local, Client(Off(candidate)) as server:
        requests = serving_validator._stream_requests(local)
        assert [request["mixture"].shape[1] for request in requests.values()] == [HOP, 3 * HOP]
        assert [request["state_1"].any() for request in requests.values()] == [False, True]
        report = serving_validator._compare("stream", requests, local, local, TOLERANCE)
        assert [case["max_difference"] for case in report.values()] == [0, 0]
        assert serving_validator._compare_stream(local, local, TOLERANCE)["max_difference"] <= 1e-5
        with pytest.raises(serving_validator.Refused, match=r"signature stream, 1 hop: the served answer differs"):
            serving_validator._compare("stream", requests, local, server, TOLERANCE)


def test_a_stream_that_forgets_is_refused(candidate):
    """A server whose state does not come back as it was: each answer alone is right, the sum of them is not."""

    class Forgetful(Local):
        def run(self, inputs, signature_name):
            answer = super().run(inputs, signature_name)
            return {name: value * (not name.startswith("state_")) for name, value in answer.items()}

    with (
        local_client(candidate) as local,
        Client(Forgetful(candidate)) as server,
        pytest.raises(serving_validator.Refused, match=r"stream: 12347 samples of a stream differ from .* by 0\.\d+"),
    ):
        serving_validator._compare_stream(local, server, TOLERANCE)


def test_the_stamped_model_warms_the_stream_up(candidate, tmp_path):
    serving_validator._stamp(candidate, tmp_path / "1", RATE_HZ)
    records = list(tf.data.TFRecordDataset(str(tmp_path / "1" / "assets.extra" / "tf_serving_warmup_requests")))
    logs = [prediction_log_pb2.PredictionLog.FromString(record.numpy()) for record in records]
    names = [log.predict_log.request.model_spec.signature_name for log in logs]
    assert sorted(names) == ["serving_default", "serving_default", "stream", "stream"]
    Servable(tmp_path / "1").close()  # replays them; a failing one would be an error
