"""A SavedModel as the judge uses it: long tracks go by chunks and come out as in one piece."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from models import exported
from models.separator import Separator
from models.spec import ModelSpec
from pipeline.evaluation.separators import SavedSeparator

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
