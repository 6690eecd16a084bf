"""What a hostile or broken brand may do, by name."""

import gzip
import json
import random
import zlib

import brotli
import zstandard

from tests.hostile.brand import (
    EACH,
    FIRST,
    INDEX,
    REGISTRY,
    SECOND,
    Attack,
    Hostile,
    circles,
    index,
    lists,
    names_feed,
    redirects,
    replies,
    resets,
    sends,
    serve,
    shard,
    silence,
    then,
)
from tests.support.feeds import OTHER_ORGANIZATION, encode, item_list, product

OK = b"HTTP/1.1 200 OK\r\n"
GOOD = shard(EACH)
MEGABYTE = 1024 * 1024
BOMB = bytes(80 * MEGABYTE)
PACKED_BOMB = gzip.compress(BOMB)
NOISE = random.Random(4).randbytes(3 * MEGABYTE)  # noqa: S311 - only to be hard to pack

# Where a redirect of a shard may try to lead, and what is said of it.
PLACES = {
    "loopback": ("http://127.0.0.1:{trap}/", "127.0.0.1 is loopback"),
    "localhost": ("http://localhost:{trap}/", "localhost .* is loopback"),
    "localhost-dot": ("http://localhost.:{trap}/", "localhost .* is loopback"),
    "loopback-elsewhere": ("http://127.8.7.6:{trap}/", "is loopback"),
    "loopback-6": ("http://[::1]:{trap}/", "::1 is loopback"),
    "mapped": ("http://[::ffff:127.0.0.1]:{trap}/", "is loopback"),
    "mapped-hex": ("http://[::ffff:7f00:1]:{trap}/", "is loopback"),
    "compatible": ("http://[::127.0.0.1]:{trap}/", "IPv4-compatible"),
    "nat64": ("http://[64:ff9b::127.0.0.1]:{trap}/", "is loopback"),
    "nat64-own": ("http://[64:ff9b:1::7f00:1]:{trap}/", "NAT64"),
    "6to4": ("http://[2002:7f00:1::1]:{trap}/", "6to4"),
    "teredo": ("http://[2001:0:7f00:1::80ff:fffe]:{trap}/", "Teredo"),
    "decimal": ("http://2130706433:{trap}/", "odd spelling"),
    "hexadecimal": ("http://0x7f000001:{trap}/", "odd spelling"),
    "hexadecimal-dotted": ("http://0x7f.0.0.0x1:{trap}/", "odd spelling"),
    "octal": ("http://0177.0.0.1:{trap}/", "no URL|odd spelling"),
    "short": ("http://127.1:{trap}/", "odd spelling"),
    "zero": ("http://0:{trap}/", "odd spelling"),
    "unspecified": ("http://0.0.0.0:{trap}/", "unspecified"),
    "unspecified-6": ("http://[::]:{trap}/", "unspecified"),
    "percent-encoded": ("http://127%2e0%2e0%2e1:{trap}/", "no host's name"),
    "punycode": ("http://xn--0.0.1:{trap}/", "odd spelling|cannot be resolved|no URL"),
    "metadata": ("http://169.254.169.254/latest/meta-data/", "metadata service"),
    "metadata-6": ("http://[fd00:ec2::254]/", "metadata service"),
    "metadata-name": ("http://metadata.google.internal/", "metadata|cannot be resolved"),
    "metadata-azure": ("http://168.63.129.16/", "metadata service"),
    "metadata-alibaba": ("http://100.100.100.200/", "metadata service"),
    "private-10": ("http://10.0.0.1/", "is private"),
    "private-172": ("http://172.31.255.255/", "is private"),
    "private-192": ("http://192.168.1.1/", "is private"),
    "shared": ("http://100.64.0.1/", "shared address space"),
    "unique-local": ("http://[fc00::1]/", "is private"),
    "link-local-6": ("http://[fe80::1]/", "link-local"),
    "link-local-zone": ("http://[fe80::1%25lo]/", "one link"),
    "site-local": ("http://[fec0::1]/", "site-local"),
    "multicast": ("http://224.0.0.1/", "multicast"),
    "broadcast": ("http://255.255.255.255/", "broadcast"),
    "documentation": ("http://192.0.2.1/", "documentation"),
    "future": ("http://240.0.0.1/", "reserved"),
    "port-zero": ("http://127.0.0.1:0/", "port 0"),
    "port-too-large": ("http://127.0.0.1:65536/", "port 65536"),
    "other-port": ("http://127.0.0.1:1/", "is loopback"),
    "file": ("file:///etc/passwd", "scheme 'file'"),
    "ftp": ("ftp://127.0.0.1:{trap}/", "scheme 'ftp'"),
    "gopher": ("gopher://127.0.0.1:{trap}/_FLUSHALL", "scheme 'gopher'"),
    "data": ("data:application/json,[]", "scheme 'data'"),
    "user-info": ("http://127.0.0.1:{own}@127.0.0.1:{trap}/", "user or password"),
    "backslash": ("http://127.0.0.1:{own}\\@127.0.0.1:{trap}/", "user or password|no URL"),
    "ideographic-dots": ("http://127\u30020\u30020\u30021:{trap}/", "is loopback"),
    "full-width": ("http://\uff4c\uff4f\uff43\uff41\uff4c\uff48\uff4f\uff53\uff54:{trap}/", "no URL|is loopback"),
    "percent-nul": ("http://127.0.0.1%00.stranger.example:{trap}/", "no host's name"),
    "two-dots": ("http://localhost..:{trap}/", "no host's name"),
    "zone-of-loopback": ("http://[::1%25lo]:{trap}/", "one link"),
    "no-url": ("http://[::1", "no URL"),
    "nowhere": ("", "redirects to nowhere"),
}

