"""Every option and argument of every command with what nobody should give it: one sentence, a documented exit code, no file.

In this process, which loads no TensorFlow for it: each command line has beside the hostile value something that is refused
last and at once (BESIDE), so that a value which turns out to be legal begins no work.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import filelock
import numpy as np
import pytest
import soundfile
import typer
from typer.core import TyperCommand, TyperGroup

from pipeline.cli.answers import Exit
from pipeline.cli.main import app

INSTALLED = Path(sys.executable).with_name("stemline")
HOSTILE = (
    "../../escaped",
    "-x",
    "",
    "10" * 200,
    "x" * (2**17 - 1),  # the longest that Linux hands on
    "-1",
    "nan",
    "inf",
    "1e400",
    " ",
    "a\nb",
    "\x1b[31mred",
    "no UTF-8 \udcff\udcfe",
    "nul\0nul",
    "~",
    "~nobody/x",
    "/dev/full",
    "/dev/null",
    "/proc/self/mem",
    "text.txt",
    "text.txt/below",
    "folder",
    ".",
    "s3://",
    "s3://not a bucket/../x",
    "gs:///x",
    "s3:/one/slash",
    "http://127.0.0.1:9/x",
    "file:///etc/passwd",
    "{SPAN}",
    "%s%n",
    "[unclosed",
    "a=b=c",
    "train.steps=10" + "0" * 400,
    "train.steps=" + "[" * 5000,
    "train.steps=2026-13-13",
    "--",
    ".nan",
    "\u202eright to left",
)
"""Of what is legal nowhere, or looks so."""
REFUSED = ("--set", "train.loss=no_loss")
BESIDE: dict[str, tuple[tuple[str, ...], ...]] = {
    **dict.fromkeys(("run", "ingest", "train", "leaderboard"), (("--workdir", "held", *REFUSED),)),
    "demo": (("--workdir", "held", "--set", "train.loss=no_loss"),),
    "evaluate": (("--workdir", "held", *REFUSED), ("--references", "folder", "--estimates", "folder")),
    "separate": (("song.wav", "--model", "nowhere"),),
    "live": (("--model", "nowhere"),),
    "serve": (("--recipe", "no_recipe"),),
    "study": (("example", "--workdir", "held", *REFUSED),),
    **{f"kubeflow {name}": (REFUSED,) for name in ("compile", "emulate", "submit", "schedule")},
    "kubeflow status": (("--host", "http://127.0.0.1:9", "--set", "cluster.host=1"),),
    "runs diff": (("1", "2"),),
    "runs show": (("1",),),
    "runs pin": (("1",),),
    "data check": (("folder",),),
}


def commands(
    group: TyperGroup, prefix: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], TyperCommand | TyperGroup]]:
    """Every command as it is typed, groups of commands too."""
    for name, command in group.commands.items():
        yield (*prefix, name), command  # type: ignore[misc]
        if isinstance(command, TyperGroup):
            yield from commands(command, (*prefix, name))


ALL = [*commands(typer.main.get_command(app))]  # type: ignore[arg-type]


def lines(values: tuple[str, ...] = HOSTILE) -> Iterator[tuple[str, ...]]:
    """A command line for every option, argument, hostile value, and what stands beside it."""
    for place, command in ALL:
        for param in command.params:
            flag = getattr(param, "is_flag", False)
            for value in values:
                for beside in BESIDE.get(" ".join(place), ((),)):
                    if param.param_type_name == "argument":
                        options = itertools.dropwhile(lambda word: not word.startswith("--"), beside)
                        yield (*place, *options, "--", value)
                    else:
                        option = max(param.opts, key=len)
                        yield (*place, *beside, f"{option}={value}") if flag else (*place, *beside, option, value)


def tree(root: Path) -> set[str]:
    return {str(path) for path in root.rglob("*")}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, two below what `../../escaped` would write into, and in it a directory with a run at work."""
    here = tmp_path / "a" / "b"
    (here / "folder").mkdir(parents=True)
    (here / "held").mkdir()
    (here / "text.txt").write_text("words\n")
    soundfile.write(here / "song.wav", np.zeros(100, np.float32), 16000)
    monkeypatch.chdir(here)
    with filelock.FileLock(here / "held" / ".lock"):
        yield tmp_path


