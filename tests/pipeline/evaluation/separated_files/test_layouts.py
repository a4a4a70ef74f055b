"""Layouts of separated files as systems write them; the names are of their own sources, at the versions named.

Matching reads names alone, so the files here are empty.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from pipeline.evaluation.separated_files import finding, matching, targets
from pipeline.evaluation.separated_files.matching import Matched

TRACKS = ("Al James - Schoolboy Facination", "Café: Déjà Vu?", "beta")
STEMS = ("vocals", "drums", "bass", "other", "mixture")
TWO = ("vocals", "accompaniment")
FOUR = ("vocals", "drums", "bass", "other")


def touch(root: Path, names: Iterable[str]) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def matched(tmp_path: Path, estimates: Iterable[str], tracks: Iterable[str] = TRACKS, stems=STEMS) -> Matched:
    references = touch(tmp_path / "references", (f"test/{track}/{stem}.wav" for track in tracks for stem in stems))
    root = touch(tmp_path / "estimates", estimates)
    return matching.match(finding.references(references), root, without=references)


def chosen(tmp_path: Path, found: Matched) -> dict[str, dict[str, str]]:
    """Track -> target -> file below the folder of estimates."""
    references = finding.references(tmp_path / "references")
    names = targets.choose(references.values(), found.files.values())
    return {
        track: {
            target: files.stems[targets.source(files, target, "estimates")]
            .relative_to(tmp_path / "estimates")
            .as_posix()
            for target in names
        }
        for track, files in found.files.items()
    }


def sanitised(track: str) -> str:
    """As audio-separator 0.44.1, audio_separator/separator/common_separator.py, `sanitize_filename`."""
    return re.sub("_+", "_", re.sub(r'[<>:"/\\|?*]', "_", track)).strip("_. ")


def each(pattern: str, stems: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Track -> target -> file of a pattern with {track}, {safe}, {stem} and {number}; stems: target -> what it is called."""
    return {
        track: {
            target: pattern.format(track=track, safe=sanitised(track), stem=stem, number=number)
            for target, stem in stems.items()
        }
        for number, track in enumerate(TRACKS, start=1)
    }


FOUR_STEMS = {name: name for name in FOUR}
NO_VOCALS = {"vocals": "vocals", "accompaniment": "no_vocals"}
SPLEETER = {"vocals": "vocals", "accompaniment": "accompaniment"}
INSTRUMENTAL = {"vocals": "vocals", "accompaniment": "instrumental"}
UVR = {"vocals": "Vocals", "accompaniment": "Instrumental"}

