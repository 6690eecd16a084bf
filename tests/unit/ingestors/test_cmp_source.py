"""Pages of repositories, and the files they show."""

import httpx2
import pytest

from app.ingestors.sources.cmp import raw_file


@pytest.mark.parametrize(
    ("page", "file"),
    [
        ("https://github.com/o/r/blob/main/a/b.json", "https://raw.githubusercontent.com/o/r/main/a/b.json"),
        ("https://github.com/o/r/blob/main/a.json?plain=1", "https://raw.githubusercontent.com/o/r/main/a.json"),
        ("https://github.com/o/r/blob/main/a%20b.json", "https://raw.githubusercontent.com/o/r/main/a%20b.json"),
        ("https://gitlab.com/g/s/r/-/blob/main/a.json", "https://gitlab.com/g/s/r/-/raw/main/a.json"),
        ("https://github.com/o/r", "https://github.com/o/r"),
        ("https://github.com/o/r/blob/main", "https://github.com/o/r/blob/main"),
        ("https://shop.example/o/r/blob/main/a.json", "https://shop.example/o/r/blob/main/a.json"),
    ],
)
def test_a_page_of_a_repository_means_its_file(page: str, file: str) -> None:
    assert str(raw_file(httpx2.URL(page))) == file
