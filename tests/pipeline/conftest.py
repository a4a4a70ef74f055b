"""The command line as a user types it, without a new process for every call."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Outcome:
    """What a command left: exit code and both streams."""

    code: int
    out: str
    err: str


@pytest.fixture
def stemline(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> Callable[..., Outcome]:
    """Runs `stemline ARGS` through the installed entry point's function."""
    from pipeline import cli

    def run(*args: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["stemline", *map(str, args)])
        capfd.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        streams = capfd.readouterr()
        return Outcome(code, streams.out, streams.err)

    return run
