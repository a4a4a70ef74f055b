"""Sources of a corpus to targets of a recipe, and what a track without one is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.checked import ConfigError
from pipeline.config.config import DataConfig
from pipeline.data import corpus
from pipeline.data.datasets import sources
from pipeline.data.datasets.loading import load
from pipeline.data.datasets.track import group
from tests.pipeline.data.layouts import corpora
from tests.pipeline.data.layouts.corpora import read

FOUR = {"vocals": ["vocals", "LEAD", "choir"], "drums": ["drums", "perc*"], "bass": ["bass"], "other": ["*"]}


def test_a_source_goes_to_the_target_that_names_it_before_any_pattern() -> None:
    names = ["Lead", "drums", "percussion", "bass", "guitar", "CHOIR"]
    wanted = sources.takes(tuple(FOUR), FOUR, {})
    assert sources.grouped(names, wanted) == {
        "vocals": ["Lead", "CHOIR"],
        "drums": ["drums", "percussion"],
        "bass": ["bass"],
        "other": ["guitar"],
    }


def test_the_recipe_comes_before_the_layout_and_a_name_stands_for_itself() -> None:
    layout = {"vocals": ("singer",), "bass": ("double bass",)}
    assert sources.takes(("vocals", "bass", "drums"), {"vocals": ["lead"]}, layout) == {
        "vocals": ("lead",),
        "bass": ("double bass",),
        "drums": ("drums",),
    }


def song(root: Path, name: str, *stems: str) -> dict[str, np.ndarray]:
    return {stem: corpora.write(root / name / f"{stem}.wav") for stem in stems}


def listed(root: Path, **given: object) -> dict:
    data = DataConfig(path=str(root), format="folder", **given)  # type: ignore[arg-type]
    return {ref.name: ref for ref in corpus.listed(data)}


def test_sources_are_summed_and_the_rest_is_the_accompaniment(tmp_path: Path) -> None:
    stems = song(tmp_path, "a", "lead", "choir", "drums", "bass")
    ref = listed(tmp_path, sources={"vocals": ["vocals", "lead", "choir"]})["a"]
    track = group(load(ref), ("vocals", "accompaniment"))
    assert np.abs(track.stems["vocals"] - stems["lead"] - stems["choir"]).max() < 1e-6
    assert np.abs(track.stems["accompaniment"] - stems["bass"] - stems["drums"]).max() < 1e-6


@pytest.mark.parametrize("missing", ["bad", "skip", "silence"])
def test_a_track_without_a_stem_is_bad_or_left_out_or_silent_there(tmp_path: Path, missing: str) -> None:
    song(tmp_path, "a", "vocals", "drums", "bass", "other")
    stems = song(tmp_path, "b", "vocals", "drums", "other")
    targets = ("vocals", "drums", "bass", "other")
    ref = listed(tmp_path, targets=targets, missing_stem=missing)["b"]
    if missing == "skip":
        assert (ref.reason, ref.skipped) == ("it has no stem for bass (stems: drums, other, vocals)", True)
        return
    if missing == "bad":
        with pytest.raises(ValueError, match="it has no stem for bass"):
            group(load(ref), targets)
        return
    track = group(load(ref), targets)
    assert not track.stems["bass"].any()
    assert track.stems["bass"].shape == track.mixture.shape
    assert np.abs(track.mixture - sum(stems.values())).max() < 1e-6


def test_a_name_that_no_track_has_names_the_nearest(tmp_path: Path) -> None:
    song(tmp_path, "a", "lead vocals", "drums")
    with pytest.raises(
        ValueError, match=r"data\.sources\.vocals is leed vocals, .*; did you mean 'lead vocals'\? legal: drums, l"
    ):
        listed(tmp_path, sources={"vocals": ["leed vocals"]})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"vocal": ["a"]}, "data.sources has 'vocal', which is no target; did you mean 'vocals'?"),
        ({"vocals": ["Lead"], "accompaniment": ["lead"]}, "data.sources has 'lead' for vocals and for accompaniment"),
        ({"vocals": []}, "data.sources.vocals is []"),
        ({"vocals": "lead"}, "data.sources.vocals is 'lead'; legal: a list"),
        (["vocals"], "data.sources is ['vocals']; legal: a mapping"),
    ],
)
def test_a_mapping_that_cannot_be(given: object, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        DataConfig(sources=given)  # type: ignore[arg-type]
    assert str(error.value).startswith(words)


def test_rendered_songs_have_sources_too() -> None:
    options = {"tracks": {"train": 1, "dev": 1, "test": 1}, "seconds": 1}
    data = DataConfig(targets=("vocals", "rhythm", "other"), sources={"rhythm": ["drums", "bass"]}, options=options)
    ref = corpus.discover(data)[0]
    plain = corpus.rendered(ref, DataConfig(options=options))
    track = corpus.rendered(ref, data)
    assert plain
    assert track
    assert np.allclose(track.stems["rhythm"], plain.stems["drums"] + plain.stems["bass"])


def test_a_stem_of_medleydb_that_is_called_for_by_its_instrument(tmp_path: Path) -> None:
    corpora.medleydb(tmp_path)
    data = DataConfig(path=str(tmp_path), targets=("singer", "bass", "other"), sources={"singer": ["*singer"]})
    ref = {ref.name: ref for ref in corpus.listed(data)}["AnnBand_One"]
    where = tmp_path / "Audio" / "AnnBand_One" / "AnnBand_One_STEMS"
    assert np.abs(load(ref).stems["singer"] - read(where / "AnnBand_One_STEM_01.wav")).max() < 1e-6
    assert {Path(source.file).name[-6:-4] for source in ref.stems["other"]} == {"02", "03", "04"}
