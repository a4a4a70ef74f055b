"""The page of a study, as Markdown and as one HTML file: tables, plots, and what a reader needs to believe them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import jinja2
import markupsafe

from pipeline.common import files
from pipeline.evaluation.report import templates
from pipeline.evaluation.report.page import METHOD_NAMES
from pipeline.evaluation.scores import describe
from pipeline.studies import plots, statistics
from pipeline.studies.result import Result, short
from pipeline.studies.statistics import Difference, Spread, Variant

_DASH = "–"
_MOST_PAIRED = 10  # variants of which every pair is a row or two of a table


@dataclass(frozen=True)
class Table:
    """Rows of text under `head`; a column of which no row tells anything is left out. words: what it is."""

    words: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def write(result: Result, directory: Path) -> None:
    """Writes `<name>.json`, `.md`, `.html` and an SVG for each plot, each completely or not at all."""
    drawn = plots.draw(result)
    told = [asdict(each) | {"trials": len(each.trials)} for each in statistics.variants(result)]
    files.write_text(directory / f"{result.name}.json", result.to_json(variants=told))
    for plot in drawn:
        files.write_text(directory / f"{result.name}-{plot.name}.svg", plot.svg)
    files.write_text(directory / f"{result.name}.md", markdown(result, drawn))
    files.write_text(directory / f"{result.name}.html", html(result, drawn))


def markdown(result: Result, drawn: Sequence[plots.Plot]) -> str:
    """The page for a repository, with the plots beside it."""
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters["cell"] = lambda text: text.replace("|", "/")
    template = environment.from_string((Path(__file__).parent / "study.md.jinja").read_text())
    return re.sub(r"\n{3,}", "\n\n", template.render(_told(result), plots=drawn)).strip() + "\n"


def html(result: Result, drawn: Sequence[plots.Plot]) -> str:
    """The page as one file that asks for no other."""
    environment = templates.environment()
    environment.loader = jinja2.FileSystemLoader([Path(__file__).parent, Path(templates.__file__).parent])
    inside = [(plot, markupsafe.Markup(plot.svg[plot.svg.index("<svg") :])) for plot in drawn]
    return environment.get_template("study.html.jinja").render(_told(result), plots=inside)


def table(result: Result) -> Table:
    """Variants and baselines together, the best first."""
    main, *others = result.metrics
    rest = [f"{target}/{main}" for target in result.targets if target != result.target]
    heads = [f"{result.target} {_word(main)}", *map(_word, others), *(_word(name) for name in rest)]
    columns: list[tuple[str, Callable[[Variant], str]]] = [
        ("paper", lambda each: short(each.trials[0].paper)),
        ("parameters", lambda each: _number(each.trials[0].parameters, ",")),
        ("online", lambda each: "yes" if each.trials[0].online else "no"),
        ("latency [ms]", lambda each: _number(each.trials[0].latency_ms, ".0f")),
        ("CPU min", lambda each: _number(_mean(trial.cpu_minutes for trial in each.trials), ".1f")),
        ("steps", lambda each: _number(_mean(trial.steps for trial in each.trials), ",.0f")),
        ("seeds", lambda each: str(len(each.trials)) if len(result.seeds) > 1 else ""),
        *((head, lambda each, name=name: _spread(each.scores.get(name))) for head, name in zip(heads, [main, *others, *rest], strict=True)),
        (f"{_word(main)} − {result.first} [95 %]", lambda each: _difference(each.against)),
        ("p", lambda each: _p(each.against)),
        ("real-time factor", lambda each: _number(_mean(trial.real_time_factor for trial in each.trials), ".4f")),
        ("published", lambda each: each.trials[0].published),
    ]  # fmt: skip
    rows = [
        (each.scores[main].mean, [f"**{each.name}**", *(cell(each) for _, cell in columns)])
        for each in statistics.variants(result)
    ]
    for method, scores in result.baselines.items():
        known = [result.score(scores, each) for each in (main, *others)]
        known += [result.score(scores, main, name.partition("/")[0]) for name in rest]
        cells = [_number(value, ".2f").replace("-", "−") for value in known]
        place = [head for head, _ in columns].index(heads[0])
        row = [f"*{METHOD_NAMES[method]}*", *[""] * place, *cells, *[""] * (len(columns) - place - len(cells))]
        rows.append((-math.inf if known[0] is None else known[0], row))
    ordered = [row for _, row in sorted(rows, key=lambda each: each[0], reverse=True)]
    return _without_empty(Table("", ["variant", *(head for head, _ in columns)], ordered))


def _told(result: Result) -> dict[str, object]:
    trials = result.finished
    dates = sorted({trial.date for trial in trials})
    return {
        "result": result,
        "dates": " to ".join(dict.fromkeys([*dates[:1], *dates[-1:]])),
        "machines": "; ".join(sorted({trial.machine for trial in trials})) or "unknown",
        "scores": describe(result.version, 1.0),
        "variants": list({trial.variant: trial for trial in result.trials}.values()),
        "compared": any(each.against for each in statistics.variants(result)),
        "tables": [*_claims(result), table(result), *_pairs(result)],
        "papers": sorted({trial.paper for trial in result.trials if trial.paper}),
    }


def _claims(result: Result) -> Iterator[Table]:
    rows = [
        [
            claim.says,
            f"{_word(statistics.figure(result, claim))} of {claim.better} − {claim.than}",
            f"> {claim.by_db:g}".replace("-", "−"),
            _difference(difference) or _DASH,
            f"**{answer}**",
        ]
        for claim, (difference, answer) in zip(result.claims, statistics.answers(result), strict=True)
    ]
    if rows:
        words = (
            "Claims: one holds where the whole interval is above what it says, and does not where all of it is below"
        )
        yield Table(words, ["claim", "figure", "claimed [dB]", "found [95 %]", "answer"], rows)


def _pairs(result: Result) -> Iterator[Table]:
    """Wilcoxon's test of every pair, in every figure."""
    if not 2 < len(statistics.variants(result)) <= _MOST_PAIRED:
        return
    by_metric = {metric: statistics.pairs(result, metric) for metric in result.metrics}
    names = list(by_metric[result.metrics[0]])
    rows = [
        [
            f"{b} − {a}",
            *(words for metric in result.metrics for words in _pair(by_metric[metric].get((a, b)), len(names))),
        ]
        for a, b in names
    ]
    head = ["pair", *(word for metric in result.metrics for word in (_word(metric), "p"))]
    if rows:
        yield Table(
            f"Every pair in dB, with p of Wilcoxon's signed-rank test times {len(names)} (Bonferroni)", head, rows
        )


