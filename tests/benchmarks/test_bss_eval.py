"""BSS Eval against museval: time, memory, and how both grow. Run with `make test-slow`; figures in docs/bss_eval.md."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.evaluation import baselines
from pipeline.evaluation.bss_eval.score import score

pytestmark = pytest.mark.slow

RATE_HZ = 44100
ROOT = Path(__file__).resolve().parents[2]

MEASURE = """
import json, resource, sys, time
import numpy as np
engine, seconds, targets, artefacts = sys.argv[1], *(int(argument) for argument in sys.argv[2:])
if engine == "museval":
    import museval.metrics as engine_metrics
else:
    from pipeline.evaluation.bss_eval.score import score

def add_noise(signal, seed, gain=1):
    rng = np.random.default_rng(seed)
    for start in range(0, len(signal), 44100):
        piece = np.float32(gain) * rng.standard_normal((44100, 2), dtype=np.float32)
        piece[1:] += piece[:-1]
        signal[start : start + 44100] += piece

peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
references = np.zeros((targets, seconds * 44100, 2), np.float32)
for place, reference in enumerate(references):
    add_noise(reference, place)
estimates = np.float32(0.3) * references[::-1]
estimates += references
for place, estimate in enumerate(estimates if artefacts else []):
    add_noise(estimate, targets + place, 0.1)
bare = peak()
wall, cpu = time.perf_counter(), time.process_time()
if engine == "museval":
    scores = engine_metrics.bss_eval(references, estimates, window=44100, hop=44100)[:4]
else:
    scores = list(score(references, [estimates], ["v4"], 44100)["v4"].values())
figures = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "peak": peak(), "working": peak() - bare}
print(json.dumps(figures | {"mean": float(np.mean(scores[0]))}))
"""


REAL = """
import json, resource, sys, time
from pathlib import Path
import numpy as np
import soundfile
engine, kind, song = sys.argv[1:]
if engine == "museval":
    import museval.metrics as engine_metrics
else:
    from pipeline.evaluation.bss_eval.score import score
vocals, *others = (soundfile.read(Path(song) / f"{stem}.ogg", start=200 * 44100, stop=260 * 44100)[0]
                   for stem in ("vocals", "bass", "drums", "other"))
references = np.stack([vocals, sum(others)])
if kind == "leaks and noise":
    estimates = references + 0.2 * references[::-1] + 0.01 * np.random.default_rng(0).standard_normal(references.shape)
else:
    estimates = {"mixture": references + references[::-1], "references": references.copy()}[kind]
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
bare, cpu = peak(), time.process_time()
if engine == "museval":
    engine_metrics.bss_eval(references, estimates, window=44100, hop=44100)
else:
    score(references, [estimates], ["v4"], 44100)
