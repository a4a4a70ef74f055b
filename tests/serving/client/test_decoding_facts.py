"""What headers say of a file, against what decoding makes of it: of every broken, hostile and unusual file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hostile_files import KINDS, SAMPLES, Kind

from serving.client import decoding
from serving.client.decoding.facts import facts

BAD = [kind for kind in KINDS if kind.reason]
GOOD = [kind for kind in KINDS if not kind.reason]
ONLY_DECODING_TELLS = {
    *("cut_mp3", "mp3_cut_between_frames", "cut_mp3_without_facts", "mp3_with_a_hole", "mp3_that_becomes_mono"),
    *("cut_mkv", "cut_webm", "cut_wma", "cut_ac3", "cut_tta", "cut_aac"),
    *("vorbis_with_a_wrong_byte", "vorbis_without_a_page", "vorbis_whose_position_goes_back", "flac_with_a_wrong_byte"),
    "silent_flac_of_hours",  # it has so many samples, and nothing is wrong with it but the limit
}


@pytest.mark.parametrize("kind", BAD, ids=lambda kind: kind.id)
def test_what_is_bad_is_told_in_the_words_of_decoding(kind: Kind, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    path = kind.make(tmp_path)
    if kind.id in ONLY_DECODING_TELLS:
        assert facts(path)[0].channels in (1, 2)
    else:
        with pytest.raises(decoding.BadFileError, match=kind.reason) as seen:
            facts(path)
        with pytest.raises(decoding.BadFileError) as decoded:
            decoding.read(path)
        assert str(seen.value) == str(decoded.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", GOOD, ids=lambda kind: kind.id)
def test_rate_and_channels_are_true_and_so_is_a_length_that_is_sure(
    kind: Kind, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    path = kind.make(tmp_path)
    [found] = facts(path)
    with decoding.opened(path) as opened:
        assert (found.sample_rate_hz, found.channels) == (opened.sample_rate_hz, opened.channels)
    if kind.id == "chain_of_ogg":  # of one serial number, which RFC 3533 forbids: a walk over its pages would tell
        assert found.samples == SAMPLES
    elif found.sure:
        assert found.samples == kind.samples
    else:
        assert kind.needs_ffmpeg or "mp3" in kind.id, "of the others libsndfile, or their chunks, tell the length"
    assert capfd.readouterr() == ("", "")


def test_every_stream_of_a_file_is_told(tmp_path: Path) -> None:
    from hostile_files import by_ffmpeg

    path = tmp_path / "two.mka"
    path.write_bytes(by_ffmpeg(".mka", "-map", "0:a", "-map", "0:a", "-ac:a:1", "1"))
    assert [each.channels for each in facts(path)] == [2, 1]
