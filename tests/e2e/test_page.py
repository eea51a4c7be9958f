"""The page in a real browser, on a whole machine: what it shows, plays, stops, and says when something is wrong."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright, expect

from tests.fakes import machine as machines
from tests.fakes import transport_packets
from tests.fakes.hls_origin import hls_origin
from tests.fakes.machine import Machine, until
from tests.fakes.ports import free_port
from tests.fakes.provider import provider
from tests.fakes.viewing import clip

CHROMIUM = Path("/usr/bin/chromium")
MISSING = "needs a browser: apt-get install --no-install-recommends chromium"
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]
PENSTOCK = Path(sys.executable).parent / "penstock"
WAIT_MILLISECONDS = 20_000
"""Longer than a closed run stays in sight."""
PAGES = {
    "streams": "#/",
    "stream": "#/streams/demo",
    "compare": "#/desired",
    "proxies": "#/proxies",
    "limits": "#/limits",
    "log": "#/log",
}
MPEG2 = 0x02
PICTURES = "document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames"
CAM = {"upstreams": ["demo:"]}

expect.set_options(timeout=WAIT_MILLISECONDS)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(not CHROMIUM.exists(), reason=MISSING),
]

REPORT_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) => {
  console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`);
});
"""


@dataclass
class Faults:
    """What no page may do, however it looks."""

    complaints: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._on_request)

    def _on_console(self, message: ConsoleMessage) -> None:
        is_about_a_snapshot = "/thumb/" in message.location["url"]  # browsers report each that is refused
        if message.type in ("error", "warning") and not is_about_a_snapshot:
            self.complaints.append(f"{message.text} ({message.location['url']})")

    def _on_request(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme not in ("blob", "data") and address.hostname != "127.0.0.1":
            self.strangers.append(request.url)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        await started.close()


@asynccontextmanager
async def running(data: Path, **environment: str) -> AsyncIterator[Machine]:
    """A machine with the demo source, which announces its stream over MQTT."""
    data.mkdir(mode=0o700)
    async with machines.machine(data, environment=environment) as started:
        source = await asyncio.create_subprocess_exec(
            str(PENSTOCK),
            "demo",
            *("--mqtt-url", f"mqtt://127.0.0.1:{started.mqtt_port}"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await until(lambda: _is(started, "LIVE"), 30)
            yield started
        finally:
            source.terminate()
            await source.wait()


@pytest.fixture
async def station(tmp_path: Path) -> AsyncIterator[Machine]:
    async with running(tmp_path / "data", PENSTOCK_ORPHAN_GRACE_SECONDS="60", PENSTOCK_RESYNC_SECONDS="1") as started:
        yield started


@asynccontextmanager
async def opened(browser: Browser, station: Machine, where: str = "#/", **options: Any) -> AsyncIterator[Page]:
    """A tab on the page; what must never happen is checked at its end."""
    context = await browser.new_context(**options)
    await context.add_init_script(REPORT_VIOLATIONS)
    page = await context.new_page()
    page.set_default_timeout(WAIT_MILLISECONDS)
    faults = Faults()
    faults.watch(page)
    await page.goto(f"http://127.0.0.1:{station.http_port}/{where}")
    yield page
    await context.close()
    assert faults.strangers == []
    assert faults.complaints == []


async def _is(station: Machine, state: str) -> bool:
    return await station.state("demo") == state


async def _has_played(page: Page, seconds: float) -> bool:
    return bool(await page.evaluate(f"document.querySelector('video').currentTime > {seconds}"))


async def _play(page: Page, output: str) -> None:
    await page.get_by_text(output, exact=True).first.click()
    await page.get_by_role("button", name="Play here").click()
    await until(lambda: _has_played(page, 2), 30)
    await expect(page.get_by_text("H.264, AAC")).to_be_visible()
    await page.get_by_role("button", name="Stop watching").click()


async def _shows_its_picture(page: Page) -> None:
    """The newest picture stands where the player was, and in the list."""
    picture = page.get_by_role("img", name="Newest picture of demo")
    await expect(picture).to_be_visible()
    assert await picture.evaluate("image => image.naturalWidth") == 480
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("row").filter(has=picture)).to_be_visible()
    await page.get_by_role("link", name="demo").click()


async def test_a_stream_is_shown_played_and_stopped(browser, station):
    async with opened(browser, station) as page:
        row = page.get_by_role("row").filter(has=page.get_by_role("link", name="demo"))
        await expect(row.get_by_text("LIVE")).to_be_visible()
        await expect(row.get_by_text("Idle")).to_be_visible()
        await row.get_by_text("Idle").click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("demo")
        await expect(page.get_by_text("Source demo announced it").first).to_be_attached()

        await _play(page, "HLS")
        await _play(page, "MPEG-TS")
        async with station.http.get(station.ts("demo")):  # somebody else watches
            await _shows_its_picture(page)

        await page.get_by_role("button", name="Stop stream").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("Why").fill("enough of it")
        await dialog.get_by_role("button", name="Stop stream").click()
        await expect(page.locator(".title").get_by_text(re.compile("ENDED|CLOSED"))).to_be_visible()
        await expect(page.locator(".title").get_by_text("CLOSED")).to_be_visible()
        await expect(page.locator(".figures")).to_contain_text("an operator stopped it")
        await expect(page.get_by_role("region", name="Timeline")).to_contain_text("enough of it")
        await expect(page.get_by_role("button", name="Stop stream")).to_have_count(0)

        await page.keyboard.press("Escape")
        await page.get_by_text("Show history").click()
        await expect(page.get_by_role("row").filter(has_text="demo").get_by_text("CLOSED")).to_be_visible()
        assert "history=1" in page.url
    assert await station.state("demo") == "CLOSED"
    assert not (await station.sync_check(live=True))["discrepancies"]["has_issues"]


async def test_changes_arrive_by_themselves_and_the_keyboard_is_enough(browser, station):
    async with opened(browser, station) as page:
        await expect(page.get_by_text("Live", exact=True)).to_be_visible()
        await station.publish("streams/cam-7/started", {"upstreams": ["demo:"]})
        await expect(page.get_by_role("link", name="cam-7")).to_be_visible()
        await expect(page.locator("#announcer")).to_have_text("cam-7 is LIVE")
        await page.keyboard.press("/")
        await page.keyboard.type("cam")
        await expect(page.get_by_role("link", name="demo", exact=True)).to_have_count(0)
        assert "q=cam" in page.url
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("link", name="cam-7")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_contain_text("cam-7")
        await page.keyboard.press("Escape")
        await expect(page.get_by_label("Filter streams")).to_have_value("cam")
        await page.keyboard.press("?")
        await expect(page.get_by_role("dialog")).to_contain_text("Next, previous row")
        await page.keyboard.press("Escape")
        await page.get_by_label("Filter streams").fill("")
        await station.publish("streams/cam-7/ended", {})
        await expect(page.get_by_role("row").filter(has_text="cam-7").get_by_text("CLOSED")).to_be_visible()
        await expect(page.get_by_role("link", name="cam-7")).to_have_count(0)
        await _tells_of_a_backup_that_loops(page, station)


async def _tells_of_a_backup_that_loops(page: Page, station: Machine) -> None:
    """Which upstream plays, which is preferred, and that its pictures are old, stand on the page."""
    spec = {"upstreams": [f"http://127.0.0.1:{free_port()}/x.ts", "demo:"], "on_demand": False, "return_after": 40}
    await station.publish("streams/cam-9/started", spec)
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="cam-9"))
    await expect(row.get_by_text("Flowing")).to_be_visible()
    await station.publish("streams/cam-9/stats", {"live_last": 1_700_000_000})
    await expect(row.get_by_text("Looping")).to_be_visible()
    await page.get_by_role("link", name="cam-9").click()
    announced = page.get_by_role("region", name="What was announced")
    await expect(announced).to_contain_text("demo: plays now")
    await expect(announced).to_contain_text("Upstreams, the first preferred")
    await expect(page.get_by_role("table", name="Conditions")).to_contain_text("It plays old pictures")


