"""What a study says: figures over seeds and clip by clip, its JSON, its page and its plots."""

from __future__ import annotations

import itertools
import json
import re

import numpy as np
import pytest
import scipy.stats
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox
from study_results import CLIPS, result, trial

from pipeline.studies import page, plots, statistics
from pipeline.studies.result import Result, Trial
from pipeline.studies.study import Claim

FAILED = trial("c", None, problem="its teacher b failed")
CROWD = result(
    *(trial(f"system_{i}", 6 + 0.07 * (i // 2), i, latency_ms=64.0 if i % 5 == 0 else None) for i in range(14))
)
SEEDED = result(*(trial(name, db + 0.1 * seed, place, seed) for seed in (0, 2) for place, (name, db) in enumerate((("a", 6.0), ("b", 7.0)))))  # fmt: skip


def rows(text: str, number: int = 0) -> list[list[str]]:
    """A table of a page in Markdown."""
    lines = [*re.finditer(r"(?:^\|.*\n)+", text, re.MULTILINE)][number][0].splitlines()
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


# --- statistics ------------------------------------------------------------------------------------------------------


def test_figures_are_means_and_deviations_over_seeds() -> None:
    best, other = statistics.variants(SEEDED)
    assert (best.name, len(best.trials)) == ("b", 2)
    assert best.scores["v3/GNSDR"].mean == pytest.approx(7.1)
    assert best.scores["v3/GNSDR"].deviation == pytest.approx(0.2 / np.sqrt(2))
    assert best.scores["accompaniment/v3/GNSDR"].mean == -1
    assert other.against is None
    [alone] = statistics.variants(result(trial("alone", 7.0)))
    assert alone.scores["v3/GNSDR"].deviation is None


def test_differences_are_paired_clip_by_clip_over_seeds() -> None:
    found = statistics.variants(SEEDED)[0].against
    a, b = (statistics.by_clip([t for t in SEEDED.trials if t.variant == name], "v3/GNSDR") for name in "ab")
    assert a == pytest.approx(6.1 + np.linspace(-1, 1, CLIPS))
    assert found is not None
    assert found.average == pytest.approx(np.mean(b - a), abs=1e-6)
    assert found.low < found.average < found.high
    assert (found.better, found.clips) == (CLIPS, CLIPS)
    assert found.p == pytest.approx(scipy.stats.wilcoxon(b, a).pvalue)
    assert found.p < 0.001


def test_singers_widen_the_interval_and_equal_variants_have_no_p() -> None:
    groups = tuple(f"singer {i // 2}" for i in range(CLIPS))
    both = trial("a", 6.0), trial("b", 7.0, 1)
    alone, grouped = (statistics.variants(result(*both, groups=each))[0].against for each in ((), groups))
    assert grouped.high - grouped.low > alone.high - alone.low
    same = statistics.variants(result(trial("a", 6.0), trial("b", 6.0)))[1].against
    assert (same.average, same.p) == (0.0, None)


def test_a_clip_without_a_score_is_left_out_and_no_clips_are_no_difference() -> None:
    a = trial("a", 6.0)
    a.clips["v3/GNSDR"][0] = None
    assert statistics.variants(result(a, trial("b", 7.0)))[0].against.clips == CLIPS - 1
    assert statistics.variants(result(trial("a", 6.0, clips={}), trial("b", 7.0)))[0].against is None


# --- JSON ------------------------------------------------------------------------------------------------------------


def test_a_result_survives_text() -> None:
    for each in (CROWD, SEEDED, result(), result(FAILED)):
        told = Result.from_json(each.to_json(variants=[]))
        assert json.loads(told.to_json()) == json.loads(each.to_json())
        assert told.finished == Result.from_json(told.to_json()).finished
    with pytest.raises(ValueError, match="no study"):
        Result.from_json('{"entries": []}')


def test_the_leaderboard_ships() -> None:
    shipped = Result.shipped()
    assert len(shipped.finished) == 14
    assert statistics.variants(shipped)[0].name == "ffn"


# --- page ------------------------------------------------------------------------------------------------------------


def test_the_page_is_sorted_and_says_how_it_came_about() -> None:
    shown = result(trial("a", 6.5), trial("b", 7.5, 1, latency_ms=64.0, changes="{train.loss: l1}"), FAILED)
    text = page.markdown(shown, plots.draw(shown))
    head, _, *found = rows(text)
    assert [row[0] for row in found] == ["*oracle: ideal ratio mask*", "**b**", "**a**", "*mixture (no separation)*"]
    assert {len(row) for row in found} == {len(head)}
    b = dict(zip(head, found[1], strict=True))
    assert b["paper"] == "Grais & Plumbley, GlobalSIP 2017"
    assert (b["online"], b["latency [ms]"], b["parameters"]) == ("yes", "64", "1,000,001")
    assert (b["vocals GNSDR"], b["GSAR"], b["accompaniment GNSDR"]) == ("7.50", "9.50", "−1.00")
    assert (b["CPU min"], b["steps"], b["real-time factor"]) == ("10.0", "1,200", "0.0100")
    assert (b["p"], b["published"]) == ("< 0.001", "7.27 / 11.98")
    assert re.fullmatch(r"\+1\.00 \[\+0\.\d\d, \+1\.\d\d\]", b["GNSDR − a [95 %]"])
    assert "seeds" not in head
    for word in (
        *("stemline study mine.yaml --data MIR-1K", "2026-11-20", "a cpu with AMX", "12 clips", "to choose by", "Seeds: 0."),
        *("BSS Eval v3", "weighted", "{train.batch: 3}", "**b**: `b_mir1k` with `{train.loss: l1}`", "10 CPU minutes"),
        *("- `c`, seed 0: its teacher b failed", "![", "mine-boxes.svg"),
    ):  # fmt: skip
        assert word in text
    told = page.html(shown, plots.draw(shown))
    for word in ("−1.00", "its teacher b failed", "10 CPU minutes", "a cpu with AMX", "train.loss: l1"):
        assert word in told
    assert told.count("<svg") == 3
    assert "src=" not in told


def test_seeds_are_told_and_every_pair_is_tested() -> None:
    assert [row[6] for row in rows(page.markdown(SEEDED, []))[3:5]] == ["2", "2"]
    assert rows(page.markdown(SEEDED, []))[3][7] == "7.10 ± 0.14"
    three = result(trial("a", 6.0), trial("b", 7.0, 1), trial("c", 6.2, 2))
    head, _, *found = rows(page.markdown(three, []), 1)
    assert head == ["pair", "GNSDR", "p", "GSIR", "p", "GSAR", "p"]
    assert [row[0] for row in found] == ["c − b", "a − b", "a − c"]
    a, c = (np.array(each.clips["v3/GNSDR"]) for each in (three.trials[0], three.trials[2]))
    p = min(1.0, 3 * scipy.stats.wilcoxon(a, c).pvalue)
    assert found[2][1:3] == ["−0.20", f"{p:.3f}"]


def test_a_claim_holds_does_not_hold_or_is_not_shown() -> None:
    told = [
        *(
            ("is better", "b", "a", "SDR", 0.0),
            ("is worse", "a", "b", "SIR", 0.0),
            ("is as good", "a", "c", "SAR", -0.9),
        ),
        *(("is better by far", "b", "a", "SDR", 1.0), ("is none", "d", "a", "SDR", 0.0)),
    ]
    claims = tuple(Claim(*each) for each in told)
    shown = result(trial("a", 6.0), trial("b", 7.0, 1), trial("c", 6.2, 2), trial("d", None), claims=claims)
    answers = ["holds", "does not hold", "holds", "not shown", "not shown"]
    assert [answer for _, answer in statistics.answers(shown)] == answers
    head, _, *found = rows(page.markdown(shown, []))
    assert [row[-1] for row in found] == [f"**{each}**" for each in answers]
    by_head = [dict(zip(head, row, strict=True)) for row in found]
    assert [row["claim"] for row in by_head] == [claim.says for claim in claims]
    assert (by_head[2]["figure"], by_head[2]["claimed [dB]"]) == ("GSAR of a − c", "> −0.9")
    assert by_head[2]["found [95 %]"].startswith("−0.20 [")
    assert by_head[4]["found [95 %]"] == "–"
    assert "is better by far" in page.html(shown, [])
    assert Result.from_json(shown.to_json()).claims == claims


def test_a_result_of_the_version_that_knew_no_claims_is_read() -> None:
    old = json.loads(SEEDED.to_json())
    del old["claims"]
    assert Result.from_json(json.dumps(old)).to_json() == SEEDED.to_json()


def test_an_empty_study_has_a_page() -> None:
    assert "Mine" in page.markdown(result(), plots.draw(result()))


# --- plots -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shown", [CROWD, result(trial("alone", 7.0)), result()], ids=["crowd", "one", "none"])
def test_every_system_is_labelled_once_a_panel_and_no_label_covers_another(shown: Result) -> None:
    figure = plots.costs(shown)
    renderer = FigureCanvasAgg(figure).get_renderer()
    for axes in figure.axes:
        boxes = [text.get_window_extent(renderer) for text in axes.texts]
        assert sorted(text.get_text() for text in axes.texts) == sorted(each.variant for each in shown.trials)
        assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
        inside = axes.bbox.padded(1)
        assert all(Bbox.intersection(box, inside).bounds == pytest.approx(box.bounds) for box in boxes)


def test_boxes_are_of_the_clips_with_the_best_on_top() -> None:
    [axes] = plots.boxes(SEEDED).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "a"]
    assert axes.yaxis_inverted()
    assert plots.boxes(result(trial("a", 6.0, clips={}))) is None


def test_curves_have_a_panel_for_every_loss_and_a_line_for_every_training() -> None:
    first, second = plots.curves(result(*SEEDED.trials, trial("d", 5.0, loss="mse"))).axes
    assert (len(first.lines), len(second.lines)) == (4, 1)
    assert [text.get_text() for text in first.get_legend().get_texts()] == ["a", "b"]
    assert first.lines[0].get_xydata().tolist() == [[1.0, -2.0], [2.0, -3.0]]
    assert plots.curves(result(trial("a", 6.0, curve=()))) is None


def depth(series: str, point: str, score: float, seed: int) -> Trial:
    return trial(f"{series}, {point}", score, seed=seed, series=series, point=point)


def test_lines_run_from_override_to_override_through_the_means() -> None:
    deep = [depth(s, str(n), n + 2 * seed, seed) for seed in (0, 1) for s in "pq" for n in (1, 2, 12)]
    [axes] = plots.lines(result(*deep)).axes
    assert [line.get_label() for line in axes.lines] == ["p", "q"]
    assert axes.lines[0].get_xydata().tolist() == [[0, 2], [1, 3], [2, 13]]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "12"]
    assert plots.lines(SEEDED) is None


def test_same_study_same_plots() -> None:
    assert plots.draw(SEEDED) == plots.draw(SEEDED)
    assert [plot.name for plot in plots.draw(SEEDED)] == ["cost", "boxes", "curves"]
