"""The page to try a model, over real HTTP and in a real browser: what it separates is what the Python client separates."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from serving.client import Client
from serving.process import running

CHROMIUM = shutil.which("chromium")
in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

RATE_HZ = 8000
EXCERPT = Path(__file__).parents[3] / "excerpt" / "excerpt.ogg"
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
EXACT = {"rtol": 0, "atol": 1e-4}
DONE = "#said:not(:empty), #problem:not(:empty)"


def saved(directory: Path, seed: int = 0, **changes) -> None:
    """A small model, its weights far from nothing, exported."""
    import tf_keras as keras

    from models import exported
    from models.separator import Separator
    from models.spec import ModelSpec

    keras.utils.set_random_seed(seed)
    sizes = {"units": 8, "layers": 2}
    fields = {"sample_rate_hz": RATE_HZ, "frame_length": 256, "hop": 64, **changes}
    separator = Separator(ModelSpec("lstm_online", sizes, **fields))
    random = np.random.default_rng(seed)
    separator.set_weights([weight + random.normal(0, 0.2, weight.shape) for weight in separator.get_weights()])
    exported.save(separator, directory)


@pytest.fixture(scope="module")
def bases(tmp_path_factory, saved_model: Path, half_plus_two: Path) -> Path:
    """Models by name: of one channel, which is told the level of a song, and of two; one of known answers; one of another kind."""
    root = tmp_path_factory.mktemp("page")
    saved(root / "mono" / "1", normalise_level=True)
    saved(root / "stereo <b>" / "1", channels=2)
    saved(root / "music" / "1", channels=2, sample_rate_hz=44100, frame_length=1024, hop=512, normalise_level=True)
    saved(root / "next" / "2", seed=1, normalise_level=True)
    shutil.copytree(saved_model, root / "gain" / "1")
    shutil.copytree(half_plus_two, root / "no separator")
    models = [
        f'config {{ name: "{name}" base_path: "{root / name}" model_platform: "tensorflow" }}'
        for name in ("mono", "stereo <b>", "music", "gain", "no separator")
    ]
    (root / "models.config").write_text(f"model_config_list {{ {' '.join(models)} }}")
    return root


@pytest.fixture(scope="module")
def ports(serve, bases: Path) -> Iterator[SimpleNamespace]:
    with serve(f"--model_config_file={bases}/models.config", "--stemline_page") as ports:
        yield ports


def song(seconds: float, channels: int, rate_hz: int = RATE_HZ) -> np.ndarray:
    """Tones that come and go over noise, float32 [samples, channels], with silence between."""
    time = np.arange(round(seconds * rate_hz))[:, np.newaxis] / rate_hz
    tones = 0.3 * np.sin(2 * np.pi * (220 + 110 * np.arange(channels)) * time) * (np.sin(time) > -0.5)
    noise = 0.02 * np.random.default_rng(5).standard_normal(tones.shape)
    return (tones + noise * (time % 7 < 3)).astype(np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """What a person may drop."""
    folder = tmp_path_factory.mktemp("files")
    for name, samples, rate_hz in (
        ("a song.wav", song(23.4, 2), RATE_HZ),
        ("mono.wav", song(12, 1), RATE_HZ),
        ("short.wav", song(0.01, 1), RATE_HZ),
        ("three.wav", song(2, 3), RATE_HZ),
        ("other rate.wav", song(11, 1, 11025), 11025),
        ("nan.wav", np.where(np.arange(RATE_HZ) == 4321, np.nan, 0).astype(np.float32), RATE_HZ),
    ):
        soundfile.write(folder / name, samples, rate_hz, subtype="FLOAT")
    (folder / "empty.wav").touch()
    (folder / "notes.mp3").write_text("no music\n" * 1000)
    return folder


# ---- over HTTP


def ask(port: int, method: str, path: str) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("localhost", port, timeout=30)
    connection.request(method, path)
    response = connection.getresponse()
    return response.status, response.read(), dict(response.getheaders())


def test_the_page_is_one_document_that_knows_the_models(ports) -> None:
    status, body, headers = ask(ports.rest, "GET", "/")
    assert (status, headers["Content-Type"]) == (200, "text/html")
    text = body.decode()
    [names] = re.findall('id="models">(.*?)</script>', text)
    assert json.loads(names) == ["mono", "stereo <b>", "music", "gain", "no separator"]
    assert "<b>" not in names  # a name ends no script
    assert not re.findall(r"(?:src|href)=\"(?!data:)|https?:|@import|url\(", text)
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert policy.count("'sha256-") == 2
    assert "connect-src 'self'" in policy
    assert ask(ports.rest, "HEAD", "/")[:2] == (200, b"")


@pytest.mark.parametrize(("method", "path"), [("POST", "/"), ("GET", "/index.html"), ("GET", "/page"), ("GET", "//")])
def test_every_other_path_answers_as_before(ports, method: str, path: str) -> None:
    assert ask(ports.rest, method, path)[:2] == (404, b'{\n    "error": "Not Found"\n}')


def test_there_is_no_page_unless_asked_for(serve, saved_model, tmp_path: Path) -> None:
    shutil.copytree(saved_model, tmp_path / "1")
    with serve("--model_name=m", f"--model_base_path={tmp_path}") as ports:
        status, body, headers = ask(ports.rest, "GET", "/")
    assert (status, body) == (404, b'{\n    "error": "Not Found"\n}')
    assert "Content-Security-Policy" not in headers


# ---- in a browser


@pytest.fixture(scope="module")
def browser() -> Iterator:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


Opened = Callable[..., SimpleNamespace]


@pytest.fixture
def opened(browser, files: Path) -> Iterator[Opened]:
    """(REST port, options of a browser's context) -> the page, what it asks for, and what it complains about."""
    contexts = []

    def open_page(port: int, **options) -> SimpleNamespace:
        contexts.append(browser.new_context(**{"viewport": DESK, **options}))
        tab = contexts[-1].new_page()
        asked, complaints = [], []
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.goto(f"http://localhost:{port}/")
        return SimpleNamespace(tab=tab, asked=asked, complaints=complaints, port=port)

    yield open_page
    for context in contexts:
        context.close()


def separate(tab, path: Path) -> str:
    """Chooses a file; the sentence of the end."""
    tab.set_input_files("#file", path)
    return outcome(tab)


def outcome(tab) -> str:
    tab.locator(DONE).first.wait_for(timeout=240_000)
    return tab.text_content("#said") + tab.text_content("#problem")


def downloaded(tab) -> dict[str, tuple[np.ndarray, int]]:
    """Every track as it is downloaded: name -> (samples, rate)."""
    found = {}
    for name in tab.evaluate("() => tracks.map(track => track.name)"):
        with tab.expect_download() as download:
            tab.get_by_role("button", name=f"download {name} as WAV").click()
        found[name] = soundfile.read(download.value.path(), dtype="float32", always_2d=True)
        assert download.value.suggested_filename.endswith(f"-{name}.wav")
    return found


def by_the_client(port: int, model: str, path: Path, **options) -> dict[str, np.ndarray]:
    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    with Client(f"localhost:{port}", model_name=model, **options) as client:
        return client.separate(samples, rate_hz)


DROP = """([name, base64]) => {
  const bytes = Uint8Array.from(atob(base64), letter => letter.charCodeAt(0)), data = new DataTransfer();
  data.items.add(new File([bytes], name));
  document.getElementById("drop").dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true}));
}"""


@in_a_browser
def test_a_dropped_song_becomes_what_the_client_makes_of_it(ports, opened: Opened, files: Path) -> None:
    """Two channels by a model of one: three chunks, each told the level of each channel."""
    import base64

    page = opened(ports.rest)
    tab, path = page.tab, files / "a song.wav"
    tab.get_by_text("version 1", exact=True).wait_for()
    tab.evaluate(DROP, [path.name, base64.b64encode(path.read_bytes()).decode()])
    tab.locator("progress").wait_for()
    assert re.fullmatch(r"Separated by mono, version 1, in [\d.]+ s\. .*", outcome(tab))
    expected = by_the_client(ports.grpc, "mono", path)
    got = downloaded(tab)
    assert list(got) == ["mixture", "accompaniment", "vocals"]
    assert {rate_hz for _, rate_hz in got.values()} == {RATE_HZ}
    for target, stem in expected.items():
        np.testing.assert_allclose(got[target][0], stem, **EXACT)
        assert np.abs(stem).max() > 0.05
    np.testing.assert_array_equal(got["mixture"][0], soundfile.read(path, dtype="float32")[0])
    assert len([url for url in page.asked if url.endswith("/versions/1:predict")]) == 1 + 3  # describe, chunks
    assert {url.split("/")[2] for url in page.asked if not url.startswith("blob:")} == {f"localhost:{ports.rest}"}
    assert not page.complaints


@in_a_browser
@pytest.mark.parametrize("name", ["a song.wav", "mono.wav", "short.wav"])
def test_a_model_of_two_channels(ports, opened: Opened, files: Path, name: str) -> None:
    """Mono is repeated on both, and comes back as mono."""
    page = opened(ports.rest)
    page.tab.select_option("#model", "stereo <b>")
    assert separate(page.tab, files / name).startswith("Separated by stereo <b>, version 1")
    got = downloaded(page.tab)
    for target, stem in by_the_client(ports.grpc, "stereo <b>", files / name).items():
        np.testing.assert_allclose(got[target][0], stem, **EXACT)
    assert not page.complaints


@in_a_browser
def test_a_real_song_in_a_lossy_format(ports, opened: Opened) -> None:
    """Ogg Vorbis in stereo at 44.1 kHz, decoded by the browser here and by libsndfile there."""
    page = opened(ports.rest)
    page.tab.select_option("#model", "music")
    assert separate(page.tab, EXCERPT).startswith("Separated by music, version 1")
    got = downloaded(page.tab)
    for target, stem in by_the_client(ports.grpc, "music", EXCERPT).items():
        np.testing.assert_allclose(got[target][0], stem, **EXACT)
        assert np.abs(stem).max() > 0.05
    assert not page.complaints


@in_a_browser
def test_a_model_that_tells_neither_level_nor_period(ports, opened: Opened, tmp_path: Path) -> None:
    """Of known answers; three channels are a batch of three."""
    samples = song(21, 3, 16000)
    soundfile.write(tmp_path / "<img src=x>.wav", samples, 16000, subtype="FLOAT")
    page = opened(ports.rest)
    page.tab.select_option("#model", "gain")
    assert separate(page.tab, tmp_path / "<img src=x>.wav").startswith("Separated by gain, version 1")
    got = downloaded(page.tab)
    np.testing.assert_allclose(got["vocals"][0], 0.25 * samples, atol=1e-6)
    np.testing.assert_allclose(got["accompaniment"][0], 0.75 * samples, atol=1e-6)
    assert not page.complaints


@in_a_browser
def test_another_rate_is_the_models(ports, opened: Opened, files: Path) -> None:
    """The browser's resampler and soxr agree to 30 dB where both let pass what there is."""
    import soxr

    page, path = opened(ports.rest), files / "other rate.wav"
    assert separate(page.tab, path).startswith("Separated")
    stem, rate_hz = downloaded(page.tab)["vocals"]
    samples, from_hz = soundfile.read(path, dtype="float32", always_2d=True)
    with Client(f"localhost:{ports.grpc}", model_name="mono") as client:
        expected = client.separate(soxr.resample(samples, from_hz, RATE_HZ), RATE_HZ)["vocals"]
    assert rate_hz == RATE_HZ
    assert abs(len(stem) - len(expected)) <= 1
    both = min(len(stem), len(expected))
    error = stem[:both] - expected[:both]
    assert np.mean(error**2) < 1e-3 * np.mean(expected**2)


HEARD = """async () => {
  const into = new OfflineAudioContext(1, 8000, 8000);
  start(into, 0, 2);
  return [...(await into.startRendering()).getChannelData(0)];
}"""


@in_a_browser
def test_solo_mute_and_level_are_what_is_heard(ports, opened: Opened, files: Path) -> None:
    """A second of the player's own mixer, rendered by the browser from the second second on."""
    tab = opened(ports.rest).tab
    separate(tab, files / "mono.wav")
    part = {name: samples[2 * RATE_HZ : 3 * RATE_HZ, 0] for name, (samples, _) in downloaded(tab).items()}

    def check(expected: np.ndarray) -> None:
        np.testing.assert_allclose(tab.evaluate(HEARD), expected, atol=1e-5)

    def press(name: str) -> None:
        tab.get_by_role("button", name=name, exact=True).click()

    check(part["vocals"] + part["accompaniment"])
    press("mute accompaniment")
    check(part["vocals"])
    press("solo accompaniment")
    check(part["accompaniment"])
    press("solo mixture")  # muted, but a solo is heard
    check(part["accompaniment"] + part["mixture"])
    press("solo mixture")
    tab.get_by_role("slider", name="Level of accompaniment").fill("50")
    check(0.5 * part["accompaniment"])
    press("solo accompaniment")
    press("mute vocals")
    check(0 * part["vocals"])


@in_a_browser
def test_the_keyboard_plays_seeks_and_solos(ports, opened: Opened, files: Path) -> None:
    page = opened(ports.rest)
    tab = page.tab
    separate(tab, files / "a song.wav")
    tab.get_by_role("button", name="mute vocals").click()  # space does not press it again
    tab.keyboard.press("Space")
    tab.wait_for_timeout(300)
    assert tab.evaluate("() => playing && position() > 0.05 && context.state") == "running"
    gains = tab.evaluate("() => tracks.map(track => track.gain.gain.value)")
    assert np.round(gains, 3).tolist() == [0, 1, 0]
    tab.keyboard.press("3")
    tab.wait_for_timeout(300)
    gains = tab.evaluate("() => tracks.map(track => track.gain.gain.value)")
    assert np.round(gains, 3).tolist() == [0, 0, 1]
    tab.keyboard.press("Space")
    assert not tab.evaluate("() => playing")
    tab.keyboard.press("Home")
    tab.keyboard.press("ArrowRight")
    assert tab.evaluate("() => position()") == 5
    tab.keyboard.press("Shift+ArrowLeft")
    assert tab.evaluate("() => position()") == 4
    assert tab.text_content("#time") == "0:04 of 0:23"
    for _ in range(9):
        tab.keyboard.press("ArrowRight")
    assert tab.evaluate("() => position()") == pytest.approx(23.4)
    tab.get_by_role("slider", name="Level of vocals").focus()
    tab.keyboard.press("ArrowLeft")  # the slider's own
    assert tab.evaluate("() => [tracks[2].level, position()]") == pytest.approx([0.99, 23.4])
    assert not page.complaints


@in_a_browser
def test_a_phone(ports, opened: Opened, files: Path) -> None:
    page = opened(ports.rest, viewport=PHONE, has_touch=True, is_mobile=True)
    tab = page.tab
    separate(tab, files / "mono.wav")
    assert tab.evaluate("() => document.documentElement.scrollWidth") <= PHONE["width"]
    for control in tab.locator("button:visible, select, input[type=range]").all():
        assert control.bounding_box()["height"] >= 44, control
    picture = tab.get_by_role("img", name="Spectrogram of vocals")
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    tab.touchscreen.tap(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    assert tab.evaluate("() => position()") == pytest.approx(3, abs=0.05)
    tab.get_by_role("button", name="play").tap()
    assert tab.evaluate("() => playing")
    assert not page.complaints


@in_a_browser
def test_every_control_has_a_name_and_pictures_are_drawn(ports, opened: Opened, files: Path) -> None:
    tab = opened(ports.rest).tab
    separate(tab, files / "mono.wav")
    names = [line.strip() for line in tab.locator("main").aria_snapshot().splitlines()]
    controls = [line for line in names if re.match(r"- (button|slider|combobox|img|region|group)", line)]
    assert len(controls) > 15
    assert all(re.match(r'- \w+ ".+"', line) for line in controls), controls
    shades = tab.evaluate("""() => [...document.querySelectorAll(".spectrogram")].map(canvas => new Set(
      new Uint32Array(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size)""")
    assert len(shades) == 3
    assert min(shades) > 30


@in_a_browser
@pytest.mark.parametrize(
    ("model", "name", "words"),
    [
        ("mono", "notes.mp3", "The file notes.mp3 holds no audio that this browser can decode."),
        ("mono", "nan.wav", "The file nan.wav holds NaN or infinity at sample 4321; legal are finite numbers."),
        ("stereo <b>", "three.wav", "The audio has 3 channels; the model takes 1 or 2."),
        ("mono", "empty.wav", "The file empty.wav holds no audio that this browser can decode."),
        ("no separator", "mono.wav", "Model no separator does not tell its sample rate (by a signature 'describe')."),
    ],
)
def test_what_cannot_be_separated_is_one_sentence(
    ports, opened: Opened, files: Path, model: str, name: str, words: str
) -> None:
    page = opened(ports.rest)
    page.tab.select_option("#model", model)
    assert separate(page.tab, files / name) == words
    assert not page.tab.locator("#work").is_visible()
    page.tab.select_option("#model", "mono")
    assert separate(page.tab, files / "mono.wav").startswith("Separated")  # and the next song is taken
    assert page.tab.text_content("#problem") == ""
    assert not page.complaints


@in_a_browser
def test_cancel_and_another_song(ports, opened: Opened, files: Path) -> None:
    """The first is cancelled, the second gives way to the third."""
    page = opened(ports.rest)
    tab, held = page.tab, []
    tab.route("**:predict", lambda route: held.append(route) if len(held) < 4 else route.continue_())
    for place, path in enumerate([files / "a song.wav", files / "a song.wav"]):
        tab.set_input_files("#file", path)
        while len(held) <= place:
            tab.wait_for_timeout(20)
        if place == 0:
            tab.get_by_role("button", name="Cancel").click()
            assert outcome(tab) == "Cancelled."
            assert not tab.locator("#work").is_visible()
    tab.unroute("**:predict")
    assert separate(tab, files / "mono.wav").startswith("Separated")
    assert tab.text_content("#time") == "0:00 of 0:12"
    assert not page.complaints


@in_a_browser
def test_a_song_is_never_of_two_versions(bases: Path, serve, opened: Opened, files: Path, tmp_path: Path) -> None:
    """The server takes version 2 and drops 1 between two chunks: the song begins again, and two tabs do so each by itself."""
    shutil.copytree(bases / "mono" / "1", tmp_path / "mono" / "1")
    path = files / "a song.wav"
    with serve("--model_name=mono", f"--model_base_path={tmp_path / 'mono'}", "--stemline_page") as ports:
        first, second = opened(ports.rest), opened(ports.rest)
        asked = []

        def swap(route) -> None:
            asked.append(route.request.url)
            if len(asked) == 3:  # describe, a chunk, and now
                shutil.copytree(bases / "next" / "2", tmp_path / ".new")
                (tmp_path / ".new").rename(tmp_path / "mono" / "2")
                while ask(ports.rest, "GET", "/v1/models/mono/versions/1/metadata")[0] == 200:
                    time.sleep(0.05)
            route.continue_()

        first.tab.route("**:predict", swap)
        assert separate(first.tab, path).startswith("Separated by mono, version 2")
        assert separate(second.tab, path).startswith("Separated by mono, version 2")
        assert second.tab.text_content("#version") == "version 2"
        expected = by_the_client(ports.grpc, "mono", path)
        for page in (first, second):
            got = downloaded(page.tab)
            for target, stem in expected.items():
                np.testing.assert_allclose(got[target][0], stem, **EXACT)
    assert any("/versions/1:" in url for url in asked)


@in_a_browser
@pytest.mark.slow
def test_a_server_that_goes_is_waited_for(bases: Path, free_ports, opened: Opened, files: Path) -> None:
    """It stops between two chunks and comes back; then it stops for good."""
    grpc_port, rest_port = free_ports(2)
    flags = [f"--rest_api_port={rest_port}", "--stemline_page"]
    base, path = bases / "mono", files / "a song.wav"

    def server():
        return running(base, "mono", grpc_port, flags)

    with server():
        page = opened(rest_port)
        tab = page.tab
        held = []
        tab.route("**:predict", lambda route: held.append(route) if len(held) < 2 else route.continue_())
        tab.set_input_files("#file", path)
        while not held:
            tab.wait_for_timeout(20)
        held[0].continue_()
        while len(held) < 2:
            tab.wait_for_timeout(20)
    held[1].continue_()
    tab.get_by_text("waiting up to 60 s: the server does not answer").wait_for(timeout=30_000)
    with server():
        assert outcome(tab).startswith("Separated by mono, version 1")
        expected = by_the_client(grpc_port, "mono", path)
        np.testing.assert_allclose(downloaded(tab)["vocals"][0], expected["vocals"], **EXACT)
    tab.clock.install()
    tab.set_input_files("#file", path)
    for _ in range(40):
        tab.clock.run_for(2000)
        tab.wait_for_timeout(20)
    assert tab.text_content("#problem") == "The server does not answer."


@in_a_browser
@pytest.mark.slow
@pytest.mark.skipif("STEMLINE_SCREENSHOT" not in os.environ, reason="STEMLINE_SCREENSHOT names no file")
def test_the_picture_in_the_docs(free_ports, opened: Opened) -> None:
    """STEMLINE_MODEL, a SavedModel's directory, separates STEMLINE_AUDIO; docs/serving.md has the command."""
    from PIL import Image

    model, audio, picture = (Path(os.environ[f"STEMLINE_{name}"]) for name in ("MODEL", "AUDIO", "SCREENSHOT"))
    grpc_port, rest_port = free_ports(2)
    with running(model.parent, "stemline", grpc_port, [f"--rest_api_port={rest_port}", "--stemline_page"]):
        tab = opened(rest_port, viewport={"width": 900, "height": 600}, device_scale_factor=1.25).tab
        assert separate(tab, audio).startswith("Separated by stemline")
        tab.evaluate("() => seek(seconds() / 3)")
        tab.screenshot(path=picture, full_page=True)
    with Image.open(picture) as shot:
        shot.convert("RGB").quantize(32, dither=Image.Dither.NONE).save(picture, optimize=True)
    assert picture.stat().st_size < 200_000
