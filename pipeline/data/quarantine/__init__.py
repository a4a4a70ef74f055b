"""What is wrong with a track: measured while it is read, in bounded memory, and said in words.

Knows the signals of a track and the thresholds of the configuration; nothing of records or of other tracks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.data.datasets.track import BadTrackError
from pipeline.data.quarantine.findings import Finding, found, of_stored
from serving.client.decoding import BadFileError

if TYPE_CHECKING:
    from pipeline.config.quarantine import QuarantineConfig

__all__ = ["Finding", "RefusedError", "details", "found", "of_stored", "refuse"]


class RefusedError(BadTrackError):
    """A track cannot be used for a reason that has a kind, and more for the report where `more` is given."""

    def __init__(self, kind: str, reason: str, more: Mapping[str, Any] | None = None) -> None:
        super().__init__(reason)
        self.details = {"kind": kind, **(more or {})}


def refuse(findings: Sequence[Finding], limits: QuarantineConfig) -> tuple[Finding, ...]:
    """What was found that is only noted. Raises RefusedError with all that makes a bad track, of the kind of the first."""
    refused = [finding for finding in findings if finding.kind in limits.refuse]
    if refused:
        raise RefusedError(refused[0].kind, "; ".join(finding.words for finding in refused))
    return tuple(findings)


def details(error: BaseException) -> dict[str, Any]:
    """What the report has of a bad track beside the reason: of which `kind` it is."""
    if isinstance(error, RefusedError):
        return error.details
    if isinstance(error, (BadFileError, OSError)):
        return {"kind": "unreadable"}
    # What is raised about copies of a bucket's files is raised again with their names there.
    return details(error.__cause__) if isinstance(error.__cause__, (ValueError, OSError)) else {"kind": "unusable"}
