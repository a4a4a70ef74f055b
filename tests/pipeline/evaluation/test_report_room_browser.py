"""The listening room in a real browser: the switch keeps the time, to the sample; loop, keyboard, clicks; four targets."""

from __future__ import annotations

import functools
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from models.spec import ModelSpec
from pipeline.config.config import Config, DataConfig, EvaluateConfig
from pipeline.data.datasets.track import Track
from pipeline.evaluation.evaluation import conclude
from pipeline.evaluation.report.page import choose_tracks, worst_tracks, write_report
from pipeline.evaluation.report.rooms import Heard, Shown
from pipeline.evaluation.scores import VERSIONS, Figure, TrackScores

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

RATE_HZ = 8000
TARGETS = ("vocals", "drums", "bass", "other")
SECONDS = 6.0
BAD = 3.0, 5.0  # where the drums of the worst track are upside down
NAMES = ("The Worst of all the Songs, #1 (50% off?)", "a song", "another song")
FRAME_MS = 50


def heard(place: int) -> Heard:
    time = np.arange(round(SECONDS * RATE_HZ))[:, np.newaxis] / RATE_HZ
    stems = {t: 0.15 * np.sin(2 * np.pi * (110 * (i + 1) + 7 * place) * time) for i, t in enumerate(TARGETS)}
    estimates = {target: stem * (0.9 + 0.03 * place) for target, stem in stems.items()}
    if place == 0:
        estimates["drums"][round(BAD[0] * RATE_HZ) : round(BAD[1] * RATE_HZ)] *= -1
    baseline = {target: 0.8 * stem for target, stem in stems.items()}
    track = Track(NAMES[place], "test", RATE_HZ, sum(stems.values()), stems, {"genre": "Heavy Metal"})
    return Heard(track, {"model": estimates, "baseline": baseline})


def scores(place: int, track: Track) -> TrackScores:
    """Made up, as only their order matters here: the first track is the worst."""
    values = {
        Figure(method, target, "v4", metric): (gain + place - 12.34,)
        for method, gain in (("mixture", 0.0), ("model", 9.0), ("baseline", 7.0))
        for target in TARGETS
        for metric in VERSIONS["v4"]
    }
    return TrackScores(track.name, len(track.mixture), RATE_HZ, values, track.metadata)


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tracks, two as excerpts and the worst as a whole beside the page as well."""
    setup = Config(
        "four targets",
        data=DataConfig(sample_rate_hz=RATE_HZ, targets=TARGETS),
        model=ModelSpec(sample_rate_hz=RATE_HZ, targets=TARGETS),
        evaluate=EvaluateConfig(metrics=("v4",), baselines=()),
    )
    songs = {name: heard(place) for place, name in enumerate(NAMES)}
    results = [scores(place, each.track) for place, each in enumerate(songs.values())]
    judged = conclude(results, setup)
    inside, kept = (
        [Shown(rank, name, functools.partial(songs.get, name)) for rank, name in chosen.items()]
        for chosen in (choose_tracks(judged, "v4/SDR", "drums", 2), worst_tracks(judged, "v4/SDR", "drums", 1))
    )
    path = tmp_path_factory.mktemp("a folder #2") / "report.html"
    write_report(judged, inside, path, kept=kept)
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser, page_file: Path) -> Iterator[SimpleNamespace]:
    """The page at a desk, and what it asks for and complains about; nothing but files may be had."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.set_default_timeout(5000)
    asked, complaints = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.route(re.compile(r"^(?!data:|file:)"), lambda route: route.abort())
    page.goto(page_file.as_uri())
    page.wait_for_function("deck !== null")
    page.locator("#room").scroll_into_view_if_needed()
    yield SimpleNamespace(page=page, asked=asked, complaints=complaints)
    assert complaints == []
    page.close()


def state(page) -> dict:
    """What the page says of itself: pressed buttons and the place on the slider, in seconds."""
    return page.evaluate(
        """({
            target: document.querySelector("#targets [aria-pressed=true]")?.dataset.target,
            signal: document.querySelector("#signals [aria-pressed=true]")?.dataset.signal,
            playing: document.querySelector("#play").getAttribute("aria-pressed") === "true",
            loops: document.querySelector("#loop").getAttribute("aria-pressed") === "true",
            at: Number(document.querySelector("#stage").getAttribute("aria-valuenow")),
        })"""
    )


