"""The report in a real browser: it sorts, plays, fits a phone, has two colour schemes, and asks for nothing else."""

from __future__ import annotations

import functools
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from models.spec import ModelSpec
from pipeline.config.config import Config, DataConfig, EvaluateConfig
from pipeline.config.gate import GateConfig, Threshold
from pipeline.evaluation.baselines import estimate_by_all
from pipeline.evaluation.evaluation import conclude
from pipeline.evaluation.report.page import choose_tracks, write_report
from pipeline.evaluation.report.rooms import Heard, Shown
from pipeline.evaluation.scores import score_track

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

RATE_HZ = 8000
PHONE, DESKTOP = {"width": 375, "height": 740}, {"width": 1280, "height": 900}
SCHEMES = ("light", "dark")


def song(index: int) -> SimpleNamespace:
    """A rendered song; the last one has no accompaniment, so that its interference is undefined."""
    generator = np.random.default_rng(index)
    time = np.arange(round((2 + 0.25 * index) * RATE_HZ))[:, np.newaxis] / RATE_HZ
    sung = np.sin(2 * np.pi * 0.7 * time + index) > -0.4
    voice = 0.3 * sung * np.sin(2 * np.pi * (200 + 40 * index) * time + 4 * np.sin(35 * time))
    band = (index < 7) * (0.1 * generator.standard_normal(time.shape) + 0.15 * np.sin(2 * np.pi * 82 * time))
    stems = {"vocals": voice, "accompaniment": band}
    name = f"A rather long title of a song that no phone has room for, take {index}" if index == 3 else f"song {index}"
    metadata = {"singer": ("Ani", "Bob", "Cleo")[index % 3]}
    return SimpleNamespace(name=name, sample_rate_hz=RATE_HZ, mixture=voice + band, stems=stems, metadata=metadata)