async def test_drift_is_told_on_every_page_and_explained(browser, station):
    async with opened(browser, station) as page:
        await _smuggle(station, "smuggled")
        banner = page.locator(".banner")
        await expect(banner).to_contain_text("smuggled runs and nobody asks for it")
        await banner.get_by_role("link").click()
        await expect(page.get_by_role("table", name="Placements and sessions")).to_contain_text("Nobody asked")
        drifts = page.get_by_role("table", name="Open drifts")
        await expect(drifts).to_contain_text("Runs, and nobody asked for it")
        await expect(drifts).to_contain_text("Hold")
        await page.get_by_role("link", name="Log").click()
        await expect(page.get_by_role("region", name="Held back")).to_contain_text("smuggled")


async def _smuggle(station: Machine, *keys: str) -> None:
    """Start sessions of which the controller knows nothing."""
    boot = (await station.control("GET", "/sessions"))["boot_id"]
    for key in keys:
        body = {"epoch": 1, "generation": 1, "boot_id": boot, "token": 10**6}
        body["spec"] = {"key": key, "upstreams": [{"url": "demo:"}]}
        assert (await station.control("PUT", f"/sessions/unknown-{key}", json=body))["outcome"] == "started"


async def _set(station: Machine, path: str, **wish: Any) -> None:
    url = f"http://127.0.0.1:{station.http_port}{path}"
    async with station.http.put(url, json={"owner": "ann", **wish}) as response:
        assert response.status == 200, await response.text()


