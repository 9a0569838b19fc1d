"""A reviewer's real way: Debian's Chromium, signed in to a real Airflow, inside its sandboxed frame."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, FrameLocator, Locator, Page, expect, sync_playwright

from model_approval.domain.digests import sha256_of
from model_approval.domain.promotion import PromotionState
from tests.support.airflow import AirflowSite, make_site

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
PATIENCE_MS = 60_000
"""Airflow's page loads some megabytes of script first; two busy cores need seconds for that."""

Open = Callable[..., tuple[Page, FrameLocator]]


# Not for the session: while Playwright runs, this thread has an event loop, and no other test could start one.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, env=dict(os.environ))
        yield started
        started.close()


@pytest.fixture
def open_as(browser, airflow_site) -> Iterator[Open]:
    """Open a path of the review room inside Airflow as somebody; no script error may happen meanwhile."""
    contexts: list[BrowserContext] = []
    errors: list[str] = []

    def open_page(
        person: str, path: str = "", *, site: AirflowSite = airflow_site, inside: str = "", **options: object
    ) -> tuple[Page, FrameLocator]:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        token = site.token(person)
        context.add_cookies([{"name": "_token", "value": token, "url": f"{site.root}/"}])
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if "Security Policy" in message.text else None)
        # Without a path: as the navigation leads there, which also holds behind a prefix.
        deep = f"/model-review/{path}" if path else ""
        page.goto(f"{site.root}{inside or f'/plugin/model-reviews{deep}'}")
        return page, page.frame_locator("iframe")

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


def act(frame: FrameLocator, opener: str, button: str | re.Pattern[str], **fields: str) -> None:
    """Open a dialog, fill it, send it."""
    frame.get_by_role("link", name=opener).click()
    dialog = frame.get_by_role("dialog")
    for label, text in fields.items():
        dialog.get_by_label(label.replace("_", " ")).fill(text)
    dialog.get_by_role("button", name=button).click()