def shows(page, **expected) -> None:
    shown = state(page)
    assert {key: shown[key] for key in expected} == expected


def play_for(page, seconds: float) -> None:
    page.wait_for_function("seconds => deck.playing && deck.position > seconds", arg=seconds)


def test_the_switch_keeps_the_time(opened) -> None:
    """Over four switches by key, the place moves on as a clock does."""
    page = opened.page
    page.locator("#play").click()
    play_for(page, 0.2)
    for key, signal in (("3", "estimate"), ("4", "baseline"), ("5", "residual"), ("1", "mixture")):
        before = page.evaluate("[deck.position, performance.now()]")
        page.keyboard.press(key)
        after = page.evaluate("[deck.position, performance.now()]")
        assert 1000 * (after[0] - before[0]) == pytest.approx(after[1] - before[1], abs=FRAME_MS), signal
        shows(page, signal=signal, playing=True)


def test_the_switch_between_files_beside_the_page_keeps_the_time(opened) -> None:
    """The element that becomes loud is where the one before it is, at the moment of the change."""
    page = opened.page
    page.select_option("#track", "2")
    page.wait_for_function("deck instanceof Whole")
    page.evaluate(
        """() => {
            window.jumps = [];
            let active;
            Object.defineProperty(deck, "active", {
                get: () => active,
                set: next => { if (active) jumps.push(1000 * (next.currentTime - active.currentTime)); active = next; },
            });
        }"""
    )
    page.locator("#play").click()
    play_for(page, 0.2)
    for count, (key, signal) in enumerate(
        (("3", "estimate"), ("4", "baseline"), ("5", "residual"), ("1", "mixture")), 1
    ):
        page.keyboard.press(key)
        page.wait_for_function("count => jumps.length === count", arg=count)
        shows(page, signal=signal, playing=True)
        page.wait_for_function("deck.active.volume === 1")
    assert page.evaluate("jumps") == pytest.approx([0] * 4, abs=FRAME_MS)


def render(page, seconds: float, switch_at: float, keys: tuple[str, str], loop: str = "null") -> np.ndarray:
    """What the loudspeakers would get of the excerpt's deck, by an offline context: [samples] of the left channel."""
    return np.array(
        page.evaluate(
            """async ([seconds, switchAt, [from, to], loop]) => {
                deck.pause();
                await deck.load();
                const rate = room.rate;
                context = new OfflineAudioContext(2, seconds * rate, rate);
                output = context.createGain();
                output.connect(context.destination);
                deck.choose(from, "vocals");
                deck.seek(1);
                deck.mark(loop);
                deck.playing = true;
                deck.start();
                context.suspend(switchAt).then(() => { deck.choose(to, "vocals"); context.resume(); });
                return [...(await context.startRendering()).getChannelData(0)];
            }""",
            [seconds, switch_at, keys, None if loop == "null" else {"start": 1.0, "end": 1.25}],
        )
    )


def test_a_switch_is_in_step_to_the_sample_and_does_not_click(opened) -> None:
    """Before it, what is heard is the one signal, after it the other, at the same time of the track; and no step is
    larger than those of the signals themselves."""
    page, song = opened.page, heard(0)
    signals = [song.track.mixture[RATE_HZ:, 0], song.track.stems["vocals"][RATE_HZ:, 0]]
    lead = round(0.01 * RATE_HZ)
    found = render(page, 1.0, 0.512, ("mixture", "vocals/reference"))[lead:]
    before, after = slice(300, 3950), slice(4750, len(found))
    np.testing.assert_allclose(found[before], signals[0][before], atol=2e-4)
    np.testing.assert_allclose(found[after], signals[1][after.start : len(found)], atol=2e-4)
    largest = max(np.abs(np.diff(signal)).max() for signal in signals)
    assert np.abs(np.diff(found)).max() < 1.1 * largest