LAYOUTS = {
    # Demucs 4.1.0a3 (adefossez/demucs b9ab48c), demucs/separate.py: out / model / "{track}/{stem}.{ext}".
    "demucs": each("htdemucs/{track}/{stem}.wav", FOUR_STEMS),
    "demucs_two_stems": each("htdemucs_ft/{track}/{stem}.mp3", NO_VOCALS),
    "demucs_minus": each("mdx_extra/{track}/{stem}.flac", {"vocals": "vocals", "accompaniment": "minus_vocals"}),
    "demucs_filename_flat": each("htdemucs/{track}_{stem}.wav", FOUR_STEMS),
    "demucs_filename_stem_first": each("htdemucs/{stem}/{track}.wav", FOUR_STEMS),
    "demucs_filename_dashes": each("htdemucs/{stem} - {track}.wav", NO_VOCALS),
    "demucs_filename_trackext": each("htdemucs/{track}.mp3/{stem}.wav", NO_VOCALS),
    "demucs_of_native_files": each("htdemucs/{track}.stem/{stem}.wav", FOUR_STEMS),
    # Spleeter 2.4.2 (deezer/spleeter 64daa5a), spleeter/separator.py and options.py: "{filename}/{instrument}.{codec}".
    "spleeter": each("{track}/{stem}.wav", SPLEETER),
    "spleeter_m4a": each("{track}/{stem}.m4a", SPLEETER),
    "spleeter_filename_format": each("{stem}/{track}.ogg", SPLEETER),
    "spleeter_filename_format_flat": each("{track}.{stem}.wma", SPLEETER),
    # Open-Unmix 1.3.0 (sigsep/open-unmix-pytorch fb672c9), openunmix/cli.py: outdir / track / target, and without
    # --outdir track_model; openunmix/evaluate.py by musdb 0.4.3, `save_estimates`: subset / track / target.
    "umx": each("{track}/{stem}.wav", FOUR_STEMS),
    "umx_without_outdir": each("{track}_umxl/{stem}.wav", FOUR_STEMS),
    "umx_own_model": each("{track}_my-model/{stem}.wav", {"vocals": "vocals", "accompaniment": "residual"}),
    "umx_residual": each("{track}/{stem}.wav", {"vocals": "vocals", "accompaniment": "residual"}),
    "museval": each("test/{track}/{stem}.wav", SPLEETER),
    # Ultimate Vocal Remover 5.6 (Anjok07/ultimatevocalremovergui 5517e0c), UVR.py: number_track, with the model's
    # name where asked for, before or as folders; separate.py: _(Stem).
    "uvr": each("{number}_{track}_({stem}).wav", UVR),
    "uvr_model_name": each("{number}_{track}_UVR-MDX-NET Inst HQ 3_({stem}).flac", UVR),
    "uvr_model_folder": each("MDX23C/{track}/{number}_{track}_({stem}).mp3", UVR),
    "uvr_testing": each("1700000000_{number}_{track}_({stem}).wav", UVR),
    # audio-separator 0.44.1 (nomadkaraoke/python-audio-separator 0a644db), audio_separator/separator/
    # common_separator.py, `get_stem_output_path`: track_(Stem)_model, all sanitised.
    "audio_separator": each("{safe}_({stem})_UVR-MDX-NET-Inst_HQ_3.flac", UVR),
    "audio_separator_mixtures": each("{safe}/mixture_({stem})_model_bs_roformer.wav", UVR),
    # Music-Source-Separation-Training, inference.py: v1.0.0 to v1.0.13 track_instr, since v1.0.14 track/instr, since
    # v1.0.18 a template; valid.py: track_instr.
    "msst_1_0_9": each("{track}_{stem}.wav", INSTRUMENTAL),
    "msst_1_0_21": each("{track}/{stem}.flac", INSTRUMENTAL),
    "msst_dir_name": each("{track}/mixture_{stem}.flac", INSTRUMENTAL),
    # What happens to names on the way.
    "underscores": each("{safe}/{stem}.wav", SPLEETER),
    "capitals": each("{track}/{stem}.WAV", {"vocals": "Vocals", "accompaniment": "Accompaniment"}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_matched_as_it_comes_out(tmp_path: Path, layout: str) -> None:
    expected = LAYOUTS[layout]
    found = matched(tmp_path, [file for files in expected.values() for file in files.values()])
    assert found.bad == {}
    assert found.unused == ()
    assert chosen(tmp_path, found) == expected


@pytest.mark.parametrize(
    "change",
    [
        lambda name: unicodedata.normalize("NFD", name),
        lambda name: unicodedata.normalize("NFC", name),
        str.upper,
        lambda name: name.replace(" ", "_").replace("?", "").replace(":", ""),
        lambda name: name.replace(" ", "-").lower(),
        lambda name: unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode(),
    ],
    ids=["nfd", "nfc", "capitals", "underscores", "dashes", "ascii"],
)
def test_a_name_changed_on_the_way_is_the_same_track(tmp_path: Path, change) -> None:
    found = matched(tmp_path, [f"{change(track)}/vocals.wav" for track in TRACKS])
    assert sorted(found.files) == sorted(TRACKS)
    assert found.bad == {}


def test_an_instrumental_beside_its_parts_is_judged_only_if_asked_for(tmp_path: Path) -> None:
    """MSST's `--extract_instrumental` of four stems."""
    found = matched(tmp_path, [f"beta/{stem}.wav" for stem in (*FOUR, "instrumental")], tracks=["beta"])
    assert list(chosen(tmp_path, found)["beta"]) == list(FOUR)
    assert targets.source(found.files["beta"], "accompaniment", "estimates") == "instrumental"


def test_other_beside_vocals_alone_asks_for_a_choice(tmp_path: Path) -> None:
    """MSST's two-stem configurations call the accompaniment `other`."""
    found = matched(tmp_path, ["beta/vocals.wav", "beta/other.wav"], tracks=["beta"])
    with pytest.raises(ValueError, match="--targets vocals,accompaniment or --targets vocals,other"):
        chosen(tmp_path, found)
    assert targets.source(found.files["beta"], "accompaniment", "estimates") == "other"
    two = matched(tmp_path / "two", ["beta/vocals.wav", "beta/other.wav"], ["beta"], ["vocals", "accompaniment"])
    assert chosen(tmp_path / "two", two) == {"beta": {"vocals": "beta/vocals.wav", "accompaniment": "beta/other.wav"}}


def test_the_rest_of_another_stem_is_not_judged(tmp_path: Path) -> None:
    """Demucs with `--two-stems drums`."""
    found = matched(tmp_path, ["htdemucs/beta/drums.wav", "htdemucs/beta/no_drums.wav"], tracks=["beta"])
    assert chosen(tmp_path, found) == {"beta": {"drums": "htdemucs/beta/drums.wav"}}


@pytest.mark.parametrize(
    ("files", "candidates"),
    [
        (["htdemucs/beta/vocals.wav", "mdx/beta/vocals.wav"], ["htdemucs/beta/vocals.wav", "mdx/beta/vocals.wav"]),
        (["beta/vocals.wav", "beta/vocals.mp3"], ["beta/vocals.mp3", "beta/vocals.wav"]),
        (["beta_(Vocals)_a.wav", "beta_(Vocals)_b.wav"], ["beta_(Vocals)_a.wav", "beta_(Vocals)_b.wav"]),
        (["Beta/vocals.wav", "beta/vocals.wav"], ["Beta/vocals.wav", "beta/vocals.wav"]),
    ],
    ids=["models", "suffixes", "models_flat", "spellings"],
)
def test_two_files_for_one_stem_are_refused_by_their_names(
    tmp_path: Path, files: list[str], candidates: list[str]
) -> None:
    found = matched(tmp_path, files, tracks=["beta"])
    with pytest.raises(ValueError, match="its vocals may be") as raised:
        targets.source(found.files["beta"], "vocals", "estimates")
    assert all(candidate in str(raised.value) for candidate in candidates)


def test_an_accompaniment_by_two_names_is_refused(tmp_path: Path) -> None:
    found = matched(tmp_path, ["beta/vocals.wav", "beta/no_vocals.wav", "beta/instrumental.wav"], tracks=["beta"])
    with pytest.raises(ValueError, match=r"accompaniment may be instrumental\.wav or no_vocals\.wav"):
        targets.source(found.files["beta"], "accompaniment", "estimates")


def test_references_alike_in_all_but_separators_are_told_apart_or_refused(tmp_path: Path) -> None:
    found = matched(tmp_path, ["A-B/vocals.wav", "A B/vocals.wav"], tracks=["A-B", "A B"])
    assert sorted(found.files) == ["A B", "A-B"]
    found = matched(tmp_path / "more", ["a_b/vocals.wav"], tracks=["A-B", "A B"])
    assert found.files == {}
    assert found.bad["A-B"] == "a_b/vocals.wav may be vocals of 'A B' or vocals of 'A-B'"


@pytest.mark.parametrize(
    ("tracks", "file", "track", "stem"),
    [
        (["Drums"], "Drums/vocals.wav", "Drums", "vocals"),
        (["Drums", "beta"], "1_Drums_(Vocals).wav", "Drums", "vocals"),
        (["7 Years", "37 Years"], "3_7_Years_(Vocals).wav", "7 Years", "vocals"),
        (["1_beta", "beta"], "1_beta_(Vocals).wav", "1_beta", "vocals"),
        (["Song", "Song Remix"], "Song_Remix_umxl/vocals.wav", "Song Remix", "vocals"),
        (["Song", "Song (Live)"], "2_Song (Live)_(Instrumental).wav", "Song (Live)", "instrumental"),
        (["No Vocals", "beta"], "No Vocals/vocals.wav", "No Vocals", "vocals"),
        (["Ärger", "Arger"], "Ärger/vocals.wav", "Ärger", "vocals"),
        (["東京", "beta"], "東京_(Vocals)_model.wav", "東京", "vocals"),
        (["???", "!!!"], "???/vocals.wav", "???", "vocals"),
    ],
    ids=["stem", "stem_numbered", "number", "own_number", "longest", "brackets", "rest", "accent", "cjk", "signs"],
)
def test_names_that_invite_mistakes(tmp_path: Path, tracks: list[str], file: str, track: str, stem: str) -> None:
    found = matched(tmp_path, [file], tracks=tracks)
    assert {name: list(files.stems) for name, files in found.files.items()} == {track: [stem]}


@pytest.mark.parametrize(
    "file",
    [
        "beta Remix/vocals.wav",
        "beta_live_(Vocals).wav",
        "beta_(Vocals)_a_(Instrumental)_b.wav",
        "alphabeta/vocals.wav",
        "1_2_beta_vocals.wav",
        "???/vocals.wav",
    ],
)
def test_what_is_of_no_reference_is_matched_with_none(tmp_path: Path, file: str) -> None:
    found = matched(tmp_path, [file, "Café: Déjà Vu?/vocals.wav"])
    assert list(found.files) == ["Café: Déjà Vu?"]
    assert list(found.bad.values()) == ["it has estimates but no reference"]


@pytest.mark.parametrize(
    "file", ["beta/lead_vocals.wav", "beta/vocals (1).wav", "1_beta_(Vocals_lead_only).wav", "beta.wav"]
)
def test_a_file_without_a_stem_is_not_used_and_told(tmp_path: Path, file: str) -> None:
    found = matched(tmp_path, [file, "beta/vocals.wav"])
    assert list(found.files["beta"].stems) == ["vocals"]
    assert [path.relative_to(tmp_path / "estimates").as_posix() for path in found.unused] == [file]


LITTER = {
    "__MACOSX/beta/._vocals.wav": "macOS",
    "beta/._vocals.wav": "macOS",
    "beta/.DS_Store": "macOS",
    "beta/Thumbs.db": "Windows",
    "desktop.ini": "Windows",
    "beta/drums.wav.part": "unfinished",
    "beta/bass.wav.crdownload": "unfinished",
    ".cache/beta/vocals.wav": "hidden",
    "results.txt": "no audio",
    "beta/vocals.png": "no audio",
}


def test_litter_is_ignored_and_listed_by_kind(tmp_path: Path) -> None:
    found = matched(tmp_path, ["beta/vocals.wav", *LITTER], tracks=["beta"])
    assert list(found.files["beta"].stems) == ["vocals"]
    told = {
        path.relative_to(tmp_path / "estimates").as_posix(): kind
        for kind, paths in found.litter.items()
        for path in paths
    }
    assert told == LITTER
    touch(tmp_path / "references", ["__MACOSX/test/beta/._vocals.wav", "test/beta/._bass.wav", "test/.DS_Store"])
    assert list(finding.references(tmp_path / "references")) == ["beta"]


def test_references_inside_the_folder_of_estimates_are_no_estimates(tmp_path: Path) -> None:
    touch(tmp_path, ["references/beta/vocals.wav", "htdemucs/beta/vocals.wav"])
    references = finding.references(tmp_path / "references")
    found = matching.match(references, tmp_path, without=tmp_path / "references")
    assert found.files["beta"].stems == {"vocals": tmp_path / "htdemucs/beta/vocals.wav"}
    itself = matching.match(references, tmp_path / "references", without=tmp_path / "references")
    assert list(itself.files) == ["beta"]


def test_a_link_that_leads_back_is_followed_once(tmp_path: Path) -> None:
    root = touch(tmp_path / "estimates", ["beta/vocals.wav"])
    (root / "beta" / "again").symlink_to(root)
    (root / "beta" / "drums.wav").symlink_to(tmp_path / "absent.wav")
    found = finding.listing(root, tmp_path)
    assert [path.name for path in found.audio] == ["vocals.wav"]
    assert found.litter == {"broken link": (root / "beta" / "drums.wav",)}


def test_a_single_track_is_the_single_reference(tmp_path: Path) -> None:
    """Demucs on MUSDB18-HQ's `beta/mixture.wav`; UVR on anything, beside the folder of one track."""
    found = matched(tmp_path, ["htdemucs/mixture/vocals.wav"], tracks=["beta"])
    assert list(found.files) == ["beta"]
    assert found.files["beta"].rule == "the only track"
    root = touch(tmp_path / "uvr", ["1_whatever_(Vocals).wav", "1_whatever_(Instrumental).wav"])
    flat = finding.references(tmp_path / "references/test/beta")
    assert sorted(matching.match(flat, root, root).files["beta"].stems) == ["instrumental", "vocals"]
    assert matching.match(finding.references(tmp_path / "references"), root, root).files == {}
