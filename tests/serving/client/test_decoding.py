"""Any audio file: its length is what was decoded, and what is wrong with it is one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from serving.client import decoding

RATE_HZ = 16000


def noise(samples: int = RATE_HZ, channels: int = 2) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal((samples, channels)).astype(np.float32)


def test_blocks_add_up_to_the_file(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(200_000), RATE_HZ, "FLOAT")
    with decoding.opened(tmp_path / "a.wav") as file:
        assert (file.sample_rate_hz, file.channels, file.samples_told) == (RATE_HZ, 2, 200_000)
        blocks = list(file.blocks())
    assert all(len(block) <= 2**16 for block in blocks)
    np.testing.assert_array_equal(np.concatenate(blocks), noise(200_000))
    audio, rate_hz = decoding.read(tmp_path / "a.wav")
    np.testing.assert_array_equal(audio, noise(200_000))
    assert rate_hz == RATE_HZ


def test_more_than_the_limit_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(RATE_HZ), RATE_HZ)
    assert len(decoding.read(tmp_path / "a.wav", most_seconds=1)[0]) == RATE_HZ
    with pytest.raises(decoding.BadFileError, match=r"^a\.wav lasts more than 0\.999 s, which is the limit$"):
        decoding.read(tmp_path / "a.wav", most_seconds=0.999)
