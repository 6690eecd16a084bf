"""A registry of the mesh: many organizations, each with a feed of its own, wherever that is."""

import httpx2

from app.ingestors.sources.remote import RemoteSource

_PAGE = 4  # parts of the path of a page of GitHub, before that of the file: owner, repository, `blob`, reference


class CmpSource(RemoteSource):
    """Fetches like `RemoteSource`; the page that a repository shows a file on means the file."""

    def _url(self, path: str) -> httpx2.URL:
        return raw_file(super()._url(path))

    def _named(self, base: str, url: httpx2.URL, reference: str) -> httpx2.URL:
        return raw_file(super()._named(base, url, reference))


def raw_file(url: httpx2.URL) -> httpx2.URL:
    """The file itself, when the URL is of a page of GitHub or GitLab that shows it."""
    path = url.raw_path.partition(b"?")[0].decode("ascii")
    if url.host in {"github.com", "www.github.com"}:
        parts = path.removeprefix("/").split("/", _PAGE)
        if len(parts) > _PAGE and parts[2] in {"blob", "raw"} and parts[_PAGE]:
            owner, repository, _, reference, file = parts
            return httpx2.URL(f"https://raw.githubusercontent.com/{owner}/{repository}/{reference}/{file}")
    if url.host == "gitlab.com" and "/-/blob/" in path:
        return httpx2.URL(f"https://gitlab.com{path.replace('/-/blob/', '/-/raw/', 1)}")
    return url
