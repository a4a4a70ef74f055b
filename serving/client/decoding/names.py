"""What a name says before its file is opened: whether it may hold audio, and whether anybody meant it."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

AUDIO = frozenset(
    {".aac", ".ac3", ".aif", ".aifc", ".aiff", ".alac", ".amr", ".ape", ".asf", ".au", ".avi", ".bwf", ".caf", ".dff"}
    | {".dsf", ".dts", ".eac3", ".flac", ".gsm", ".m4a", ".m4b", ".mka", ".mkv", ".mov", ".mp2", ".mp3", ".mp4", ".mpc"}
    | {".oga", ".ogg", ".opus", ".ra", ".rf64", ".snd", ".spx", ".tta", ".w64", ".wav", ".wave", ".webm", ".wma", ".wv"}
)
"""Suffixes of files that may hold audio, in lower case; what is in them the decoder tells."""
_LITTER = re.compile(
    r"(?P<macOS>\._.*|\.ds_store|__macosx)"
    r"|(?P<Windows>thumbs\.db|ehthumbs\.db|desktop\.ini|\$recycle\.bin|system volume information|~\$.*)"
    r"|(?P<unfinished>.+\.(?:part|partial|crdownload|download|opdownload|aria2|tmp|temp))"
    r"|(?P<hidden>\.[^.].*|@eadir)",  # Synology's
    re.IGNORECASE | re.DOTALL,
)


def audio_named(name: str) -> bool:
    """Whether a file of this name, or at this path, may hold audio."""
    return PurePosixPath(name).suffix.lower() in AUDIO


def litter_kind(name: str) -> str:
    """`macOS`, `Windows`, `unfinished` or `hidden`: whose leavings a file or directory of this name is; empty for none.

    A name that begins with an ellipsis (`...And You`) is a title.
    """
    found = _LITTER.fullmatch(name)
    return str(found.lastgroup) if found else ""
