"""What is no separation at all is refused by the default gate, without a threshold."""

from __future__ import annotations

import numpy as np
import pytest
from attempts.attempt import Attempt, assert_refused
from attempts.models import (
    TARGETS,
    another_songs_vocals,
    by_song,
    delayed,
    each,
    hissing_mixture,
    leaky,
    mixture,
    muted_in_the_middle,
    noise,
    noisy,
    one_infinite_sample,
    oracle,
    pitched,
    squashed,
    swapped,
    vocals_alone,
    vocals_for_everything,
    vocals_only_separated,
)

BAD: dict[str, Attempt] = {
    # what is no separation at all: refused without a threshold
    "silence": Attempt(each(np.zeros_like), "mixture, output", ["vocals are silent", "on 8 of 8 tracks: 'song-0' (-inf dB)"]),
    "near silence": Attempt(each(lambda e: 1e-4 * e), "mixture, output", ["vocals are silent", "and 5 more"]),
    "silence in one song": Attempt(
        by_song(lambda n: each(np.zeros_like) if n == 5 else oracle),
        "mixture, output",
        ["on 1 of 8 tracks: 'song-5' (-inf dB)"],
    ),
    "silence in half of every song": Attempt(each(muted_in_the_middle), "mixture, output", ["drop out where the reference"]),
    "the mixture in one song": Attempt(
        by_song(lambda n: mixture if n == 5 else oracle),
        "output",
        ["vocals are the mixture itself on 1 of 8 tracks: 'song-5' (-inf dB of what there was to take away); legal: at least -40 dB"],
    ),
    "the mixture for a voice in one song, at half the level": Attempt(
        lambda t: {**oracle(t), "vocals": 0.5 * t.mixture} if t.name == "song-2" else oracle(t),
        "output",
        ["vocals are the mixture itself on 1 of 8 tracks: 'song-2'"],
    ),
    "a copy of the mixture": Attempt(mixture, "mixture, output", ["vocals v3/SDR is +0.00 dB over the mixture"]),
    "a mixture turned down a little": Attempt(each(lambda e: 0.9 * e, mixture), "mixture, output", ["above it on 0 of 8"]),
    "a mixture turned down by half, judged by v4 alone": Attempt(
        each(lambda e: 0.5 * e, mixture),
        "mixture, output",
        ["vocals at any level is +0.00 dB SDR over the mixture"],
        metrics=("v4",),
    ),
    "white noise": Attempt(lambda t: dict.fromkeys(TARGETS, 0.1 * noise(t)), "mixture, output", ["above it on 0 of 8 tracks"]),
    "the oracle under loud noise": Attempt(noisy(1.0), "mixture, output", ["needed are more than 0.01 dB"]),
    "not a number": Attempt(
        each(lambda e: np.full_like(e, np.nan)), "mixture, output, tracks", ["vocals hold samples that are not finite on 8 of 8"]
    ),
    "one infinite sample": Attempt(
        one_infinite_sample, "output", ["not finite on 1 of 8 tracks: 'song-3' (1 samples)"]
    ),
    "swapped targets": Attempt(
        swapped, "mixture, output", ["vocals are swapped: they resemble accompaniment on 8 of 8 tracks"]
    ),
    "inverted polarity": Attempt(each(np.negative), "mixture, output", ["opposite polarity of their references on 8 of 8"]),
    "a tenth of the level": Attempt(each(lambda e: 0.1 * e), "output", ["dB too quiet on the median of 8 tracks"]),
    "ten times the level": Attempt(
        each(lambda e: 10 * e), "mixture, output", ["dB too loud on the median", "vocals clip on 8 of 8 tracks"]
    ),
    "clipped at a third of its peak": Attempt(each(squashed), "output", ["vocals clip on 8 of 8 tracks"]),
    "late by 100 samples": Attempt(delayed(100), "mixture, output", ["vocals lag behind their references on 8 of 8 tracks: 'song-0' (100 samples at 0 s)"]),
    "early by 12 samples": Attempt(delayed(-12), "mixture, output", ["vocals run ahead of their references on 8 of 8 tracks: 'song-0' (12 samples at 0 s)"]),
    "played back at a wrong rate": Attempt(each(pitched), "mixture, output", ["above it on 0 of 8 tracks"]),
    "a constant": Attempt(each(lambda e: np.full_like(e, 0.3)), "mixture, output", ["constant offset", "0.3"]),
    "the oracle on a constant offset": Attempt(each(lambda e: e + 0.03), "output", ["offset", "(0.030 of full scale)"]),
    "the accompaniment left in the mixture": Attempt(
        vocals_only_separated, "mixture, output", ["accompaniment v3/SDR is +0.00 dB over the mixture"]
    ),
    "a target missing": Attempt(
        vocals_alone, "mixture, output, tracks", ["the model's estimates of accompaniment are missing: it separates no such target"]
    ),
    "the vocals for every target": Attempt(vocals_for_everything, "mixture, output", ["accompaniment v3/SDR is -"]),
    "another song's stems": Attempt(another_songs_vocals, "mixture, output", ["above it on 0 of 8 tracks"]),
    "played backwards": Attempt(each(lambda e: e[::-1]), "mixture, output", ["above it on 0 of 8 tracks"]),
    "one perfect song among mixtures": Attempt(
        by_song(lambda n: leaky(1e-4) if n == 2 else mixture), "mixture, output", ["above it on 1 of 8 tracks", "75%"]
    ),
    "a mean that one perfect song carries": Attempt(
        by_song(lambda n: leaky(1e-4) if n == 2 else hissing_mixture), "mixture", ["vocals v3/SDR is +", "on 1 of 8 tracks"]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_refused_for_the_right_reason(name: str) -> None:
    assert_refused(BAD[name])