def test_a_loop_is_seamless(opened) -> None:
    """A quarter of a second, over and over, to the sample."""
    song = heard(0).track.mixture[RATE_HZ : RATE_HZ + RATE_HZ // 4, 0]
    found = render(opened.page, 1.0, 0.9, ("mixture", "mixture"), loop="a quarter")[round(0.01 * RATE_HZ) :]
    np.testing.assert_allclose(found[len(song) : 3 * len(song)], np.tile(song, 2), atol=2e-4)


@pytest.mark.parametrize("track", [0, 2], ids=["excerpt", "whole"])
def test_a_marked_stretch_loops(opened, track: int) -> None:
    """Marked by a drag over the pictures from 20 % to 30 %; for 2 s the place stays within it."""
    page = opened.page
    page.select_option("#track", str(track))
    page.wait_for_function("number => trackField.value == number && room.duration > 0", arg=track)
    box = page.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 30, steps=5)
    page.mouse.up()
    assert state(page)["loops"]
    page.locator("#play").click()
    page.wait_for_function("deck.position > 1.3")
    places = page.evaluate(
        """new Promise(done => {
            const seen = [], timer = setInterval(() => seen.push(deck.position), 20);
            setTimeout(() => { clearInterval(timer); done(seen); }, 2000);
        })"""
    )
    assert min(places) > 0.2 * SECONDS - 0.05
    assert max(places) < 0.3 * SECONDS + 0.1
    assert np.sum(np.diff(places) < -0.2) in range(2, 6), "it came back each 0.6 s"
    page.keyboard.press("l")
    page.wait_for_function("end => deck.position > end", arg=0.3 * SECONDS + 0.2)


def test_every_key_of_the_help(opened) -> None:
    page = opened.page
    assert state(page) == {"target": "vocals", "signal": "mixture", "playing": False, "loops": False, "at": 0}
    page.keyboard.press("Space")
    play_for(page, 0.1)
    page.keyboard.press("Space")
    assert not state(page)["playing"]
    page.locator("#room").focus()
    page.keyboard.press("Home")
    for key, moved in (("ArrowRight", 1.0), ("ArrowRight", 2.0), ("Shift+ArrowLeft", 1.9), ("ArrowLeft", 0.9)):
        page.keyboard.press(key)
        assert state(page)["at"] == pytest.approx(moved, abs=1e-3)
    for place, signal in enumerate(("mixture", "reference", "estimate", "baseline", "residual"), start=1):
        page.keyboard.press(str(place))
        assert state(page)["signal"] == signal
    for key, target in (("ArrowDown", "drums"), ("ArrowDown", "bass"), ("ArrowUp", "drums")):
        page.keyboard.press(key)
        assert (state(page)["target"], state(page)["signal"]) == (target, "residual")
    page.keyboard.press("a")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("b")
    assert page.evaluate("deck.loop") == pytest.approx({"start": 0.9, "end": 1.9}, abs=1e-3)
    page.keyboard.press("L")
    assert not state(page)["loops"]
    page.keyboard.press("l")
    assert page.evaluate("deck.loop") == {"start": 0, "end": SECONDS}
    page.keyboard.press("m")
    assert page.locator("#mute").get_attribute("aria-pressed") == "true"
    page.keyboard.press("Control+m")
    assert page.locator("#mute").get_attribute("aria-pressed") == "true", "with control it is the browser's key"
    page.keyboard.press("n")
    page.wait_for_function("deck.playing")
    shows(page, target="drums", signal="estimate", loops=True)


def test_keys_leave_the_rest_of_the_page_alone(opened) -> None:
    page = opened.page
    page.locator("input[type=search]").first.fill("")
    page.locator("input[type=search]").first.press("1")
    page.keyboard.press("m")
    assert page.locator("input[type=search]").first.input_value() == "1m"
    assert page.locator("#mute").get_attribute("aria-pressed") == "false"
    page.locator("#loop").focus()
    page.keyboard.press("Space")
    shows(page, loops=True, playing=False)  # space presses the button that has the focus


