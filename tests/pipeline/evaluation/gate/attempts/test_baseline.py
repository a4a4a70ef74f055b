"""Models against the last blessed one."""

from __future__ import annotations

import numpy as np
import pytest
from attempts.attempt import CHEAP, EVERYTHING, MARGIN, V3, Attempt, assert_passes, assert_refused, at_least
from attempts.models import better_by, by_song, each, leaky, oracle, songs, worse_by

UNFIT = "the last blessed model cannot be judged on these tracks: the mixtures have 8000 Hz; the model takes 44100 Hz"

BAD: dict[str, Attempt] = {
    # against the last blessed model
    "worse by a hair more than the margin": Attempt(
        worse_by(0.31), "baseline", ["better on 0 of 8 tracks", "is not shown to meet"], MARGIN, oracle, V3
    ),
    "better by less than is demanded": Attempt(
        better_by(0.02), "baseline", ["better on 8 of 8", "required 0.50 dB"], at_least(0.5, over="baseline"), oracle, V3
    ),
    "the last blessed model again, where a better one is demanded": Attempt(
        oracle, "baseline", ["a tie, equal on 8 tracks, misses the required 0.10"], at_least(0.1, over="baseline"), oracle, V3
    ),
    "equal in the mean, worse on most songs": Attempt(
        by_song(lambda n: better_by(0.2) if n in (1, 6) else worse_by(0.6)), "baseline", ["better on 2 of 8"], MARGIN, oracle, V3
    ),
    "a better mean through one outlier": Attempt(
        by_song(lambda n: leaky(1e-4) if n == 1 else worse_by(0.5)),
        "baseline",
        ["dB over the last blessed model", "better on 1 of 8 tracks", "the average is below it and the median is below it"],
        MARGIN,
        oracle,
        V3,
    ),
    "much worse on one song": Attempt(
        by_song(lambda n: worse_by(3.0) if n == 1 else better_by(0.3)),
        "worst track",
        ["over the last blessed model misses the required -1.00 dB on 1 of 8 tracks: 'song-1' (-2.9"],
        at_least(-1.0, over="baseline", across="worst"),
        oracle,
        V3,
    ),
    "too few songs to decide": Attempt(
        better_by(0.3), "baseline", ["5 tracks cannot decide", "6 are needed"], MARGIN, oracle, V3, lambda: songs(5)
    ),
    "too few songs of a singer to decide": Attempt(
        better_by(0.3),
        "group",
        ["singer 'eve'", "2 tracks cannot decide whether it meets the required -0.30 dB: 6 are needed"],
        at_least(-0.3, over="baseline", across="singer"),
        oracle,
        V3,
    ),
    "a last blessed model that cannot be judged": Attempt(
        oracle, "baseline", [UNFIT], MARGIN, conclude={"baseline_problem": UNFIT}
    ),
}  # fmt: skip

GOOD: dict[str, Attempt] = {
    "a little better than the last blessed model": Attempt(better_by(0.05), "", (), EVERYTHING, oracle, V3, conclude=CHEAP),
    "the last blessed model again: a tie": Attempt(oracle, "", (), EVERYTHING, oracle, V3, conclude=CHEAP),
    "worse by less than the margin": Attempt(worse_by(0.2), "", (), EVERYTHING, oracle, V3, conclude=CHEAP),
    "mostly better, worse on one song": Attempt(
        by_song(lambda n: worse_by(0.4) if n == 0 else better_by(0.1)), "", (), EVERYTHING, oracle, V3, conclude=CHEAP
    ),
    "much better than a silent last blessed model": Attempt(
        oracle, "", (), EVERYTHING, each(np.zeros_like), V3, conclude=CHEAP
    ),
    "a last blessed model that cannot be judged and is not needed": Attempt(
        oracle, gate=at_least(4.0), conclude={"baseline_problem": UNFIT}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_refused_for_the_right_reason(name: str) -> None:
    assert_refused(BAD[name])


@pytest.mark.parametrize("name", GOOD)
def test_passes(name: str) -> None:
    assert_passes(GOOD[name])