async def _is_open(station: Machine, *, is_open: bool = True) -> bool:
    return bool((await station.get("/reconcile/breaker"))["is_open"]) is is_open


async def test_what_holds_the_control_loop_back_is_told_with_the_command_that_ends_it(browser, tmp_path):
    quick = {"PENSTOCK_ORPHAN_GRACE_SECONDS": "1", "PENSTOCK_RESYNC_SECONDS": "1"}
    async with running(tmp_path / "data", **quick) as station, opened(browser, station) as page:
        await _set(station, "/streams/demo/pause", for_seconds=600, why="we look at it")
        await _set(station, "/proxies/local/mode", mode="additive_only")
        await _set(station, "/reconcile/mode", mode="additive_only", for_seconds=600)
        await _smuggle(station, "s1", "s2", "s3", "s4", "s5")
        await page.reload()
        everything = page.locator(".banner").filter(has_text="The mode of everything is additive_only by ann until")
        await expect(everything).to_contain_text("penstock mode unset --all")
        narrow = page.locator(".banner").filter(has_text="limited at proxy local, key demo")
        await narrow.get_by_role("link").click()
        controls = page.get_by_role("table", name="Modes and pauses")
        for command in ("resume demo", "mode unset --proxy local", "mode unset --all"):
            await expect(controls.get_by_text(f"penstock {command}", exact=True)).to_be_visible()
        await expect(controls).to_contain_text("we look at it")
        held = page.get_by_role("table", name="Held back")
        await expect(held.get_by_text("penstock mode unset --proxy local").first).to_be_visible()
        await page.get_by_role("link", name="Proxies").click()
        await expect(page.get_by_role("table", name="Proxies")).to_contain_text("Mode additive_only by ann")

        for path in ("/proxies/local/mode", "/reconcile/mode", "/streams/demo/pause"):
            assert await station.delete(path) == 204
        await until(lambda: _is_open(station), 30)
        await page.reload()
        await page.locator(".banner").filter(has_text="The breaker is open").get_by_role("link").click()
        await expect(held.get_by_text("penstock approve").first).to_be_visible()
        digest = (await page.get_by_label("Approve exactly that").first.input_value()).removeprefix("penstock approve ")
        assert (await station.post("/reconcile/approvals", {"digest": digest, "owner": "ann"}))[0] == 201
        await until(lambda: _is_open(station, is_open=False), 30)
        await page.reload()
        await expect(page.get_by_role("region", name="Breaker")).to_contain_text("Closed")
        await expect(page.get_by_role("region", name="Held back")).to_contain_text("Nothing waits.")


async def test_a_token_is_asked_for_and_kept_for_the_tab(browser, tmp_path):
    async with running(tmp_path / "data", PENSTOCK_API_TOKEN="open-sesame-0123456789") as station:
        await _stop_with_token(browser, station)


async def _stop_with_token(browser: Browser, station: Machine) -> None:
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(f"http://127.0.0.1:{station.http_port}/#/streams/demo")
    await page.get_by_role("button", name="Stop stream").click()
    dialog = page.get_by_role("dialog")
    stop = dialog.get_by_role("button", name="Stop stream")
    await stop.click()
    token = dialog.get_by_label("API token")
    await token.fill("wrong")
    await stop.click()
    await expect(dialog.get_by_role("alert")).to_have_text("This token is not valid.")
    assert await _is(station, "LIVE")
    await token.fill("open-sesame-0123456789")
    await stop.click()
    await expect(page.locator(".title").get_by_text("CLOSED")).to_be_visible()
    assert await page.evaluate("sessionStorage.getItem('penstock.token')") == "open-sesame-0123456789"
    assert await page.evaluate("localStorage.length") == 0
    await context.close()


