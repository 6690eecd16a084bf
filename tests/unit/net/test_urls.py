"""URLs are read in one way, and shown without secrets."""

import pytest

from app.net.errors import ForbiddenError, NetworkError
from app.net.urls import origin, parse, shown

WEB = ("http", "https")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("https://user:secret@shop.example/feed.json", "https://shop.example/feed.json"),
        ("https://shop.example/feed.json?X-Amz-Signature=secret&a=b#secret", "https://shop.example/feed.json?…"),
        ("https://secret@shop.example:8443?token=secret", "https://shop.example:8443?…"),
        ("https://shop.example/a@b/feed.json", "https://shop.example/a@b/feed.json"),
        ("feeds/what?.json", "feeds/what?.json"),
        (None, "None"),
    ],
)
def test_a_url_is_shown_without_what_is_secret(text: str | None, told: str) -> None:
    assert shown(text) == told


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("HTTPS://Shop.Example:443/A?b=C#d", "https://shop.example/A?b=C"),
        ("https://shop.example./x", "https://shop.example/x"),
        ("https://münchen.example/ä", "https://xn--mnchen-3ya.example/%C3%A4"),
        (" https://shop.example/../a/./b ", "https://shop.example/a/b"),
    ],
)
def test_spellings_of_a_url_are_one(text: str, same: str) -> None:
    assert parse(text, WEB).copy_with() == parse(same, WEB)
    assert origin(parse(text, WEB)) == origin(parse(same, WEB))


def test_the_origin_has_its_port() -> None:
    assert origin(parse("https://shop.example/a", WEB)) == "https://shop.example:443"
    assert origin(parse("http://[2606:4700::1]:8080/", WEB)) == "http://[2606:4700::1]:8080"


@pytest.mark.parametrize(
    "text",
    [
        "file:///etc/passwd", "ftp://shop.example/", "gopher://shop.example/", "javascript:alert(1)", "data:,x",
        "//shop.example/", "/feed.json", "", "https://user@shop.example/", "https://:pw@shop.example/",
        "https://good.example\\@evil.example/",
    ],
)  # fmt: skip
def test_other_schemes_and_user_info_are_forbidden(text: str) -> None:
    with pytest.raises(ForbiddenError) as caught:
        parse(text, WEB)
    assert caught.value.remedy


@pytest.mark.parametrize(
    "text",
    [
        "https://", "https://:80/", "https://shop.example:0/", "https://shop.example:65536/", "https://shop.example:-1/",
        "https://shop.example:x/", "https://shop example/", "https://[::1/", "https://shop.example/\r\nHost: x",
        "https://shop%2eexample/", "https://a..b/", "https://2130706433/", "https://0x7f000001/", "https://127.1/",
        "https://①②⑦.0.0.1/", "https://" + "a" * 254, "https://shop.example:\uff19\uff19\uff19\uff19\uff19/", "https://\0/",
    ],
)  # fmt: skip
def test_what_is_no_url_is_refused(text: str) -> None:
    with pytest.raises(NetworkError):
        parse(text, WEB)


def test_a_password_is_not_told_even_when_the_url_cannot_be_read() -> None:
    for text in ("https://u:secret/x@[::1", "https://u:secret@shop.example:port/", "https://u:secret@h/\0"):
        with pytest.raises(NetworkError) as caught:
            parse(text, WEB)
        assert "secret" not in str(caught.value)
