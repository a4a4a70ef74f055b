"""What a gate cannot decide, told before a training: sentences about a test split that is too small."""

import pytest

from pipeline.config.gate import GateConfig, Threshold
from pipeline.evaluation.gate import outlook, power

MARGIN = Threshold("vocals", "v3/SDR", -0.3, over="baseline")
BY_SINGER = Threshold("vocals", "v3/SDR", -0.3, over="baseline", across="singer")
WORST = Threshold("vocals", "v3/SDR", -1.0, over="baseline", across="worst")
ANCHOR = Threshold("vocals", "v3/SDR", -0.6, over="anchor")
FLOOR = Threshold("vocals", "v3/SDR", 4.0)


@pytest.mark.parametrize(
    ("thresholds", "tracks", "most", "words"),
    [
        (
            (FLOOR,),
            1,
            None,
            ["the test split has 1 track, and gate.min_tracks asks for 2: every model will be refused"],
        ),
        ((FLOOR, WORST), 2, None, []),
        (
            (FLOOR, MARGIN),
            5,
            None,
            ["the test split has 5 tracks, too few to compare vocals v3/SDR with the last blessed"],
        ),
        ((MARGIN,), 50, 4, ["the test split has 4 tracks, too few"]),
        ((MARGIN,), 6, None, []),
        ((MARGIN, ANCHOR), 5, None, ["compare vocals v3/SDR with the last blessed model and the anchor (gate.paired"]),
        ((BY_SINGER,), 13, None, ["of singer 'b' the test split has 4 tracks, too few to compare vocals v3/SDR"]),
        ((MARGIN,), 1, None, ["every model will be refused", "every retraining will be refused"]),
    ],
)
def test_too_few_tracks(thresholds, tracks: int, most: int | None, words: list[str]) -> None:
    metadata = [{"singer": "b" if index % 3 == 0 and index < 12 else "a"} for index in range(tracks)]
    problems = outlook.undecidable(GateConfig(thresholds), metadata, most)
    assert len(problems) == len(words), problems
    assert all(part in problem for part, problem in zip(words, problems, strict=True))


def test_too_little_power_is_told_with_what_would_be_enough(capsys: pytest.CaptureFixture[str]) -> None:
    gate = GateConfig((MARGIN,))
    weak = power.of_threshold(power.normal(2.0), "mean", -0.3, 20, gate.paired)
    strong = power.of_threshold(power.normal(0.5), "mean", -0.3, 20, gate.paired)
    outlook.tell(gate, [{}] * 20, None, {"vocals v3/SDR": strong})
    assert capsys.readouterr().err == ""
    outlook.tell(gate, [{}] * 20, None, {"vocals v3/SDR": weak})
    said = capsys.readouterr().err
    assert "on 20 tracks an equally good model passes the required -0.30 dB of vocals v3/SDR in " in said
    assert f"{weak.tracks_needed} tracks or a margin of {weak.margin_allowed_db:.2f} dB would give 90%" in said


def test_refuses_where_that_is_asked_for() -> None:
    with pytest.raises(ValueError, match=r"gate.when_undecidable is 'refuse'.*the test split has 5 tracks, too few"):
        outlook.tell(GateConfig((MARGIN,), when_undecidable="refuse"), [{}] * 5)
    outlook.tell(GateConfig((MARGIN,), when_undecidable="refuse"), [{}] * 6)
