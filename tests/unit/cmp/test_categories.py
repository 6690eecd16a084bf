import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cmp.categories import ancestors, cut_path, normalize_path, path_of_list
from app.cmp.limits import MAX_CATEGORY_BYTES, MAX_CATEGORY_DEPTH


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("Electronics > Audio > Headphones", "Electronics > Audio > Headphones"),
        ("  Electronics>Audio  &  Video>  ", "Electronics > Audio & Video"),
        ("A \u203a B » C &gt; D", "A > B > C > D"),
        ("TV/Video > 16/9", "TV/Video > 16/9"),
        ("Books", "Books"),
        (" > > ", None),
        ("", None),
        ("A\x00\n > B", "A > B"),
    ],
)
def test_paths_have_one_spelling(text: str, path: str | None) -> None:
    assert normalize_path(text) == path


@pytest.mark.parametrize(
    ("values", "path"),
    [
        (["Electronics", "Audio"], "Electronics > Audio"),
        (["Electronics > Audio", "Sale > Audio"], "Electronics > Audio"),
        (["Sale", "Electronics > Audio"], "Electronics > Audio"),
        ([], None),
    ],
)
def test_lists(values: list[str], path: str | None) -> None:
    assert path_of_list(values) == path


def test_ancestors_run_from_the_root() -> None:
    assert ancestors("A > B > C") == ["A", "A > B", "A > B > C"]


@given(st.lists(st.text(max_size=400), max_size=60))
def test_paths_within_limits(parts: list[str]) -> None:
    path = normalize_path(" > ".join(parts))
    if path is None:
        return
    assert normalize_path(path) == path
    short = cut_path(path)
    assert len(short.encode()) <= MAX_CATEGORY_BYTES
    assert len(ancestors(short)) <= MAX_CATEGORY_DEPTH
    assert path.startswith(short)
    assert short
    assert normalize_path(short) == short