def check(outcome, args: tuple[str, ...]) -> None:
    told = [word[:40] for word in args], outcome.code, outcome.err[-600:]
    assert outcome.code in {*Exit} - {Exit.UNEXPECTED}, told
    assert "Traceback" not in outcome.err + outcome.out, told
    if outcome.code == Exit.BAD_INPUT:
        *_, last = outcome.err.splitlines() or [""]
        assert last.startswith("stemline: "), told
        assert len(last) < 5000, told
        assert last.isprintable(), told
        assert outcome.out == "", told
    assert outcome.err.isprintable() or set(outcome.err) - {"\n"} <= {
        each for each in outcome.err if each.isprintable()
    }


def walk(stemline, place: Path, chosen) -> int:
    chosen, before, loaded = [*chosen], tree(place), "tensorflow" in sys.modules
    for args in chosen:
        check(stemline(*args), args)
        assert tree(place) == before, [word[:40] for word in args]
    assert ("tensorflow" in sys.modules) == loaded
    return len(chosen)


def test_a_few_hostile_values_for_every_option(stemline, place: Path) -> None:
    """For each option other ones, so that all of them are met; a leaderboard plans 18 trainings each time."""
    every = [args for args in lines() if args[0] != "leaderboard"]
    assert walk(stemline, place, every[::31]) > 200


@pytest.mark.slow
def test_all_hostile_values_for_every_option(stemline, place: Path) -> None:
    assert walk(stemline, place, lines()) > 5000


@pytest.mark.slow
def test_a_megabyte_for_every_option(stemline, place: Path) -> None:
    assert walk(stemline, place, lines(("x" * 2**20,))) > 150


def test_every_option_without_its_value(stemline, place: Path) -> None:
    options = [
        (*name, option)
        for name, command in ALL
        for param in command.params
        for option in param.opts
        if option[0] == "-" and not getattr(param, "is_flag", False)
    ]
    assert len(options) > 150
    for args in options:
        outcome = stemline(*args)
        assert (outcome.code, outcome.err) == (
            2,
            f"stemline: {args[-1]} needs a value{outcome.err.partition('needs a value')[2]}",
        ), args
        assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("sepparate",), "stemline has no command sepparate; did you mean 'separate'? legal: demo, run, ingest"),
        (("runs", "shw"), "stemline runs has no command shw; did you mean 'show'? legal: show, diff, pin, unpin, page"),
        (("--verson",), "stemline has no option --verson; did you mean '--version'? legal: "),
        (("run", "--dta", "x"), "stemline run has no option --dta; did you mean '--data'? legal: --recipe, "),
        (("run", "-q"), "stemline run has no option -q; legal: --recipe, "),
        (("run", "--json=1"), "--json takes no value"),
        (("run", "one", "two"), "stemline run takes no one two; legal: options only"),
        (("separate",), "stemline separate needs audio: files of any format that ffmpeg decodes"),
        (("runs", "diff", "1"), "stemline runs diff needs B: the run to compare it with"),
        (("run", "--max-bad-tracks", "x"), "--max-bad-tracks is x; legal: a whole number of at least 0"),
        (("run", "--max-bad-tracks", "-1"), "--max-bad-tracks is -1; legal: a whole number of at least 0"),
        (("serve", "--port", "99999"), "--port is 99999; legal: a whole number of at least 0 and of at most 65535"),
        (("study", "example", "--cpu-minutes", "x"), "--cpu-minutes is x; legal: a number"),
        (("kubeflow", "compile", "--platform", "k8s"), "--platform is k8s; legal: 'kfp', 'vertex'"),
    ],
)
def test_what_typer_refuses_is_one_sentence(stemline, args: tuple[str, ...], words: str) -> None:
    outcome = stemline(*args)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"stemline: {words}"), outcome.err
    assert outcome.err.count("\n") == 1


def test_a_sample_as_it_is_typed(place: Path) -> None:
    """Processes of their own: what Python makes of arguments, and streams that end."""
    before = tree(place)
    typed = [
        ["run", "--data", "no \udcff UTF-8"],
        ["separate", "x" * 100_000],
        ["run", "--max-bad-tracks", "10" * 200],
        ["kubeflow", "compile", "-o", "/dev/full/x"],
        ["data", "check", "folder", "--page", "/dev/full"],
        ["runs", "show", "\x1b[31m", "-w", "../../escaped"],
    ]
    for args in typed:
        command = [os.fsencode(word) for word in (str(INSTALLED), *args)]
        done = subprocess.run(command, capture_output=True, text=True, errors="surrogateescape")
        last = done.stderr.splitlines()[-1]
        assert (done.returncode, last[:10], done.stdout) == (2, "stemline: ", ""), (args[:1], done)
        assert last.isprintable()
        assert "Traceback" not in done.stderr
    assert tree(place) == before
