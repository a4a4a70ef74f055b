"""What the gate says: checks that passed or did not, each in one sentence."""

from collections.abc import Sequence
from dataclasses import dataclass

_NAMED = 3


@dataclass(frozen=True)
class Check:
    """One thing that had to hold, whether it did, and the sentence that says so.

    kind: `floor`, `mixture`, `baseline`, `anchor`, `worst track`, `group`, `output`, `budget`, `leak`, `drift`, or `tracks`.
    """

    passed: bool
    words: str
    kind: str


@dataclass(frozen=True)
class Verdict:
    """Blessed only if every check passed."""

    checks: tuple[Check, ...]

    @property
    def blessed(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def reasons(self) -> tuple[str, ...]:
        """One line for each check, `ok: ...` or `refused: ...`."""
        return tuple(f"{'ok' if check.passed else 'refused'}: {check.words}" for check in self.checks)


def some(names: Sequence[str]) -> str:
    """At most three of the names, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def on_tracks(count: int) -> str:
    """`1 track` or `7 tracks`."""
    return f"{count} track{'' if count == 1 else 's'}"
