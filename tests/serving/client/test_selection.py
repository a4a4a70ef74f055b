"""Which stems are written, and that they add up to the mixture."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from serving.client.selection import Selection
from serving.client.signals import SeparationError

SAMPLES = 10_007


def signal(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((SAMPLES, 2)).astype(np.float32)


def blocks(whole: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """In blocks of any length, empty ones too."""
    return iter(np.split(whole, np.sort(np.random.default_rng(seed).integers(0, SAMPLES, 40))))


def chosen(selection: Selection, targets: tuple[str, ...]) -> dict[str, np.ndarray]:
    stems = {target: signal(number) for number, target in enumerate(targets)}
    cuts = zip(*(blocks(stem, 7) for stem in stems.values()), strict=True)
    separated = (dict(zip(targets, cut, strict=True)) for cut in cuts)
    parts = list(selection.chosen(targets, separated, blocks(signal(99), 8)))
    assert all(tuple(part) == selection.names(targets) for part in parts)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@pytest.mark.parametrize(
    ("targets", "names", "home"),
    [
        (("accompaniment", "vocals"), ("accompaniment", "vocals"), "accompaniment"),
        (("bass", "drums", "other", "vocals"), ("bass", "drums", "other", "vocals"), "other"),
        (("accompaniment", "other"), ("accompaniment", "other"), "accompaniment"),
        (("bass", "vocals"), ("bass", "vocals", "residual"), "residual"),
        (("residual", "vocals"), ("residual", "vocals"), "residual"),
        (("vocals",), ("vocals", "residual"), "residual"),
    ],
)
def test_the_stems_sum_to_the_mixture_and_one_alone_is_changed_for_it(targets, names, home) -> None:
    stems = chosen(Selection(), targets)
    assert tuple(stems) == names
    np.testing.assert_allclose(sum(stem.astype(np.float64) for stem in stems.values()), signal(99), rtol=0, atol=1e-6)
    for number, target in enumerate(targets):
        assert (stems[target] == signal(number)).all() == (target != home)
    for target in targets:
        two = chosen(Selection(two_stems=target), targets)
        assert tuple(two) == (target, f"no_{target}")
        np.testing.assert_array_equal(two[target], stems[target])
        np.testing.assert_allclose(two[target].astype(np.float64) + two[f"no_{target}"], signal(99), rtol=0, atol=1e-6)
        np.testing.assert_array_equal(chosen(Selection((target,)), targets)[target], stems[target])


def test_without_residual_the_stems_are_the_models() -> None:
    targets = ("bass", "drums", "vocals")
    plain = chosen(Selection(residual=False), targets)
    assert all((plain[target] == signal(number)).all() for number, target in enumerate(targets))
    two = chosen(Selection(two_stems="vocals", residual=False), targets)
    np.testing.assert_allclose(two["no_vocals"], signal(0) + signal(1), atol=1e-6)


def test_the_order_is_the_one_asked_for() -> None:
    assert Selection(("vocals", "bass")).names(("bass", "drums", "vocals")) == ("vocals", "bass")
    assert Selection(("residual",)).names(("bass", "vocals")) == ("residual",)


@pytest.mark.parametrize(
    ("selection", "targets", "words"),
    [
        (Selection(("drums",)), ("accompaniment", "vocals"), "no stem 'drums'; it has accompaniment, vocals"),
        (Selection(two_stems="no_vocals"), ("accompaniment", "vocals"), "no stem 'no_vocals'"),
        (Selection(("residual",)), ("accompaniment", "vocals"), "no stem 'residual'"),
        (Selection(("residual",), residual=False), ("bass", "vocals"), "no stem 'residual'"),
        (Selection(two_stems="vocals", residual=False), ("vocals",), "the stem 'vocals' alone"),
    ],
)
def test_a_stem_that_there_is_not_is_refused(selection, targets, words) -> None:
    with pytest.raises(SeparationError, match=words):
        selection.names(targets)


def test_a_mixture_that_ends_early_is_told() -> None:
    cut = iter([signal(0)[:100]])
    with pytest.raises(SeparationError, match="fewer samples than when it was first read"):
        list(Selection().chosen(("accompaniment",), [{"accompaniment": signal(0)}], cut))
