"""Text from feeds as a model may be given it: data, without markup and without what nobody sees."""

from html.parser import HTMLParser

from app.cmp.text import clean, shorten, without_unseen

_UNREAD = frozenset({"script", "style", "template", "noscript"})


class _Words(HTMLParser):
    """Collects what a browser would show."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.words: list[str] = []
        self._unread = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._unread += tag in _UNREAD
        self.words.append(" ")

    def handle_endtag(self, tag: str) -> None:
        self._unread -= tag in _UNREAD and self._unread > 0
        self.words.append(" ")

    def handle_data(self, data: str) -> None:
        if not self._unread:
            self.words.append(data)


def plain(text: str, limit: int) -> str:
    """At most `limit` characters on one line: no markup, no control, bidi or unseen characters."""
    if "<" in text or "&" in text:
        parser = _Words()
        parser.feed(text[: limit * 8])
        parser.close()
        text = "".join(parser.words)
    return shorten(" ".join(without_unseen(clean(text)).split()), limit)