async def test_a_lost_controller_is_told_and_forgotten_when_it_is_back(browser, station):
    context = await browser.new_context()
    page = await context.new_page()
    page.set_default_timeout(WAIT_MILLISECONDS)
    await page.goto(f"http://127.0.0.1:{station.http_port}/")
    await expect(page.get_by_text("Live", exact=True)).to_be_visible()
    station.kill("penstock controller")
    await expect(page.locator(".banner")).to_contain_text("The controller does not answer")
    await expect(page.get_by_role("link", name="demo")).to_be_visible()
    await expect(page.locator(".banner")).to_have_count(0, timeout=60_000)
    await expect(page.get_by_text("Live", exact=True)).to_be_visible()
    await context.close()


async def test_a_codec_that_no_browser_plays_is_named(browser, station):
    head = transport_packets.tables(kind=MPEG2)
    async with opened(browser, station, PAGES["stream"]) as page:
        await page.route("**/ts/demo", lambda route: route.fulfill(body=head, content_type="video/mp2t"))
        await page.get_by_text("MPEG-TS", exact=True).first.click()
        await page.get_by_role("button", name="Play here").click()
        await expect(page.get_by_role("alert")).to_contain_text("This browser cannot play MPEG-2 video")
        await expect(page.get_by_label("MPEG-TS", exact=True).last).to_have_value(station.ts("demo"))


async def test_fragmented_mp4_and_segments_without_a_key_picture_play_too(browser, station, tmp_path):
    home = tmp_path / "origin"
    home.mkdir()
    async with hls_origin(home) as origin:
        await station.publish("streams/mp4/started", {"upstreams": [origin.url("mp4"), "demo:"], "outputs": ["hls"]})
        await _play_over_blind_cuts(browser, station)

        async def is_written() -> bool:
            return origin.ready("mp4")

        await until(is_written, 30)
        async with opened(browser, station, "#/streams/mp4") as page:
            await page.get_by_role("button", name="Play here").click()
            await until(lambda: _has_played(page, 2), 30)
            origin.is_down = True  # the next upstream is MPEG-TS, of another size
            await until(lambda: _shows_width(page, 480), 30)
            played = float(await page.evaluate("document.querySelector('video').currentTime"))
            await until(lambda: _has_played(page, played + 1), 30)
            await page.get_by_role("button", name="Stop watching").click()


async def _shows_width(page: Page, pixels: int) -> bool:
    return bool(await page.evaluate(f"document.querySelector('video').videoWidth === {pixels}"))


async def _play_over_blind_cuts(browser: Browser, station: Machine) -> None:
    """Key pictures end with the twelfth second: the first segment without one begins between 16 and 17."""
    media = clip(50, group=2000, keys_until=12.5)
    async with provider(media={"/fading": media}, lead_seconds=25.0) as one:
        await station.publish("streams/fading/started", {"upstreams": [one.url("/fading")], "outputs": ["hls"]})
        async with opened(browser, station, "#/streams/fading") as page:
            await page.get_by_role("button", name="Play here").click()
            await until(lambda: _has_played(page, 17), 30)
            pictures = await page.evaluate(PICTURES)
            await until(lambda: _has_played(page, 19), 30)
            assert await page.evaluate(PICTURES) - pictures > 25
            await page.get_by_role("button", name="Stop watching").click()
        async with station.http.get(station.hls("fading")) as answer:
            text = await answer.text()
    assert "#EXT-X-TARGETDURATION:4" in text
    assert text.count("#EXTINF:4.4") > 2


async def test_no_page_is_wider_than_a_small_screen(browser, station):
    for scheme in ("light", "dark"):
        options = {"viewport": {"width": 360, "height": 740}, "color_scheme": scheme}
        async with opened(browser, station, **options) as page:
            for name, where in PAGES.items():
                await page.goto(f"http://127.0.0.1:{station.http_port}/{where}")
                await expect(page.get_by_text("Reading …")).to_have_count(0)
                await expect(page.get_by_role("heading", level=1)).to_have_count(1)
                assert await page.evaluate("document.documentElement.scrollWidth") == 360, (name, scheme)


async def test_a_tab_asks_little(browser, station):
    async with opened(browser, station) as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(urlsplit(request.url).path))
        await expect(page.get_by_role("link", name="demo")).to_be_visible()
        asked.clear()
        for number in range(20):
            await station.publish("streams/cam-7/started" if number % 2 == 0 else "streams/cam-7/ended", CAM)
        await asyncio.sleep(8)
        assert 0 < asked.count("/streams") <= 9
        assert asked.count("/debug/sync-check") <= 9
        assert asked.count("/events") == 0