def test_a_click_on_any_picture_seeks_and_the_playhead_is_there(opened) -> None:
    page = opened.page
    for share, selector in ((0.25, ".wave"), (0.5, ".spectrogram"), (0.75, ".sdr")):
        box = page.locator(f"#stage {selector}").bounding_box()
        page.mouse.click(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
        assert state(page)["at"] == pytest.approx(share * SECONDS, abs=0.02)
        head = page.locator(".playhead").bounding_box()
        assert head["x"] + head["width"] / 2 == pytest.approx(box["x"] + share * box["width"], abs=2)
        assert head["height"] >= 0.99 * page.locator("#stage").bounding_box()["height"]
    page.locator("#play").click()
    page.wait_for_function(
        "left => document.querySelector('.playhead').offsetLeft > left", arg=head["x"] - box["x"] + 20
    )


def test_the_worst_stretch_comes_first_and_plays_in_a_loop(opened) -> None:
    page = opened.page
    first = page.locator(".stretches li").first
    assert first.inner_text().startswith("0:03.0–0:05.0 drums SDR −5.58 dB (last blessed model 13.98)"), "|1 + 0.9|"
    first.get_by_role("button").click()
    page.wait_for_function("deck.playing")
    shows(page, target="drums", signal="estimate", loops=True)
    assert page.evaluate("deck.loop") == pytest.approx({"start": BAD[0], "end": BAD[1]}, abs=1e-3)
    assert state(page)["at"] == pytest.approx(BAD[0], abs=0.5)
    page.wait_for_function("deck.position > 3.6")
    assert page.locator("#readout").inner_text().startswith("drums: estimate SDR −5.6 dB, baseline SDR 14.0 dB")


def test_the_line_of_sdr_falls_where_the_estimate_is_bad(opened) -> None:
    """In the picture, whose height is from −10 to 20 dB: 20 dB at its top, −5.6 dB near its foot."""
    opened.page.locator("#targets").get_by_role("button", name="drums").click()
    path = opened.page.locator(".sdr path.estimate").get_attribute("d")
    points = np.array([[float(number) for number in pair.split()] for pair in re.split("[ML]", path)[1:]])
    inside = (points[:, 0] > 1000 * 3.5 / SECONDS - 1) & (points[:, 0] < 1000 * 4.5 / SECONDS + 1)
    np.testing.assert_allclose(points[inside, 1], 100 - 100 * (10 - 5.6) / 30, atol=1)
    np.testing.assert_allclose(points[points[:, 0] < 1000 * 2.4 / SECONDS, 1], 0, atol=1)


def test_whole_tracks_are_asked_for_only_when_they_are_chosen(opened, page_file: Path) -> None:
    page = opened.page
    assert {url for url in opened.asked if not url.startswith("data:")} == {page_file.as_uri()}
    page.select_option("#track", "2")
    page.wait_for_function("deck instanceof Whole")
    page.locator("#play").click()
    play_for(page, 0.2)
    beside = page_file.parent.as_uri() + "/report_audio/"
    assert all(url.startswith((beside, page_file.as_uri(), "data:")) for url in opened.asked)


def test_says_so_when_the_audio_is_no_longer_beside_the_page(browser, page_file: Path, tmp_path: Path) -> None:
    page = browser.new_page()
    alone = tmp_path / "alone.html"
    shutil.copy(page_file, alone)
    page.goto(alone.as_uri())
    page.select_option("#track", "2")
    page.wait_for_function("document.querySelector('#problem').textContent.endsWith('is not beside this page')")
    page.select_option("#track", "0")
    page.locator("#play").click()
    play_for(page, 0.1)
    assert page.locator("#problem").inner_text() == ""
    page.close()


def test_everything_that_can_be_pressed_has_a_name_and_shows_its_focus(opened) -> None:
    page = opened.page
    controls = page.locator("#listen button:enabled, #listen select, #listen [role=slider]")
    assert controls.count() > 15
    names = controls.evaluate_all(
        "all => all.map(e => e.getAttribute('aria-label') || e.labels?.[0]?.textContent || e.textContent.trim())"
    )
    assert all(names)
    for place in (0, controls.count() - 1):
        controls.nth(place).focus()
        page.keyboard.press("Tab")
        page.keyboard.press("Shift+Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


@pytest.mark.parametrize("width", [390, 1400])
def test_four_targets_need_no_scrolling_sideways(browser, page_file: Path, width: int) -> None:
    """Neither the page nor any table of it, whichever target's columns are shown."""
    page = browser.new_page(viewport={"width": width, "height": 844})
    page.goto(page_file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for view in ("SDR", *TARGETS):
        for button in page.get_by_role("group", name="Columns").get_by_role("button", name=view, exact=True).all():
            button.click()
        wide = page.evaluate("[...document.querySelectorAll('.scroll')].map(e => e.scrollWidth - e.clientWidth)")
        assert len(wide) >= 5
        assert max(wide) <= 0, view
        columns = page.locator("table.tracks td:visible").count() / len(NAMES)
        assert columns == {("SDR", 390): 5, ("SDR", 1400): 11}.get((view, width), 6 if width == 390 else 8)
    page.close()
