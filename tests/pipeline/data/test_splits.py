"""Splits that are drawn: none empty by chance, none with a part of a group, and the same on every machine."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest

from pipeline.data.datasets import splits
from pipeline.data.datasets.track import SPLITS, TrackRef


def refs(count: int, **metadata: str) -> list[TrackRef]:
    return [TrackRef(f"song {index}", "train", metadata=metadata) for index in range(count)]


def drawn(given: list[TrackRef], **options: object) -> dict[str, str]:
    return {ref.name: ref.split for ref in splits.drawn(given, {**splits.OPTIONS, **options})}


@pytest.mark.parametrize("count", range(3, 30))
def test_no_split_of_three_tracks_or_more_is_empty(count: int) -> None:
    assert set(drawn(refs(count)).values()) == set(SPLITS)
    assert "test" not in drawn(refs(count), test_fraction=0).values()
    assert drawn(refs(count)) == drawn(random.Random(count).sample(refs(count), count))


def test_only_a_split_that_would_be_empty_moves_a_track() -> None:
    for count in range(3, 200):
        hashed = {ref.name: splits.by_hash(ref.name, 0.1, 0.1) for ref in refs(count)}
        moved = [name for name, split in drawn(refs(count)).items() if split != hashed[name]]
        assert len(moved) == len(set(SPLITS) - set(hashed.values()))


def test_two_tracks_stay_where_their_hashes_are() -> None:
    assert drawn(refs(2)) == {ref.name: splits.by_hash(ref.name, 0.1, 0.1) for ref in refs(2)}


def test_groups_are_never_divided() -> None:
    rng = random.Random(1)
    given = [
        TrackRef(f"song {i}", "train", metadata={"artist": f"a{rng.randrange(30)}", "album": f"b{rng.randrange(60)}"})
        for i in range(100)
    ]
    found = drawn(given, group_by=("artist",))
    for artist in {ref.metadata["artist"] for ref in given}:
        assert len({found[ref.name] for ref in given if ref.metadata["artist"] == artist}) == 1
    assert min(Counter(found.values()).values()) > 2


def test_groups_hold_together_by_way_of_others() -> None:
    """One artist in two albums, the second of which has another artist: one group."""
    told = [{"artist": "Ann", "album": "One"}, {"artist": " ANN", "album": "Two"}, {"artist": "Bo", "album": "Two"}]
    given = [TrackRef(f"song {index}", "train", metadata=metadata) for index, metadata in enumerate(told)]
    assert len(set(drawn(given + refs(20)).values())) == 3
    assert len({split for name, split in drawn(given).items()}) == 1


def test_tracks_that_are_known_to_be_bad_fill_no_split() -> None:
    bad = [replace(ref, name=f"bad {index}", reason="gone") for index, ref in enumerate(refs(20))]
    found = drawn([*bad, *refs(3)])
    assert {found[ref.name] for ref in refs(3)} == set(SPLITS)


def test_held_out_tracks_come_from_the_training_split() -> None:
    given = [*refs(10), TrackRef("x", "test")]
    found = {ref.name: ref.split for ref in splits.held_out(given, splits.OPTIONS, ("dev",))}
    assert found["x"] == "test"
    assert sorted(set(found.values())) == ["dev", "test", "train"]


@pytest.mark.parametrize(
    ("name", "artist"),
    [
        ("Ann - One", "Ann"),
        ("051 - AM Contra - Heart Peripheral", "AM Contra"),
        ("01 - One", None),
        ("One", None),
        ("A-Ha - Take - Me", "A-Ha"),
        ("1975 - The - Sound", "The"),
    ],
)
def test_the_artist_of_a_name(name: str, artist: str | None) -> None:
    assert splits.artist(name).get("artist") == artist


def test_choices_are_made_on_a_training_singer_and_no_test_track() -> None:
    given = [
        TrackRef(f"{singer} {split}", split, metadata={"singer": singer})
        for singer, split in (
            ("abjones", "train"),
            ("amy", "train"),
            ("amy", "dev"),
            ("abjones", "dev"),
            ("ariel", "test"),
        )
    ]
    found = splits.chosen_on(given, {"singer": "amy"})
    assert {ref.name: ref.split for ref in found if not ref.skipped} == {
        "abjones train": "train",
        "abjones dev": "dev",
        "amy train": "test",
        "amy dev": "test",
    }
    assert [ref.reason for ref in found if ref.skipped] == [
        "it is a test track, and choices are made on singer amy (data.choose_on)"
    ]
    assert splits.chosen_on(given, {}) == given
    with pytest.raises(ValueError, match=r"data\.choose_on\.singer is 'ami'; of training tracks, did you mean 'amy'"):
        splits.chosen_on(given, {"singer": "ami"})