def _pair(difference: Difference | None, pairs: int) -> tuple[str, str]:
    if difference is None:
        return _DASH, _DASH
    p = None if difference.p is None else min(1.0, pairs * difference.p)
    return _signed(difference.average), _probability(p)


def _without_empty(table: Table) -> Table:
    told = [[row[place] for row in table.rows] for place in range(len(table.head))]
    kept = [place for place, cells in enumerate(told) if not cells or {*cells} - {"", _DASH}]
    head, *rows = ([row[place] for place in kept] for row in (table.head, *table.rows))
    return Table(table.words, head, rows)


def _word(name: str) -> str:
    """`GNSDR` of `v3/GNSDR`, `accompaniment GNSDR` of `accompaniment/v3/GNSDR`."""
    parts = name.split("/")
    return f"{parts[0]} {parts[-1]}" if len(parts) == 3 else parts[-1]


def _mean(values: Iterator[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _number(value: float | None, form: str) -> str:
    return _DASH if value is None else f"{value:{form}}"


def _spread(of: Spread | None) -> str:
    if of is None:
        return _DASH
    deviation = "" if of.deviation is None else f" ± {of.deviation:.2f}"
    return f"{of.mean:.2f}{deviation}".replace("-", "−")


def _difference(of: Difference | None) -> str:
    if of is None:
        return ""
    ends = "" if of.low is None or of.high is None else f" [{_signed(of.low)}, {_signed(of.high)}]"
    return f"{_signed(of.average)}{ends}"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _p(of: Difference | None) -> str:
    return "" if of is None else _probability(of.p)


def _probability(p: float | None) -> str:
    return _DASH if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"