def leaky(each: SimpleNamespace, leak: float):
    noise = 0.003 * np.random.default_rng(9).standard_normal(each.mixture.shape)
    return lambda mixture, _: {name: stem + leak * (mixture - stem) + noise for name, stem in each.stems.items()}


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of eight songs by a model that beats its baseline on some."""
    setup = Config(
        "drnn_demo",
        data=DataConfig(sample_rate_hz=RATE_HZ),
        model=ModelSpec(sample_rate_hz=RATE_HZ, frame_length=256, hop=128),
        evaluate=EvaluateConfig(metrics=("v3", "v4"), baselines=("irm",)),
        gate=GateConfig((Threshold("vocals", "v3/SDR", 3.0, "mixture"), Threshold("vocals", "v4/SDR", 40.0))),
    )
    results, heard = [], {}
    songs = {each.name: each for each in map(song, range(8))}
    for index, each in enumerate(songs.values()):
        separators = {"model": leaky(each, 0.05 + 0.04 * (5 * index % 8)), "baseline": leaky(each, 0.2)}
        methods = estimate_by_all(each, separators, setup.model, setup.evaluate.baselines)
        results.append(score_track(each, methods, setup.model.targets, ("v3", "v4"), setup.evaluate.window_seconds))
        found = {method: separate(each.mixture, RATE_HZ) for method, separate in separators.items()}
        heard[each.name] = Heard(each, found)
    judged = conclude(results, setup)
    chosen = choose_tracks(judged, "v3/SDR", "vocals", 3)
    shown = [Shown(rank, name, functools.partial(heard.get, name)) for rank, name in chosen.items()]
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(judged, shown, path, caption="Model runs/artifacts/drnn_demo/Trainer/model/7")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def opened(browser, page_file: Path) -> Iterator[SimpleNamespace]:
    """The report at a desk, in the light; with all that the browser asked for and complained about."""
    page = browser.new_page(viewport=DESKTOP, color_scheme="light")
    asked, complaints = [], []
    page.set_default_timeout(5000)
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.route(re.compile(r"^(?!data:|file:)"), lambda route: route.abort())
    page.goto(page_file.as_uri())
    yield SimpleNamespace(page=page, asked=asked, complaints=complaints)
    page.close()


def column(page, heading: str) -> list[str]:
    """The values that the rows of the first table of tracks show in a column, top to bottom."""
    return page.evaluate(
        """heading => {
            const table = document.querySelector("table.tracks");
            const index = [...table.tHead.rows[0].cells].findIndex(cell => cell.textContent.trim() === heading);
            return [...table.tBodies[0].rows].map(row => row.cells[index].textContent.trim());
        }""",
        heading,
    )


def numbers(cells: list[str]) -> list[float]:
    return [math.nan if cell == "–" else float(cell.replace("−", "-")) for cell in cells]


def press(page, heading: str) -> str:
    """Presses a heading of the first table of tracks by keyboard; returns its aria-sort."""
    button = page.locator("table.tracks").first.get_by_role("button", name=heading, exact=True)
    button.press("Enter")
    return button.locator("xpath=..").get_attribute("aria-sort")


def test_sorts_numbers_both_ways_with_the_undefined_last(opened) -> None:
    page = opened.page
    assert press(page, "vocals SIR") == "ascending"
    up = numbers(column(page, "vocals SIR"))
    assert press(page, "vocals SIR") == "descending"
    down = numbers(column(page, "vocals SIR"))
    assert len(up) == 8
    assert math.isnan(up[-1])
    assert math.isnan(down[-1])
    assert sum(map(math.isnan, up)) == 1
    assert up[:-1] == sorted(up[:-1])
    assert up[:-1] != sorted(map(str, up[:-1])), "numeric, not as text"
    assert down[:-1] == sorted(up[:-1], reverse=True)


def test_sorts_by_metadata_and_by_name(opened) -> None:
    press(opened.page, "singer")
    assert column(opened.page, "singer") == ["Ani"] * 3 + ["Bob"] * 3 + ["Cleo"] * 2
    press(opened.page, "track")
    names = column(opened.page, "track")
    assert names[1:] == [f"song {index}" for index in (0, 1, 2, 4, 5, 6, 7)]


def test_filters_the_tracks(opened) -> None:
    field = opened.page.get_by_label("Show tracks with").first
    visible = opened.page.locator("table.tracks").first.locator("tbody tr:visible")
    field.fill("bob")
    assert visible.count() == 3
    assert opened.page.locator("output").first.text_content() == "3 of 8"
    field.fill("")
    assert visible.count() == 8


def test_asks_for_nothing_but_itself_and_has_nothing_to_complain_about(opened, page_file: Path) -> None:
    opened.page.wait_for_load_state("networkidle")
    assert {url for url in opened.asked if not url.startswith("data:")} == {page_file.as_uri()}
    assert opened.complaints == []


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_the_page_itself_never_scrolls_sideways(browser, page_file: Path, viewport: dict[str, int]) -> None:
    page = browser.new_page(viewport=viewport)
    page.goto(page_file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    tables = page.evaluate("[...document.querySelectorAll('.scroll')].map(e => e.getBoundingClientRect().right)")
    assert max(tables) <= viewport["width"]
    page.close()


# WCAG 2.1: relative luminance and contrast of an element's text on the nearest background that is not transparent.
CONTRAST = """selector => {
    const parse = text => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return {rgb: [r, g, b], a}; };
    const luminance = rgb => rgb.map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = e => { const c = parse(getComputedStyle(e).backgroundColor); return c.a ? c.rgb : behind(e.parentElement); };
    return [...document.querySelectorAll(selector)].filter(e => e.checkVisibility()).map(e => {
        const [dark, light] = [parse(getComputedStyle(e).color).rgb, behind(e)].map(luminance).sort((a, b) => a - b);
        return (light + 0.05) / (dark + 0.05);
    });
}"""
TEXTS = "h1, h2, h3, p, strong, li, li button, .kind, td, td small, th, th button, figcaption, label, .room button:enabled, kbd, .label"


def test_both_colour_schemes_are_readable_and_differ(browser, page_file: Path) -> None:
    pictures = {}
    for scheme in SCHEMES:
        page = browser.new_page(viewport=DESKTOP, color_scheme=scheme)
        page.goto(page_file.as_uri())
        contrasts = page.evaluate(CONTRAST, TEXTS)
        assert len(contrasts) > 100
        assert min(contrasts) >= 4.5, scheme
        # The plots draw in the page's own colour.
        assert page.evaluate(CONTRAST, ".plots svg text")
        assert min(page.evaluate(CONTRAST, ".plots")) >= 4.5
        fills = page.evaluate("[...document.querySelectorAll('.plots svg text')].map(e => getComputedStyle(e).fill)")
        assert set(fills) == {page.evaluate("getComputedStyle(document.body).color")}
        pictures[scheme] = page.screenshot()
        page.close()
    assert pictures["light"] != pictures["dark"]


def test_prints_whole_tables_without_players(browser, page_file: Path) -> None:
    page = browser.new_page(viewport=DESKTOP, color_scheme="dark")
    page.goto(page_file.as_uri())
    page.emulate_media(media="print")
    assert page.locator("#play:visible, #track:visible").count() == 0
    assert page.locator(".stage .spectrogram:visible").count() == 1
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    heights = page.evaluate(
        "[...document.querySelectorAll('.long')].map(e => [e.scrollHeight, e.clientHeight, getComputedStyle(e).maxHeight])"
    )
    assert heights
    assert all(limit == "none" for *_, limit in heights)
    page.close()
