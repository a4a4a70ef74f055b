"""A SavedModel as the judge uses it: by the chunks that a client gets, which come out as in one piece."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from models import exported
from models.separator import Separator
from models.spec import ModelSpec
from pipeline.evaluation.outputs import output_facts
from pipeline.evaluation.separators import SavedSeparator
from serving.client.signals import SeparationError
from serving.local import local_client

RATE_HZ = 1000


def test_chunks_are_told_the_grid_and_the_level_of_the_track(tmp_path: Path) -> None:
    tf.random.set_seed(0)
    sizes = {"units": 12, "segment_frames": 6}
    spec = ModelSpec("blstm", sizes, ("vocals", "rest"), RATE_HZ, frame_length=64, hop=32, normalise_level=True)
    separator = Separator(spec)
    separator(tf.zeros([1, RATE_HZ]))
    separator.set_weights([4 * weight for weight in separator.get_weights()])  # untrained, masks hardly differ
    exported.save(separator, tmp_path)
    loudness = np.linspace(0.02, 1, 61 * RATE_HZ + 17)[:, None]
    track = (loudness * np.random.default_rng(0).uniform(-0.5, 0.5, loudness.shape)).astype(np.float32)

    by_chunks = SavedSeparator(tmp_path, chunk_seconds=7, overlap_seconds=0.5)(track, RATE_HZ)["vocals"]
    whole, alone = (separator(part.T)["vocals"].numpy().T for part in (track, track[: 7 * RATE_HZ]))

    def sdr_db(estimate: np.ndarray) -> float:
        reference = whole[: len(estimate)]
        return 10 * np.log10(np.sum(reference**2) / np.sum((reference - estimate) ** 2))

    assert by_chunks.shape == track.shape
    assert sdr_db(by_chunks) > 40
    assert sdr_db(alone) < 30  # a chunk at its own level is another signal to the network


class Counting(tf.Module):
    """Puts out how many samples a request has, or what is no number where it has a sample of 1."""

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32)])
    def separate(self, mixture: tf.Tensor) -> dict[str, tf.Tensor]:
        samples = tf.ones_like(mixture) * tf.cast(tf.shape(mixture)[1], tf.float32)
        return {"vocals": tf.where(mixture == 1, np.nan, samples)}


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory, module = tmp_path_factory.mktemp("counting"), Counting()
    tf.saved_model.save(module, directory, {"serving_default": module.separate})
    (directory / "assets.extra").mkdir()
    (directory / "assets.extra" / "stemline.json").write_text(
        json.dumps({"sample_rate_hz": RATE_HZ, "channels": 1, "targets": ["vocals"], "parameters": 1})
    )
    return directory


@pytest.mark.parametrize("seconds", [0.5, 10, 10.001, 25, 70])
def test_every_length_is_judged_by_the_clients_chunks(counting: Path, seconds: float) -> None:
    mixture = np.random.default_rng(0).uniform(-0.5, 0.5, (round(seconds * RATE_HZ), 2)).astype(np.float32)
    judged = SavedSeparator(counting)(mixture, RATE_HZ)["vocals"]
    np.testing.assert_array_equal(judged, local_client(counting, RATE_HZ).separate(mixture, RATE_HZ)["vocals"])
    assert set(judged.ravel()) == {10 * RATE_HZ}  # nothing shorter or longer is asked for


def test_what_is_no_number_is_refused_to_a_client_and_told_by_the_gate(counting: Path) -> None:
    mixture = np.zeros((25 * RATE_HZ, 1), np.float32)
    mixture[12 * RATE_HZ + 5] = 1
    with pytest.raises(SeparationError, match="answered NaN or infinity in vocals"):
        local_client(counting, RATE_HZ).separate(mixture, RATE_HZ)
    estimate = SavedSeparator(counting)(mixture, RATE_HZ)
    assert output_facts.facts({"vocals": mixture}, estimate, mixture, RATE_HZ)["vocals"].bad_samples == 1
