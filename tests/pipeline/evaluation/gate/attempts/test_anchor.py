"""Models that the last blessed one forgives and the anchor does not."""

from __future__ import annotations

import pytest
from attempts.attempt import V3, Attempt, assert_passes, assert_refused
from attempts.models import better_by, by_song, oracle, songs, worse_by

from pipeline.config.gate import GateConfig, Threshold
from pipeline.evaluation.gate.checks import Anchor

VOCALS = (
    Threshold("vocals", "v3/SDR", -0.3, over="baseline"),
    Threshold("vocals", "v3/SDR", -0.6, over="anchor"),
)
TWICE = GateConfig(VOCALS)
BY_SINGER = GateConfig((VOCALS[0], Threshold("vocals", "v3/SDR", -0.6, over="anchor", across="singer")))
EVERY_SONG = GateConfig((VOCALS[0], Threshold("vocals", "v3/SDR", -1.0, over="anchor", across="worst")))
SAME = {"anchor": Anchor("baseline", "the anchor is the last blessed model")}
UNFIT = (
    "the anchor, the model that was pinned on 2026-11-20, cannot be judged on these tracks: the mixtures have 8000 Hz"
)

BAD: dict[str, Attempt] = {
    "a fourth step of 0.22 dB down": Attempt(
        worse_by(0.88), "anchor", ["over the anchor (", "better on 0 of 8 tracks"], TWICE, worse_by(0.66), V3, anchor=oracle
    ),
    "as good as a last blessed model that has sunk": Attempt(
        worse_by(1.5), "anchor", ["over the anchor ("], TWICE, worse_by(1.5), V3, anchor=oracle
    ),
    "better than a last blessed model that has sunk, and not enough": Attempt(
        worse_by(1.2), "anchor", ["over the anchor ("], TWICE, worse_by(1.5), V3, anchor=oracle
    ),
    "sunk on the songs of one singer": Attempt(
        by_song(lambda n: worse_by(2.0) if n > 5 else better_by(0.1)),
        "group",
        ["singer 'eve'", "over the anchor ("],
        BY_SINGER,
        by_song(lambda n: worse_by(1.9) if n > 5 else oracle),
        V3,
        lambda: songs(24),
        anchor=oracle,
    ),
    "sunk on one song": Attempt(
        by_song(lambda n: worse_by(2.0) if n == 2 else better_by(0.1)),
        "worst track",
        ["over the anchor misses the required -1.00 dB on 1 of 8 tracks: 'song-2' (-1.9"],
        EVERY_SONG,
        by_song(lambda n: worse_by(1.9) if n == 2 else oracle),
        V3,
        anchor=oracle,
    ),
    "worse than a last blessed model that is the anchor": Attempt(
        worse_by(0.7),
        "anchor",
        ["over the anchor ("],
        GateConfig(VOCALS[1:]),
        oracle,
        metrics=V3,
        conclude=SAME,
    ),
    "an anchor that was pinned and cannot be judged": Attempt(
        oracle, "anchor", [UNFIT], TWICE, oracle, metrics=V3, conclude={"anchor": Anchor("anchor", "", UNFIT)}
    ),
    "a last blessed model that is the anchor and cannot be judged": Attempt(
        oracle, "baseline", ["no figures"], GateConfig(VOCALS[1:]), metrics=V3, conclude={**SAME, "baseline_problem": "no figures"}
    ),
}  # fmt: skip

GOOD: dict[str, Attempt] = {
    "the first model: there is no anchor": Attempt(oracle, gate=TWICE, metrics=V3),
    "as good as the anchor, above a last blessed model that has sunk": Attempt(
        oracle, "", (), TWICE, worse_by(0.4), V3, anchor=oracle
    ),
    "two steps of 0.22 dB down": Attempt(worse_by(0.44), "", (), TWICE, worse_by(0.22), V3, anchor=oracle),
    "the last blessed model is the anchor": Attempt(worse_by(0.2), "", (), TWICE, oracle, metrics=V3, conclude=SAME),
    "the anchor again": Attempt(oracle, "", (), TWICE, worse_by(0.2), V3, anchor=oracle),
}


@pytest.mark.parametrize("name", BAD)
def test_refused_for_the_right_reason(name: str) -> None:
    assert_refused(BAD[name])


@pytest.mark.parametrize("name", GOOD)
def test_passes(name: str) -> None:
    assert_passes(GOOD[name])
