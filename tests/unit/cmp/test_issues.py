from pathlib import Path

import msgspec
import pytest

from app.cmp.issues import CODES, Issue, Severity, render_markdown

PAGE = Path(__file__).parents[3] / "docs" / "issues.md"


def test_the_page_is_the_table() -> None:
    assert PAGE.read_text() == render_markdown(), (
        "docs/issues.md is out of date. Regenerate it: python -c "
        "'from app.cmp.issues import render_markdown; print(render_markdown(), end=\"\")' > docs/issues.md"
    )


@pytest.mark.parametrize("code", CODES.values(), ids=lambda code: code.code)
def test_every_code_says_what_to_do(code) -> None:
    assert code.code == code.code.lower().replace("_", "-").replace(" ", "-")
    assert code.title.endswith(".")
    assert code.remedy.endswith(".")


def test_what_an_issue_quotes_can_be_stored() -> None:
    issue = Issue("price-unusable", "bad\x00 " + "x" * 1000, "offers.price", "\ud800" + "9" * 1000)
    assert issue.severity is Severity.ERROR
    assert issue.hint
    assert len(issue.message) <= 500
    assert issue.value is not None
    assert len(issue.value) == 200
    assert msgspec.json.encode(issue)


def test_a_place_is_added_later() -> None:
    issue = Issue("sku-missing", "No SKU.", "sku").at(7, "feed-001.json")
    assert (issue.position, issue.shard, issue.path) == (7, "feed-001.json", "sku")