# What an index may list in place of its second shard.
REFERENCES = {
    "loopback": ("http://127.0.0.1:{trap}/b.json", "of another origin"),
    "metadata": ("http://169.254.169.254/", "of another origin"),
    "stranger": ("https://stranger.example/b.json", "of another origin"),
    "no-scheme": ("//127.0.0.1:{trap}/b.json", "of another origin"),
    "subdomain-lookalike": ("http://127.0.0.1.stranger.example:{own}/b.json", "of another origin"),
    "https-elsewhere": ("https://127.0.0.1:{own}/b.json", "of another origin"),
    "file": ("file:///etc/passwd", "scheme 'file'"),
    "javascript": ("javascript:alert(1)", "scheme 'javascript'"),
    "user-info": ("http://127.0.0.1:{own}@127.0.0.1:{trap}/b.json", "user or password"),
    "odd-address": ("http://2130706433:{trap}/b.json", "odd spelling"),
    "no-url": ("http://[::1", "no URL"),
}

FEEDS = {
    "loopback": ("http://127.0.0.1:{trap}/feed.json", "is loopback"),
    "metadata": ("http://169.254.169.254/latest/user-data", "metadata service"),
    "file": ("file:///etc/passwd", "scheme 'file'"),
    "decimal": ("http://2130706433:{trap}/", "odd spelling"),
}


def chunked(*chunks: bytes, end: bytes = b"") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + end


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def sized(body: bytes, length: object) -> bytes:
    return OK + f"Content-Length: {length}\r\n\r\n".encode() + body


