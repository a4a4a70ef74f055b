"""A study's file: which trainings follow from it, in which order, and what is refused before anything runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from models.checked import ConfigError
from pipeline.config.config import load, recipe_names
from pipeline.studies import run, study
from pipeline.studies.study import Planned, plan, read

STEMLINE = str(Path(sys.executable).with_name("stemline"))


def written(directory: Path, text: str) -> str:
    file = directory / "mine.yaml"
    file.write_text(text)
    return str(file)


def planned(directory: Path, text: str) -> list[Planned]:
    return plan(read(written(directory, text)), load)


# --- which trainings -------------------------------------------------------------------------------------------------


def test_a_study_is_recipes_times_overrides_times_seeds_seed_by_seed(tmp_path: Path) -> None:
    text = """
recipes: [drnn_mir1k, {name: wide, recipe: drnn_mir1k, set: {model.sizes.units: 1200}}]
overrides: {csdr: {}, slow: {train.loss: mse, train.learning_rate: 0.00001}}
seeds: [3, 4]
cpu_minutes: 7
set: {train.batch: 5}
"""
    found = planned(tmp_path, text)
    variants = ["drnn, csdr", "drnn, slow", "wide, csdr", "wide, slow"]
    assert [(each.variant, each.seed) for each in found] == [(name, seed) for seed in (3, 4) for name in variants]
    for each in found:
        train, wide, slow = each.config.train, "wide" in each.variant, "slow" in each.variant
        assert (train.cpu_minutes, train.batch, train.seed) == (7, 5, each.seed)
        assert each.config.model.sizes["units"] == (1200 if wide else 1000)
        assert (train.loss, train.learning_rate) == (("mse", 1e-5) if slow else ("csdr", 5e-4))
        assert each.config.evaluate.metrics == ("v3",)
        assert (each.series, each.point) == tuple(each.variant.split(", "))
    assert len({each.config.name for each in found}) == 8
    assert found[-1].changes == "{model.sizes.units: 1200, train.loss: mse, train.learning_rate: 1.0e-05}"


def test_an_override_alone_names_the_variants_of_one_recipe(tmp_path: Path) -> None:
    found = planned(tmp_path, "recipes: [demo]\noverrides: {L1: {train.loss: l1}, 2: {train.loss: mse}}\n")
    assert [each.variant for each in found] == ["L1", "2"]


def test_a_teacher_comes_first_joins_unasked_and_is_that_of_the_same_override_and_seed(tmp_path: Path) -> None:
    found = planned(
        tmp_path, "recipes: [or_unet_df_mir1k, drnn_mir1k]\nseeds: [0, 1]\noverrides: {a: {}, b: {train.batch: 2}}\n"
    )
    of = {(each.variant, each.seed): each for each in found}
    assert len(found) == 12
    for (variant, seed), each in of.items():
        if variant.startswith("or_unet_df"):
            teacher = of[variant.replace("or_unet_df", "unet"), seed]
            assert each.config.train.teacher == teacher.config.name
            assert found.index(teacher) < found.index(each)


def test_a_teacher_that_joins_is_not_what_others_are_compared_with(tmp_path: Path) -> None:
    file = written(tmp_path, "recipes: [or_unet_df_mir1k]\noverrides: {a: {}, b: {train.batch: 2}}\n")
    found = plan(read(file), load)
    assert [each.variant for each in found] == ["unet, a", "a", "unet, b", "b"]
    assert study.compared_with(read(file), found).variant == "a"


def test_the_leaderboard_is_every_mir1k_recipe_without_a_bar(tmp_path: Path) -> None:
    found = plan(read("leaderboard"), load)
    names = {each.recipe for each in found}
    assert names == {name for name in recipe_names() if name.endswith("_mir1k")}
    assert all(not each.config.gate.thresholds and each.config.train.cpu_minutes == 30 for each in found)
    asked = plan(read("leaderboard", study.systems_of(["drnn", "dnn", "drnn"])), load)
    assert [each.variant for each in asked] == ["drnn", "dnn"]
    with pytest.raises(ConfigError, match="unknown system 'drn'; did you mean 'd"):
        study.systems_of(["drn"])


def test_a_recipe_file_lies_beside_its_study(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("extends: demo\n")
    assert [each.variant for each in planned(tmp_path, "recipes: [own.yaml]")] == ["own"]


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[a]", "mine.yaml holds list; legal: a mapping with the key recipes"),
        ("recipes: [", "mine.yaml is not YAML"),
        ("seeds: [1]", "mine.yaml: recipes is missing"),
        ("recipes: [demo]\nsed: [1]", "mine.yaml: unknown key 'sed'; did you mean 'seeds'?"),
        ("recipes: [{recipe: demo, sett: {}}]", "mine.yaml: unknown key 'recipes.0.sett'; did you mean 'set'?"),
        ("recipes: [demo]\nname: a/b", "mine.yaml: name is 'a/b'; legal: letters, digits, spaces and . _ + -"),
        ("recipes: [demo]\nseeds: []", "mine.yaml: seeds is []; legal: "),
        ("recipes: [demo]\nseeds: [-1]", "mine.yaml: seeds.0 is -1; legal: a whole number of at least 0"),
        ("recipes: [demo]\ncpu_minutes: 0", "mine.yaml: cpu_minutes is 0; legal: a number above 0"),
        ("recipes: [demo]\nplots: [boxs]", "mine.yaml: plots.0 is 'boxs'; did you mean 'boxes'?"),
        ("recipes: [drn_mir1k]", "mine.yaml: recipes: unknown recipe 'drn_mir1k'; did you mean 'drnn_mir1k'?"),
        ("recipes: ['*_mir2k']", "which no recipe is called by; did you mean"),
        ("recipes: [demo, demo]", "mine.yaml: recipes has 'demo' twice"),
        ("recipes: [demo]\nset: {train.los: l1}", "mine.yaml: set: unknown key 'train.los'; did you mean 'loss'?"),
        ("recipes: [demo]\noverrides: {L1: {train.batch: 0}}", "mine.yaml: overrides.L1: train.batch is 0; legal: a whole"),
        ("recipes: [{name: x, recipe: demo, set: {a: 1}}]", "mine.yaml: recipes.x: unknown key 'a'"),
        ("recipes: [demo]\nset: {train.seed: 1}", "mine.yaml: set has train.seed, which the study's own key seeds says"),
        ("recipes: [demo]\ntarget: vocal", "mine.yaml: target is 'vocal'; did you mean 'vocals'?"),
        (
            "recipes: [demo]\noverrides: {a: {}, b: {data.segment_seconds: 5}}",
            "mine.yaml: data.segment_seconds of b is 5.0, of a 10.0",
        ),
        (
            "recipes: [demo]\noverrides: {aa: {}, bb: {}}\nclaims: [{says: more, better: ab, than: bb}]",
            "claims.0.better is 'ab'; did you mean 'bb'? legal: aa, bb",
        ),
        ("recipes: [demo]\nclaims: [{says: more, better: demo}]", "mine.yaml: claims.0.than is missing"),
        ("recipes: [demo]\noverrides: {a b: {}, a-b: {}}", "mine.yaml: a b, a-b differ in signs alone"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_its_key_and_what_is_legal(tmp_path: Path, text: str, words: str) -> None:
    from typer.testing import CliRunner

    from pipeline.cli.main import app

    done = CliRunner().invoke(app, ["study", written(tmp_path, text), "--workdir", str(tmp_path / "runs")])
    assert isinstance(done.exception, ConfigError), done.output
    assert words in str(done.exception)
    assert "\n" not in str(done.exception)
    assert not (tmp_path / "runs").exists()


def test_recipes_that_teach_each_other_are_refused(tmp_path: Path) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        (tmp_path / f"{name}.yaml").write_text(f"extends: demo\ntrain: {{loss: deep_features, teacher: {other}}}\n")
    with pytest.raises(ConfigError, match="recipes teach each other: a -> b -> a"):
        planned(tmp_path, "recipes: [a.yaml, b.yaml]")


def test_the_command_says_it_in_one_sentence(tmp_path: Path) -> None:
    file = written(tmp_path, "recipes: [demo]\noverrides: {L1: {train.los: l1}}\n")
    for args, words in (
        ([file], "overrides.L1: unknown key 'train.los'"),
        (["leaderbord"], "did you mean 'leaderboard'?"),
    ):
        done = subprocess.run([STEMLINE, "study", *args], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (2, "")
        begun, last = done.stderr.splitlines()
        assert begun == f"reading study {args[0]} and what is in runs"
        assert last.startswith("stemline: ")
        assert words in last


@pytest.mark.parametrize("name", study.shipped())
def test_what_ships_can_be_planned_and_lets_every_variant_have_its_score(name: str) -> None:
    for each in plan(read(name), load):
        assert (each.config.gate.thresholds, each.config.gate.better_than_mixture) == ((), False)


@pytest.mark.parametrize("name", ["doire", "grais"])
def test_what_a_paper_compares_is_trained_once_for_it_and_the_leaderboard(name: str) -> None:
    ours, leaderboard = (
        {*run.fingerprints(plan(read(each), load), "tracks").values()} for each in (name, "leaderboard")
    )
    assert ours < leaderboard
