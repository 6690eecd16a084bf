"""What everybody may do: search, choose, compare, and have a feed checked."""

import json
import re
from decimal import Decimal
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import Shoot
from tests.browser.visits import PHONE, Visit
from tests.support.feeds import item_list, offer, product

QUESTION = "something to keep coffee hot on a hike"


def cards(page: Page) -> Locator:
    return page.get_by_role("listitem").filter(has=page.get_by_role("heading", level=2))


def search(page: Page, words: str) -> None:
    page.get_by_role("searchbox").fill(words)
    page.get_by_role("button", name="Search").click()
    expect(page).to_have_url(re.compile(r"[?&]q=\w"))


def test_a_question_is_answered_and_a_product_opened(page: Page, visit: Visit, shoot: Shoot) -> None:
    page.goto("/")
    search(page, QUESTION)
    expect(page.get_by_role("searchbox")).to_have_value(QUESTION)
    expect(cards(page).filter(has_text="Cairn Vacuum Flask").first).to_be_visible()
    expect(cards(page).first.locator("img")).to_have_count(0)  # it does not come: a letter is in its place
    expect(cards(page).first).to_contain_text(re.compile(r"^\s*\w\s"))
    shoot(page, "search")

    first = cards(page).first.get_by_role("heading").get_by_role("link")
    name = first.inner_text()
    first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    expect(page).to_have_title(re.compile(re.escape(name)))
    expect(page.get_by_role("table").first).to_contain_text(re.compile(r"\d+\.\d\d [A-Z]{3}"))
    shoot(page, "product")

    assert visit.elsewhere
    for request in visit.elsewhere:
        assert request.resource_type == "image"
        assert "referer" not in request.headers


@pytest.mark.parametrize("java_script", [True, False])
def test_filters_stand_in_the_address_and_are_obeyed(browser: Browser, visit: Visit, java_script: bool) -> None:
    page = visit.page(browser, java_script_enabled=java_script)
    page.goto("/products")
    page.get_by_text("Filters", exact=True).click()
    page.get_by_label("Brand").fill("Kestrel Ridge")
    page.get_by_label("From").fill("20")
    page.get_by_label("To", exact=True).fill("45")
    page.get_by_label("Currency").fill("USD")
    page.get_by_label("In stock").check()
    search(page, "mug")
    expect(page).to_have_url(re.compile(r"brand=Kestrel\+Ridge.*min_price=20.*max_price=45.*in_stock=true"))
    assert cards(page).count() > 0
    for card in cards(page).all():
        expect(card).to_contain_text("Kestrel Ridge")
        expect(card).to_contain_text(re.compile("in ?stock", re.IGNORECASE))
        price = re.search(r"([\d.]+) USD", card.inner_text())
        assert price
        assert 20 <= Decimal(price[1]) <= 45
    expect(page.get_by_label("Brand")).to_have_value("Kestrel Ridge")

    page.get_by_label("Brand").fill("Nobody's")
    search(page, "mug")
    expect(page.get_by_text("Nothing was found")).to_be_visible()


def test_why_a_product_was_found_is_told(page: Page, shoot: Shoot) -> None:
    page.goto("/products")
    page.get_by_text("Filters", exact=True).click()
    page.get_by_label("Say why").check()
    search(page, "stove krck401")
    expect(page).to_have_url(re.compile("explain=true"))
    found = cards(page).first
    expect(found).to_contain_text("Why")
    expect(found).to_contain_text("KR-CK-401")  # the part number, however it was typed
    shoot(page, "why", height=960)


def test_products_are_compared(page: Page, shoot: Shoot) -> None:
    page.goto(f"/products?q={QUESTION}")
    names = [cards(page).nth(place).get_by_role("heading").inner_text() for place in (0, 2)]
    for name in names:
        page.get_by_label(f"Compare {name}", exact=True).check()
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Compare")
    assert page.get_by_role("columnheader").get_by_role("link").all_inner_texts() == names
    expect(page.get_by_role("row").filter(has_text=re.compile("price", re.IGNORECASE)).first).to_be_visible()
    shoot(page, "compare")


def test_a_keyboard_is_enough(page: Page) -> None:
    page.goto("/organizations")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the content")).to_be_focused()
    tab_to(page, page.get_by_role("navigation").get_by_role("link", name="Search"))
    page.keyboard.press("Enter")
    page.wait_for_url("**/products")
    tab_to(page, page.get_by_role("searchbox"))
    page.keyboard.type("trail mug")
    page.keyboard.press("Enter")
    page.wait_for_url("**/products?q=trail+mug")
    result = cards(page).first.get_by_role("heading").get_by_role("link")
    name = result.inner_text()
    tab_to(page, result)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(name)


def tab_to(page: Page, wanted: Locator) -> None:
    """Presses Tab until the element is reached, and sees that it shows that it is."""
    wanted.wait_for()
    for _ in range(40):
        if wanted.evaluate("element => element === document.activeElement && element.matches(':focus-visible')"):
            break
        page.keyboard.press("Tab")
    expect(wanted).to_be_focused()
    assert wanted.evaluate("element => getComputedStyle(element).outlineStyle") != "none"


def test_a_feed_is_validated_by_upload(page: Page, tmp_path: Path, shoot: Shoot) -> None:
    shard = tmp_path / "shard.json"
    shard.write_text(json.dumps(item_list(product(1), product(2, offers=offer(price="twelve euros")))))
    page.goto("/products")
    page.get_by_role("link", name="Validate a feed").click()
    page.get_by_label("A file").set_input_files(shard)
    page.get_by_role("button", name="Validate the file").click()
    expect(page.get_by_role("heading", name="Validation")).to_be_visible()
    expect(page.get_by_role("main")).to_contain_text("twelve euros")
    expect(page.get_by_role("main")).to_contain_text("offers.price")
    shoot(page, "validation")


def test_a_phone_in_the_dark(browser: Browser, visit: Visit, shoot: Shoot) -> None:
    page = visit.page(browser, viewport=PHONE, color_scheme="dark")
    page.goto("/")
    light = visit.page(browser, viewport=PHONE, color_scheme="light")
    light.goto("/")
    ground = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(ground) != light.evaluate(ground)
    search(page, QUESTION)
    expect(cards(page).first).to_be_visible()
    shoot(page, "phone-dark")
