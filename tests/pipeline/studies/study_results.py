"""Results of studies that nobody ran, for tests of what is told of them."""

from __future__ import annotations

import dataclasses

import numpy as np

from pipeline.studies.result import Result, Trial

PAPERS = (
    "Huang, Kim, Hasegawa-Johnson: A (MIREX 2014)",
    "Grais, Plumbley: B (GlobalSIP 2017)",
    "Doire: C (ICASSP 2019)",
)
CLIPS = 12


def trial(name: str, score: float | None, place: int = 0, seed: int = 0, **fields) -> Trial:
    """A training whose clips lie around its score, further from it clip by clip and by the seed."""
    plain = Trial(
        name, name, "", f"{name}_mir1k", "", seed, PAPERS[place % 3], "7.27 | 11.98", "csdr", f"key of {name}"
    )
    scores = {} if score is None else {f"vocals/v3/{m}": score + i for i, m in enumerate(("GNSDR", "GSIR", "GSAR"))}
    scores |= {} if score is None else {"accompaniment/v3/GNSDR": -1.0}
    offsets = np.linspace(-1, 1, CLIPS) * (1 + 0.1 * place)
    clips = (
        {}
        if score is None
        else {f"v3/{m}": (score + i + offsets).tolist() for i, m in enumerate(("GNSDR", "GSIR", "GSAR"))}
    )
    told = {
        "date": "2026-11-20", "machine": "a cpu with AMX", "parameters": 10**6 + place, "cpu_minutes": 10.04, "steps": 1200,
        "scores": scores, "clips": clips, "real_time_factor": 0.01, "model": f"artifacts/{name}/7",
        "curve": [[100, 1.0, -2.0 - place], [200, 2.0, -3.0 - place]] if scores else (),
    }  # fmt: skip
    return dataclasses.replace(plain, **{**told, **fields})


def result(*trials: Trial, **fields) -> Result:
    """A study of these trainings."""
    baselines = {"mixture": {"vocals/v3/GNSDR": 0.0}, "irm": {"vocals/v3/GNSDR": 13.46, "vocals/v3/GSAR": 15.0}}
    about = {
        "name": "mine", "title": "Mine", "command": "stemline study mine.yaml --data MIR-1K", "data": "format mir1k, 12 clips",
        "set": "{train.batch: 3}", "choices": "to choose by", "targets": ("vocals", "accompaniment"), "target": "vocals",
        "version": "v3", "first": trials[0].variant if trials else "", "seeds": tuple(sorted({each.seed for each in trials})) or (0,), "cpu_minutes": 10.0, "software": "tf",
        "plots": ("cost", "boxes", "lines", "curves"), "baselines": baselines, "clips": tuple(f"c{i}" for i in range(CLIPS)),
        "seconds": (5.0,) * CLIPS, "trials": trials,
    }  # fmt: skip
    return Result(**{**about, **fields})
