"""The request page with all that evidence can hold, in Chromium: nothing runs, nothing is cut off, all can be read."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Literal

import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, Dialog, Page, expect, sync_playwright

from tests.browser.test_review_in_airflow import CHROMIUM, FLAGS
from tests.plugin.rich import EVIL, rich_room
from tests.plugin.test_evidence import hostile_benchmark, hostile_scan
from tests.support.servers import free_port, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

# The contrast of every text with the ground behind it that a browser really paints (WCAG 2.2, 1.4.3).
CONTRASTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (text) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (c) => c.slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const c = rgb(getComputedStyle(e).backgroundColor);
      if (c[3] === 255) return c;
    }
    return [255, 255, 255, 255];
  };
  const found = [];
  for (const e of document.querySelectorAll("main *:not(svg, svg *)")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.checkVisibility()) continue;
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push(`${ratio.toFixed(2)} ${e.className} ${e.textContent.trim().slice(0, 40)}`);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def pages() -> Iterator[dict[str, str]]:
    """Addresses of a request with rich evidence and of one with hostile evidence."""
    served: dict[str, str] = {}
    servers: list[tuple[uvicorn.Server, threading.Thread]] = []
    rooms = {"rich": rich_room(), "hostile": rich_room(scan=hostile_scan(), bench=hostile_benchmark())}
    for name, (room, request_id) in rooms.items():
        port = free_port()
        server = uvicorn.Server(uvicorn.Config(room.app, port=port, log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        wait_until(lambda server=server: server.started, timeout_s=30, what="the review room")
        servers.append((server, thread))
        served[name] = f"http://127.0.0.1:{port}/requests/{request_id}"
    yield served
    for server, thread in servers:
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, env=dict(os.environ))
        yield started
        started.close()


@pytest.fixture
def context_of(chromium: Browser) -> Iterator[list[BrowserContext]]:
    contexts: list[BrowserContext] = []
    yield contexts
    for context in contexts:
        context.close()


def open_page(
    chromium: Browser,
    contexts: list[BrowserContext],
    address: str,
    *,
    width: int = 1280,
    scheme: Literal["light", "dark"] = "light",
    script: bool = True,
) -> Page:
    """The page as ana sees it, everything unfolded where there is script."""
    context = chromium.new_context(
        extra_http_headers={"x-test-user": "ana"},
        viewport={"width": width, "height": 900},
        color_scheme=scheme,
        java_script_enabled=script,
    )
    contexts.append(context)
    page = context.new_page()
    page.goto(address)
    if script:
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    return page


@pytest.mark.parametrize("name", ["rich", "hostile"])
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_of_the_evidence_is_cut_off(chromium, context_of, pages, name: str, width: int) -> None:
    page = open_page(chromium, context_of, pages[name], width=width)
    over = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert over <= 0, f"{over} px too wide"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_enough_contrast(chromium, context_of, pages, scheme: Literal["light", "dark"]) -> None:
    page = open_page(chromium, context_of, pages["rich"], scheme=scheme)
    expect(page.locator("html")).to_have_attribute("data-theme", scheme)
    assert page.evaluate(CONTRASTS) == []


def test_hostile_evidence_runs_nothing(chromium, context_of, pages) -> None:
    page = open_page(chromium, context_of, "about:blank")
    asked: list[str] = []

    def dismiss(dialog: Dialog) -> None:
        asked.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", dismiss)
    page.goto(pages["hostile"])
    expect(page.locator("#h-findings")).to_be_visible()
    assert asked == []
    assert page.locator("main img, main script").count() == 0


def test_without_script_findings_unfold_and_documents_can_be_fetched(chromium, context_of, pages) -> None:
    page = open_page(chromium, context_of, pages["rich"], script=False)
    expect(page.get_by_text("an unknown class Custom0", exact=True)).to_be_hidden()
    page.locator("#finding-2 > summary").click()
    page.locator("#finding-2-1 > summary").click()
    expect(page.get_by_text("an unknown class Custom0", exact=True)).to_be_visible()
    expect(page.locator(".copy").first).to_be_hidden()
    expect(page.get_by_text(EVIL.fingerprint)).to_be_visible()
    page.locator("#downloads-gpu_benchmark > summary").click()
    with page.expect_download() as fetched:
        page.get_by_role("link", name="notes.html").click()
    assert fetched.value.suggested_filename == "gpu_benchmark-1-notes.html"
    assert page.url == pages["rich"]