# How the second shard may be sent, and what is said of it.
ANSWERS: dict[str, tuple[Hostile, str]] = {
    "nothing": (sends(), "broke off: Server disconnected"),
    "reset": (resets, "broke off"),
    "silence": (silence(), "did not answer within"),
    "garbage": (sends(b"\x16\x03\x01\x02\x00" + bytes(200)), "broke off"),
    "http-0.9": (sends(GOOD), "broke off"),
    "no-end-of-headers": (sends(OK + b"X: y\r\n" * 50_000), "broke off|did not answer"),
    "endless-headers": (sends(OK, *[b"X: y\r\n" * 1000], forever=True), "broke off|did not answer"),
    "long-header": (sends(OK + b"X: " + b"y" * MEGABYTE), "broke off"),
    "odd-header": (sends(OK + b"X y\r\n\r\n"), "broke off"),
    "slow-headers": (sends(OK, *[b"X: y\r\n"], pause=0.05, forever=True), "did not answer"),
    "only-interim": (sends(b"HTTP/1.1 103 Early Hints\r\n\r\n", forever=True), "did not answer"),
    "upgrade": (sends(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), "broke off"),
    "status-of-none": (sends(b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n"), "HTTP 999|broke off"),
    "cut-off": (sends(sized(GOOD[:1000], len(GOOD))), "broke off"),
    "length-short": (sends(sized(GOOD, len(GOOD) - 10)), "truncated"),
    "length-negative": (sends(sized(GOOD, -1)), "broke off"),
    "length-huge": (then(sends(sized(b"[", 5 * 1024**4)), silence()), "more than 2000000 bytes"),
    "length-huger": (sends(sized(b"[", "9" * 30)), "broke off"),
    "lengths-two": (sends(OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n[1,2]"), "broke off"),
    "chunks-cut-off": (sends(CHUNKED + chunked(GOOD)), "broke off"),
    "chunk-size-garbage": (sends(CHUNKED + b"zz\r\n[]\r\n0\r\n\r\n"), "broke off"),
    "chunk-size-huge": (sends(CHUNKED + b"f" * 40 + b"\r\n[]"), "broke off"),
    "chunk-extension-endless": (sends(CHUNKED + b"1;" + b"x" * MEGABYTE), "broke off"),
    "chunk-extensions-endless": (
        then(sends(CHUNKED), sends((b"1;" + b"x" * 60_000 + b"\r\n \r\n") * 4, forever=True)),
        "more about its chunks",
    ),
    "trailers-endless": (sends(CHUNKED + chunked(GOOD) + b"0\r\n" + b"X: y\r\n" * 50_000), "broke off"),
    "close-delimited-cut-off": (sends(OK + b"\r\n" + GOOD[:1000]), "truncated"),
    "endless": (then(sends(CHUNKED), sends(chunked(b" " * 65536), forever=True)), "more than 2000000 bytes"),
    "endless-small-chunks": (
        then(sends(CHUNKED), sends(chunked(*[b" "] * 50_000), forever=True)),
        "more than 2000000|took longer",
    ),
    "a-byte-at-a-time": (sends(sized(b"", 10**6), *[b" "] * 40, pause=0.1), "took longer"),
    "stall": (then(lambda e, b: e.send(sized(GOOD[:1000], len(GOOD))), silence()), "sent nothing for"),
    "error-page": (replies(200, b"<!DOCTYPE html><title>Sorry</title>"), "page of HTML"),
    "error-page-xml": (replies(200, b"\n<?xml version='1.0'?><Error/>"), "page of HTML or XML"),
    "error-object": (replies(200, b'{"error": "internal"}'), "neither a list of items nor an item"),
    "login-redirect": (redirects("/nowhere/login"), "HTTP 404"),
    "empty": (replies(200, b""), "is empty"),
    "no-content": (replies(204), "HTTP 204"),
    "partial": (replies(206, GOOD[:1000], content_range="bytes 0-999/9999"), "HTTP 206"),
    "not-modified": (replies(304, etag='"other"'), "304"),
    "unauthorized": (replies(401), "HTTP 401"),
    "forbidden": (replies(403), "HTTP 403"),
    "missing": (replies(404), "HTTP 404"),
    "gone": (replies(410), "HTTP 410"),
    "teapot": (replies(418), "HTTP 418"),
    "too-many-requests": (replies(429, retry_after="99999999999"), "HTTP 429"),
    "server-error": (replies(500), "HTTP 500"),
    "unavailable": (replies(503, retry_after="Fri, 31 Dec 9999 23:59:59 GMT"), "HTTP 503"),
    "redirect-circle": (circles, "redirects more than 5 times"),
    "encoding-unknown": (replies(200, GOOD, content_encoding="aes"), "Content-Encoding 'aes'"),
    "encoding-twice": (replies(200, GOOD, content_encoding="gzip, gzip"), "Content-Encoding 'gzip, gzip'"),
    "encoding-a-lie": (replies(200, GOOD, content_encoding="gzip"), "damaged"),
    "gzip-cut-off": (replies(200, gzip.compress(GOOD)[:-20], content_encoding="gzip"), "damaged"),
    "gzip-wrong-checksum": (replies(200, gzip.compress(GOOD)[:-8] + bytes(8), content_encoding="gzip"), "damaged"),
    "gzip-bomb": (replies(200, PACKED_BOMB, content_encoding="gzip"), "unpacks to more than"),
    "deflate-bomb": (replies(200, zlib.compress(BOMB), content_encoding="deflate"), "unpacks to more than"),
    "brotli-bomb": (replies(200, brotli.compress(BOMB, quality=5), content_encoding="br"), "unpacks to more than"),
    "zstd-bomb": (replies(200, zstandard.compress(BOMB), content_encoding="zstd"), "unpacks to more than"),
    "gzip-file-bomb": (replies(200, PACKED_BOMB), "unpacks to more than"),
    "zstd-file-bomb": (replies(200, zstandard.compress(BOMB)), "unpacks to more than"),
    "gzip-in-gzip": (replies(200, gzip.compress(PACKED_BOMB), content_encoding="gzip"), "unpacks to more"),
    "gzip-members": (replies(200, gzip.compress(b"[") + gzip.compress(b"") * 50_000, content_encoding="gzip"), "trunc"),
    "gzip-bomb-of-members": (replies(200, gzip.compress(bytes(MEGABYTE)) * 70, content_encoding="gzip"), "unpacks to"),
    "noise": (replies(200, NOISE), "more than 2000000 bytes"),
    "nested": (replies(200, b"[" * 200_000), "nested"),
    "nested-item": (replies(200, b'{"a":' * 300 + b"1" + b"}" * 300), "neither a list|nested"),
    "long-string": (replies(200, b'[{"@type": "Product", "name": "' + b"x" * 900_000 + b'"}]'), "MAX_ITEM_BYTES"),
    "many-items": (replies(200, b"[" + b"1," * 5000 + b"1]"), "MAX_ITEMS_PER_SHARD"),
    "truncated": (replies(200, GOOD[:-30]), "truncated"),
    "utf-16": (replies(200, GOOD.decode().encode("utf-16")), "UTF-16"),
    "zip": (replies(200, b"PK\x03\x04" + bytes(100)), "ZIP"),
    "scalar": (replies(200, b"5"), "neither an object nor an array"),
    "index-as-shard": (replies(200, index()), "neither a list of items"),
}

INDEXES: dict[str, tuple[Hostile, str]] = {
    "error-page": (replies(200, b"<html>"), "page of HTML"),
    "empty": (replies(200, b""), "is empty"),
    "missing": (replies(404), "HTTP 404"),
    "gone": (replies(410), "HTTP 410"),
    "server-error": (replies(500), "HTTP 500"),
    "not-modified-by-itself": (replies(304, etag='"another"'), "304"),
    "cut-off": (sends(sized(index()[:50], 5000)), "broke off"),
    "truncated": (replies(200, index()[:-5]), "truncated"),
    "silence": (silence(), "did not answer"),
    "bomb": (replies(200, PACKED_BOMB, content_encoding="gzip"), "unpacks to more than"),
    "nested": (replies(200, b'{"shards":' * 100_000), "nested"),
    "of-another": (replies(200, index(orgid=OTHER_ORGANIZATION)), "feed of|that of " + OTHER_ORGANIZATION),
    "many-shards": (replies(200, index(shards=[f"{n}.json" for n in range(60)])), "MAX_SHARDS_PER_FEED"),
    "shards-of-nothing": (replies(200, index(shards=[{"url": "a.json"}, {}])), "has no URL"),
    "shard-url-long": (replies(200, index(shards=["a.json", "x" * 5000])), "too long a URL"),
    "shards-a-number": (replies(200, index(shards=5)), "not a list"),
    "lists-itself": (lists("a.json", "b.json", "index.json"), "neither a list of items"),
    "redirect-to-trap": (redirects("http://127.0.0.1:{trap}/feed.json"), "is loopback"),
}

REGISTRIES: dict[str, tuple[Hostile, str]] = {
    "error-page": (replies(200, b"<html>"), "page of HTML"),
    "missing": (replies(404), "HTTP 404"),
    "server-error": (replies(500), "HTTP 500"),
    "redirect-to-trap": (redirects("http://127.0.0.1:{trap}/"), "is loopback"),
    "bomb": (replies(200, PACKED_BOMB, content_encoding="gzip"), "unpacks to more than"),
}


def changes_meanwhile() -> Hostile:
    """Another content at each look."""
    looks = iter(range(10**6))
    return lambda exchange, brand: exchange.reply(200, shard(EACH, name=f"Look {next(looks)}"))


def _named(group: str, kind: dict[str, tuple[Hostile, str]], document: str, **options: object) -> list[Attack]:
    return [Attack(f"{group}-{name}", told, {document: act}, **options) for name, (act, told) in kind.items()]


# What is no attack on the node, or cannot be known: it is applied, and touches no one else.
APPLIED = [
    Attack(
        "index-of-nothing", "would be deleted", {INDEX: replies(200, index(shards=[], totalShards=0))}, status="held"
    ),
    Attack("shard-emptied", "would be deleted", {FIRST: replies(200, b"[]"), SECOND: replies(200, b"[]")}, "held"),
    Attack("shard-changes-meanwhile", "", {SECOND: changes_meanwhile()}, status="success", is_applied=True),
    Attack(
        "etag-of-other-content", "", {SECOND: replies(200, shard(EACH, name="New"), etag='"same"')},
        status="success", is_applied=True,
    ),
    Attack(
        "urns-of-another", "",
        {SECOND: lambda e, b: serve(e, encode(item_list(*(
            product(n) | {"@id": product(n, OTHER_ORGANIZATION)["@id"]} for n in range(EACH, 2 * EACH)
        ))))},
        status="success", is_applied=True,
    ),
    Attack(
        "names-of-control-characters", "",
        {SECOND: replies(200, json.dumps(json.loads(shard(EACH, name="Lamp \u0000\u202e\ud800"))).encode())},
        status="success", is_applied=True,
    ),
    Attack(
        "nested-items", "", {SECOND: replies(200, shard(EACH).replace(b'"https://acme.example/i/20.jpg"',
        b"[" * 60 + b"]" * 60))}, status="success", is_applied=True,
    ),
]  # fmt: skip

WEB: dict[str, Attack] = {
    attack.name: attack
    for attack in [
        *_named("redirect", {name: (redirects(place), told) for name, (place, told) in PLACES.items()}, SECOND),
        *_named("redirect-308", {"loopback": (redirects("http://127.0.0.1:{trap}/", 308), "is loopback")}, SECOND),
        *_named("lists", {name: (lists("a.json", url), told) for name, (url, told) in REFERENCES.items()}, INDEX),
        *_named("answers", ANSWERS, SECOND),
        *_named("index", INDEXES, INDEX),
        *_named("registry", REGISTRIES, REGISTRY, status="degraded"),
        *_named("feed-at", {name: (names_feed(url), told) for name, (url, told) in FEEDS.items()}, REGISTRY),
        *APPLIED,
    ]
}
