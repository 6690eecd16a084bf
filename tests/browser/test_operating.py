"""What those who run the node do: sign in, start a run and watch it, release one that is held, read diagnostics."""

import re

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from app.services import keys
from tests.browser.audits import faint, is_too_wide, walk
from tests.browser.conftest import Shoot
from tests.browser.running import SHARD, LiveNode
from tests.browser.visits import PHONE, Visit
from tests.support.feeds import product_urn


def sign_in(page: Page, live: LiveNode, scope: keys.Scope = "admin") -> None:
    page.goto("/sign-in")
    page.get_by_label("Key").fill(live.key(scope))
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()


def heading(page: Page) -> Locator:
    return page.get_by_role("heading", level=1)


def shard(page: Page, name: str) -> Locator:
    return page.get_by_role("list", name="Shards").get_by_role("listitem").filter(has_text=name)


def open_run(page: Page, status: str) -> None:
    """Follows the link of the newest run of this status, as soon as the list shows one."""
    page.get_by_role("row").filter(has_text=status).first.get_by_role("link").first.click()
    expect(page).to_have_url(re.compile(r"/runs/[0-9a-f-]{36}$"))


def test_a_wrong_key_is_refused_with_words(page: Page, live: LiveNode) -> None:
    page.goto("/runs")
    page.get_by_role("main").get_by_role("link", name="Sign in").click()
    page.get_by_label("Key").fill("cmp_000000000000_" + "x" * 43)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("key")
    expect(page.get_by_role("link", name="Runs")).to_have_count(0)

    sign_in(page, live)
    expect(heading(page)).to_have_text("Runs")
    page.get_by_role("button", name="Sign out").click()
    page.goto("/runs")
    expect(page.get_by_role("main").get_by_role("link", name="Sign in")).to_be_visible()


def test_a_run_is_started_and_watched_until_it_is_done(page: Page, working: LiveNode, shoot: Shoot) -> None:
    working.publish_lamps()
    sign_in(page, working)
    with working.gate.holding("c.json"):
        page.get_by_role("link", name="Ingestors").click()
        page.get_by_role("row").filter(has_text="northlight").get_by_role("button", name="Run now").click()
        expect(page).to_have_url(re.compile(r"/runs\?start="))
        open_run(page, "running")
        expect(heading(page)).to_contain_text("running")
        expect(shard(page, "a.json")).to_contain_text(f"read: {SHARD} items")
        expect(shard(page, "c.json")).not_to_contain_text("items")
        shoot(page, "run-live", height=480)
    expect(heading(page)).to_contain_text("success")
    expect(shard(page, "c.json")).to_contain_text(f"read: {SHARD} items")
    expect(page.get_by_role("main")).to_contain_text(f"{3 * SHARD} inserted")
    page.goto("/products?q=northlight+lamp")
    expect(page.get_by_role("heading", name="Northlight lamp No.").first).to_be_visible()


@pytest.mark.parametrize("java_script", [True, False])
def test_a_held_run_is_released_after_a_look_at_what_would_vanish(
    browser: Browser, visit: Visit, working: LiveNode, shoot: Shoot, java_script: bool
) -> None:
    kept = int(java_script)  # another publication each time
    working.publish_lamps()
    assert working.ingest("northlight") == "success"
    working.publish_lamps(kept, kept + 1)
    assert working.ingest("northlight") == "held"
    page = visit.page(browser, java_script_enabled=java_script)
    sign_in(page, working)
    open_run(page, "held")
    expect(page.get_by_role("row").filter(has_text="Northlight lamp No.")).to_have_count(3 * SHARD - 1)
    shoot(page, "held")
    held, gone = page.url, f"/products/{product_urn(10)}"
    assert page.goto(gone).status == 200

    page.goto(held)
    page.get_by_role("button", name="Release").click()
    expect(page).to_have_url(re.compile(r"/runs\?start="))
    open_run(page, "success")
    expect(page.get_by_role("main")).to_contain_text(f"{3 * SHARD - 1} deleted")
    assert page.goto(gone).status == 410
    page.goto(held)
    expect(page.get_by_role("button", name="Release")).to_have_count(0)


def test_a_diagnostic_is_read_and_sent_to_its_brand(
    page: Page, browser: Browser, visit: Visit, live: LiveNode, shoot: Shoot
) -> None:
    sign_in(page, live)
    page.get_by_role("link", name="Organizations").click()
    page.get_by_role("link", name="Juniper & Clay").click()
    page.get_by_role("link", name=re.compile("with items", re.IGNORECASE)).click()
    expect(page.locator("mark").filter(has_text="twelve euros")).to_be_visible()
    shoot(page, "diagnostics", height=1180)
    page.get_by_role("button", name="Make a link").click()
    link = page.get_by_role("main").get_by_role("link").inner_text()

    brand = visit.page(browser)
    brand.goto(link)
    expect(brand.locator("mark").filter(has_text="twelve euros")).to_be_visible()
    with brand.expect_download() as saved:
        brand.get_by_role("link", name="All as CSV").click()
    assert saved.value.suggested_filename == "issues.csv"
    assert "twelve euros" in saved.value.path().read_text("utf-8")
    expect(brand.get_by_role("button", name="Make a link")).to_have_count(0)


def test_every_page_can_be_read_on_a_phone_in_light_and_in_dark(browser: Browser, visit: Visit, live: LiveNode) -> None:
    page = visit.page(browser, viewport=PHONE)
    sign_in(page, live)
    seen = list[str]()
    for place in walk(page, "/products?q=lamp&explain=true", "/products/urn:none", "/runs"):
        seen.append(place)
        assert not is_too_wide(page), place
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert faint(page) == [], (place, scheme)
    assert len(seen) > 15