def tab_to(page: Page, target: Locator) -> None:
    """Press Tab until something has the focus."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if target.evaluate("element => document.hasFocus() && element === document.activeElement"):
            return
    pytest.fail(f"80 times Tab does not reach {target}")


def test_a_reviewer_finds_the_room_in_the_navigation_signed_in_by_password(browser, airflow_site) -> None:
    site = airflow_site
    promotion = site.in_review(model="nav-scorer")
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(site.root)
    page.get_by_label("Username").fill("ana")
    page.get_by_label("Password").fill(site.password("ana"))
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="Reviews").click()
    frame = page.frame_locator("iframe")
    frame.get_by_role("link", name=re.compile("nav-scorer")).click()
    expect(frame.get_by_role("heading", level=1)).to_contain_text("nav-scorer")
    expect(page).to_have_url(re.compile(f"/plugin/model-reviews/model-review/requests/{promotion.id}$"))
    context.close()


def test_two_reviewers_approve_and_the_decision_is_signed(open_as, airflow_site) -> None:
    promotion = airflow_site.in_review()
    _, ana = open_as("ana", f"requests/{promotion.id}")
    act(ana, "Approve…", "Approve for production", Comment="bench looks right")
    expect(ana.get_by_text("Your approval is recorded.")).to_be_visible()
    _, manager = open_as("max", f"requests/{promotion.id}")
    expect(manager.locator(".votes-list").get_by_text("bench looks right")).to_be_visible()
    act(manager, "Approve…", "Approve for production")
    expect(manager.locator(".badge")).to_have_text("Approved")
    assert airflow_site.services.reviews.get(promotion.id).state is PromotionState.APPROVED
    assert airflow_site.services.reviews.decision(promotion.id) is not None


def test_the_requester_cannot_vote_and_is_told_why(open_as, airflow_site) -> None:
    promotion = airflow_site.in_review()
    _, rita = open_as("rita", f"requests/{promotion.id}")
    expect(rita.locator(".decision").get_by_text("You cannot vote: you requested this promotion.")).to_be_visible()
    expect(rita.get_by_role("link", name="Approve…")).to_have_count(0)
    expect(rita.get_by_role("link", name="Withdraw the request…")).to_be_visible()


def test_a_rejection_is_not_sent_without_a_reason(open_as, airflow_site) -> None:
    promotion = airflow_site.in_review()
    _, ana = open_as("ana", f"requests/{promotion.id}")
    act(ana, "Reject…", "Reject")
    expect(ana.get_by_role("dialog")).to_be_visible()
    ana.get_by_label("Why is this rejected?").fill("the sample leaks card numbers")
    ana.get_by_role("dialog").get_by_role("button", name="Reject").click()
    expect(ana.locator(".badge")).to_have_text("Rejected")


def test_evidence_that_changes_under_an_open_dialog_keeps_the_comment(open_as, airflow_site) -> None:
    promotion = airflow_site.in_review()
    _, ana = open_as("ana", f"requests/{promotion.id}")
    ana.get_by_role("link", name="Reject…").click()
    ana.get_by_label("Why is this rejected?").fill("my long thoughts")
    airflow_site.run_again(promotion, p99_ms=44.0)
    ana.get_by_role("dialog").get_by_role("button", name="Reject").click()
    expect(ana.get_by_role("alert")).to_contain_text("Evidence changed since you opened the page")
    expect(ana.get_by_label("Why is this rejected?")).to_have_value("my long thoughts")
    assert airflow_site.services.reviews.votes(promotion.id) == []


def test_an_open_page_follows_what_others_do(open_as, airflow_site) -> None:
    promotion = airflow_site.in_review()
    _, rita = open_as("rita", f"requests/{promotion.id}")
    expect(rita.locator(".quorum")).to_contain_text("0 of 1")
    airflow_site.vote("ana", promotion)
    expect(rita.locator(".votes-list").get_by_text("ana")).to_be_visible()


def test_everything_can_be_reached_and_decided_by_keyboard(open_as, airflow_site) -> None:
    promotion = airflow_site.in_review()
    page, ana = open_as("ana", f"requests/{promotion.id}")
    opener, skip = ana.get_by_role("link", name="Approve…"), ana.get_by_role("link", name="Skip to the content")
    expect(opener).to_be_visible()
    tab_to(page, skip)  # past Airflow's navigation, the first stop in the frame
    tab_to(page, opener)
    page.keyboard.press("Enter")
    expect(ana.get_by_role("dialog").get_by_label("Comment")).to_be_focused()
    page.keyboard.press("Escape")
    expect(ana.get_by_role("dialog")).to_have_count(0)
    expect(opener).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.type("by keyboard")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(ana.get_by_text("Your approval is recorded.")).to_be_visible()
    assert [vote.reason for vote in airflow_site.services.reviews.votes(promotion.id)] == ["by keyboard"]


def test_the_tab_of_the_dag_run_shows_its_request(open_as, airflow_site) -> None:
    promotion = airflow_site.in_review()
    airflow_site.home.add_run("promote__fraud_scoring", promotion.id)
    path = f"/dags/promote__fraud_scoring/runs/{promotion.id}/plugin/model-review"
    _, ana = open_as("ana", inside=path)
    expect(ana.get_by_role("heading", level=1)).to_contain_text("production")
    page, ana = open_as("ana", f"requests/{promotion.id}")
    ana.get_by_role("link", name="DAG run").click()
    expect(page).to_have_url(re.compile(f"/dags/promote__fraud_scoring/runs/{promotion.id}"))


@pytest.mark.parametrize(("chosen", "scheme"), [("dark", "light"), ("light", "dark"), (None, "dark"), (None, "light")])
def test_the_page_follows_airflows_colour_mode(open_as, airflow_site, chosen: str | None, scheme: str) -> None:
    page, frame = open_as("ana", color_scheme=scheme)
    ground = frame.locator("html")
    expect(ground).to_have_attribute("data-theme", scheme)
    if chosen:
        page.evaluate("theme => localStorage.setItem('theme', theme)", chosen)
        page.reload()
    expected = chosen or scheme
    expect(ground).to_have_attribute("data-theme", expected)
    colour = "rgb(22, 29, 45)" if expected == "dark" else "rgb(255, 255, 255)"
    expect(ground).to_have_css("background-color", colour)


@pytest.mark.parametrize("width", [400, 768])
def test_nothing_is_cut_off_on_a_narrow_screen(open_as, airflow_site, width: int) -> None:
    promotion = airflow_site.in_review(model="a-model-whose-name-is-longer-than-most-names-are")
    for path in ("", f"requests/{promotion.id}", f"requests/{promotion.id}/act/approve", "requests/new"):
        _, frame = open_as("max", path, viewport={"width": width, "height": 800})
        expect(frame.locator("main")).to_be_visible()
        over = frame.locator("html").evaluate("html => html.scrollWidth - html.clientWidth")
        assert over <= 0, f"{path} is {over} px too wide"


def test_without_script_a_vote_still_goes_through(browser, airflow_site) -> None:
    """Airflow itself needs script, so this opens the room's own pages."""
    promotion = airflow_site.in_review()
    token = airflow_site.token("ana")
    context = browser.new_context(java_script_enabled=False)
    context.add_cookies([{"name": "_token", "value": token, "url": f"{airflow_site.root}/"}])
    page = context.new_page()
    page.goto(f"{airflow_site.root}/model-review/requests/{promotion.id}")
    page.get_by_role("link", name="Approve…").click()
    page.get_by_role("button", name="Approve for production").click()
    expect(page.get_by_text("Your approval is recorded.")).to_be_visible()
    context.close()


def test_a_document_of_the_evidence_is_fetched_from_inside_airflows_frame(open_as, airflow_site) -> None:
    promotion = airflow_site.in_review()
    page, ana = open_as("ana", f"requests/{promotion.id}")
    ana.locator("#downloads-security_scan > summary").click()
    with page.expect_download() as fetched:
        ana.locator("#downloads-security_scan").get_by_role("link", name="evidence.json").click()
    assert fetched.value.suggested_filename == "security_scan-1-evidence.json"
    stored = next(one for one in airflow_site.services.reviews.evidence(promotion.id) if one.check == "security_scan")
    assert sha256_of(Path(fetched.value.path()).read_bytes()) == stored.digest
    expect(ana.get_by_role("heading", level=1)).to_contain_text(promotion.request.model)


def test_it_works_behind_a_path_prefix(open_as, airflow_site) -> None:
    promotion = airflow_site.in_review()
    site = make_site(airflow_site.home, airflow_site.settings, prefix="/af")
    site.start()
    try:
        page, ana = open_as("ana", site=site)
        ana.get_by_role("link", name=re.compile(f"{promotion.request.model} {promotion.request.version}")).click()
        expect(ana.get_by_role("heading", level=1)).to_contain_text(promotion.request.model)
        assert "/af/" in page.url
        act(ana, "Approve…", "Approve for production")
        expect(ana.get_by_text("Your approval is recorded.")).to_be_visible()
    finally:
        site.stop()
