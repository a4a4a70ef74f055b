"""What only a threshold can see, budgets and leaks; and good models that keep all of it."""

from __future__ import annotations

import dataclasses

import pytest
from attempts.attempt import BUDGETS, CHEAP, EVERYTHING, V3, Attempt, assert_passes, assert_refused, at_least, cost
from attempts.models import (
    SINGERS,
    binary_mask,
    by_song,
    delayed,
    each,
    leaky,
    low_passed,
    noisy,
    oracle,
    song,
    songs,
    with_a_blip,
    with_silent,
    worse_by,
)

LEAKED = "track 'song-3' of the test split is also in the train split, as 'song-3 (copy)'"

BAD: dict[str, Attempt] = {
    # what only a threshold can see
    "below the floor": Attempt(leaky(0.8), "floor", ["vocals v3/SDR is", "misses the required 4.00 dB"], at_least(4.0)),
    "hardly over the mixture": Attempt(
        leaky(0.8), "mixture", ["over the mixture", "misses the required 3.00 dB"], at_least(3.0, over="mixture")
    ),
    "low-passed, which version 3 forgives": Attempt(
        each(low_passed), "floor, output", ["vocals v4/SDR is", "misses the required 5.00 dB"], at_least(5.0, "v4/SDR")
    ),
    "good on all songs but one": Attempt(
        by_song(lambda n: noisy(0.7) if n == 4 else oracle),
        "output, worst track",
        ["misses the required 2.00 dB on 1 of 8 tracks: 'song-4'"],
        at_least(2.0, across="worst"),
    ),
    "bad for one singer": Attempt(
        by_song(lambda n: leaky(0.9) if SINGERS[n] == "ben" else oracle),
        "group",
        ["vocals v3/SDR of singer 'ben' is", "misses the required 3.00 dB"],
        at_least(3.0, across="singer"),
    ),
    "a song whose singer is unknown": Attempt(
        oracle,
        "group",
        ["1 of 8 tracks have no singer: 'song-7'"],
        at_least(3.0, across="singer"),
        tracks=lambda: [*songs(7), dataclasses.replace(song(7), metadata={})],
    ),
    # what is no matter of sound
    "a test song in the training": Attempt(oracle, "leak", [LEAKED], conclude={"problems": [LEAKED]}),
    "too slow": Attempt(oracle, "budget", ["0.9 s of computing"], BUDGETS, conclude=cost(0.9, 20.0, 5_000_000)),
    "too large": Attempt(oracle, "budget", ["takes 31.0 MB on disk"], BUDGETS, conclude=cost(0.1, 31.0, 5_000_000)),
    "too many weights": Attempt(oracle, "budget", ["6,000,001 param"], BUDGETS, conclude=cost(0.1, 20.0, 6_000_001)),
    "not measured": Attempt(oracle, "budget", ["was not measured"], BUDGETS, conclude=cost(None, 20.0, 5_000_000)),
    "no songs": Attempt(oracle, "tracks", ["no track was judged"], tracks=list),
}  # fmt: skip

GOOD: dict[str, Attempt] = {
    "the ideal ratio mask, the first model ever": Attempt(oracle, gate=EVERYTHING, conclude=CHEAP),
    "the ideal binary mask": Attempt(
        binary_mask, gate=EVERYTHING, conclude=CHEAP
    ),
    "the references themselves": Attempt(leaky(1e-3), gate=EVERYTHING, conclude=CHEAP),
    "faint noise": Attempt(noisy(0.01), gate=EVERYTHING, conclude=CHEAP),
    "a bit too quiet": Attempt(each(lambda e: 0.7 * e), gate=EVERYTHING, conclude=CHEAP),
    "weak but honest": Attempt(leaky(0.7)),
    "late by a sample": Attempt(delayed(1)),
    "a song without a voice": Attempt(oracle, gate=EVERYTHING, tracks=lambda: with_silent("vocals"), conclude=CHEAP),
    "a song with nothing but a voice": Attempt(oracle, gate=EVERYTHING, tracks=lambda: with_silent("accompaniment"), conclude=CHEAP),
    "a song shorter than the filters": Attempt(oracle, gate=EVERYTHING, tracks=with_a_blip, conclude=CHEAP),
    "stereo": Attempt(oracle, gate=EVERYTHING, tracks=lambda: songs(4, 2), conclude=CHEAP),
    "judged by v3 alone": Attempt(oracle, gate=EVERYTHING, metrics=V3, conclude=CHEAP),
    "judged by v4 alone": Attempt(
        oracle, "", (), at_least(-0.1, "v4/SDR", over="baseline"), worse_by(1.0), metrics=("v4",)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_refused_for_the_right_reason(name: str) -> None:
    assert_refused(BAD[name])


@pytest.mark.parametrize("name", GOOD)
def test_passes(name: str) -> None:
    assert_passes(GOOD[name])