print(json.dumps({"cpu": time.process_time() - cpu, "peak": peak(), "working": peak() - bare}))
"""


@pytest.mark.parametrize("kind", ["leaks and noise", "mixture", "references"])
def test_v4_of_real_music_against_museval(datasets: Path, kind: str) -> None:
    """A song of EverythingIsFree; every measurement in a process of its own, on one thread, ours and museval's by turns."""
    if not (song := datasets / "EverythingIsFree" / "Sodium").is_dir():
        pytest.skip("research data not here: EverythingIsFree")
    environment = os.environ | {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
    found: dict[str, list[dict[str, float]]] = {"stemline": [], "museval": []}
    for _, engine in itertools.product(range(3), found):
        command = [sys.executable, "-W", "ignore", "-c", REAL, engine, kind, str(song)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, cwd=ROOT)
        found[engine].append(json.loads(done.stdout))
    ours, theirs = (
        {name: float(np.median([each[name] for each in rows])) for name in rows[0]} for rows in found.values()
    )
    print(
        f"\nv4 of 60 s of stereo, two targets, {kind}: {theirs['cpu'] / ours['cpu']:.1f} times as fast as museval "
        f"({theirs['cpu']:.2f} s against {ours['cpu']:.2f} s of CPU), peak {ours['peak']:.0f} MB of {theirs['peak']:.0f} MB, "
        f"of these {ours['working']:.0f} MB of {theirs['working']:.0f} MB beyond signals and libraries"
    )
    assert theirs["cpu"] > 15 * ours["cpu"]
    assert ours["peak"] < theirs["peak"] / 2


def measured(engine: str, seconds: int, targets: int = 2, artefacts: bool = True) -> dict[str, float]:
    """Seconds of v4 and megabytes of a new process on coloured noise in stereo, held in float32.

    Estimates are references with interference and, unless they are to have none, artefacts.
    """
    arguments = [engine, str(seconds), str(targets), str(int(artefacts))]
    command = [sys.executable, "-W", "ignore", "-c", MEASURE, *arguments]
    figures = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(
        f"\nv4 by {engine}: {seconds} s of stereo, {targets} targets{'' if artefacts else ', no artefacts'}: "
        f"{figures['wall']:.2f} s, {figures['cpu']:.2f} s "
        f"of CPU, peak {figures['peak']:.0f} MB, of these {figures['working']:.0f} MB beyond signals and libraries",
        end="",
    )
    return figures


def test_v4_against_museval_on_60_seconds() -> None:
    theirs, ours = measured("museval", 60), measured("stemline", 60)
    wall, cpu = (theirs[clock] / ours[clock] for clock in ("wall", "cpu"))
    print(f"\nv4: {wall:.1f} times as fast as museval, {cpu:.1f} times in CPU time")
    assert ours["mean"] == pytest.approx(theirs["mean"], abs=1e-4)
    assert ours["peak"] < theirs["peak"]
    assert ours["working"] < theirs["working"]
    assert cpu > 15


def test_v4_of_estimates_without_artefacts() -> None:
    """Artefacts that are but rounding are computed from samples: no estimates take longer."""
    ours, exact = measured("stemline", 60), measured("stemline", 60, artefacts=False)
    assert exact["cpu"] < 4 * ours["cpu"]


def test_v4_grows_in_time_and_not_in_memory() -> None:
    for seconds in (10, 30, 60):
        measured("museval", seconds)
    ours = {
        (seconds, targets): measured("stemline", seconds, targets) for targets in (2, 4) for seconds in (10, 60, 600)
    }
    for targets in (2, 4):
        assert ours[600, targets]["cpu"] < 15 * ours[60, targets]["cpu"]
        assert ours[600, targets]["working"] < ours[60, targets]["working"] + 300
    assert ours[600, 4]["working"] < 1000


def test_all_test_clips_of_mir_1k(mir1k: Path) -> None:
    """The 124 clips with the ideal ratio mask; the time in which the estimates are made does not count."""
    from pipeline.data.datasets.layouts import mir1k as dataset
    from pipeline.data.datasets.loading import load

    refs = [ref for ref in dataset.discover(str(mir1k), {}) if ref.split == "test"]
    seconds = dict.fromkeys(["v3", "v3 and v4"], 0.0)
    for ref in refs:
        track = load(ref)
        irm = baselines.ratio_mask(track.mixture, track.stems, baselines.Stft(1024, 256, "hann"))
        for versions in seconds:
            started = time.process_time()
            score(list(track.stems.values()), [list(irm.values())], versions.split(" and "), track.sample_rate_hz)
            seconds[versions] += time.process_time() - started
    print(
        f"\n{len(refs)} clips of MIR-1K, CPU time: "
        + ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
    )
    assert seconds["v3"] < 10 * len(refs) / 124
    assert seconds["v3 and v4"] < 30 * len(refs) / 124


def test_sets_of_estimates_share_the_references() -> None:
    rng = np.random.default_rng(0)
    references = rng.standard_normal((4, 10 * RATE_HZ, 2))
    sets = [references + 0.3 * rng.standard_normal(references.shape) for _ in range(3)]
    seconds = []
    for some in (sets[:1], sets):
        started = time.process_time()
        score(references, some, ("v3", "v4"), RATE_HZ)
        seconds.append(time.process_time() - started)
    print(f"\nfour targets: one set of estimates {seconds[0]:.2f} s, three sets {seconds[1]:.2f} s")
    assert seconds[1] < 2.5 * seconds[0]
