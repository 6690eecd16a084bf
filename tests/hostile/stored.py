"""What a hostile or broken FTP server, or store of objects, may do, by name."""

from collections.abc import Mapping

from tests.hostile.attacks import GOOD, PACKED_BOMB, WEB, changes_meanwhile, chunked, sized
from tests.hostile.brand import (
    EACH,
    INDEX,
    REGISTRY,
    SECOND,
    Attack,
    Hostile,
    index,
    lists,
    redirects,
    replies,
    sends,
    shard,
    silence,
    then,
)
from tests.hostile.ftp import Act, delivers, hangs_up, keeps_silent, names_port, publishes, says, says_forever

PASSIVE, TRANSFER, SIZE = f"PASV {SECOND}", f"RETR {SECOND}", f"SIZE {SECOND}"
OTHER = shard(EACH, name="Other lamp")
HALF = GOOD[: len(GOOD) // 2]
IN_THE_MIDDLE = len(HALF)


def _another_time() -> Act:
    """A file that is replaced again and again."""
    looks = iter(range(10**6))
    return lambda talk: talk.say(f"213 2020{next(looks):010}")


# What the server makes of the second shard, and what is said of it.
TRANSFERS: dict[str, tuple[Mapping[str, Act], str]] = {
    "data-elsewhere": ({PASSIVE: names_port(0, "127.0.0.2")}, "no connection"),
    "data-at-ssh": ({PASSIVE: names_port(22)}, "22 as the port of its data"),
    "data-at-a-database": ({PASSIVE: names_port(1023)}, "1023 as the port of its data"),
    "data-nowhere": ({PASSIVE: says("227 (1,2,3)")}, "does not speak FTP"),
    "data-at-no-port": ({PASSIVE: says("227 (127,0,0,1,999,999)")}, "256743 as the port of its data"),
    "data-refused": ({PASSIVE: says("502 no")}, "FTP 502"),
    "data-not-said": ({PASSIVE: keeps_silent()}, "did not answer"),
    "data-never-accepted": ({TRANSFER: lambda talk: (talk.say("150 it comes"), keeps_silent()(talk))}, "sent nothing"),
    "data-before-a-word": ({TRANSFER: keeps_silent()}, "did not answer"),
    "data-a-byte-at-a-time": ({TRANSFER: delivers(b" ", pause=0.1, forever=True)}, "took longer"),
    "data-endless": ({TRANSFER: delivers(b" " * 65536, forever=True)}, "more than 2000000 bytes"),
    "data-cut-short": ({TRANSFER: delivers(HALF)}, "did not come whole"),
    "data-cut-short-unsized": ({TRANSFER: delivers(HALF), SIZE: says("500 what?")}, "truncated"),
    "data-broken-off": ({TRANSFER: delivers(HALF, then="426 broke off")}, "FTP 426"),
    "data-reset": ({TRANSFER: delivers(HALF, ends=False)}, "broke off|did not come whole"),
    "hangs-up-in-the-middle": ({TRANSFER: delivers(HALF, then=None)}, "hung up"),
    "hangs-up": ({TRANSFER: hangs_up}, "hung up"),
    "shuts-down": ({TRANSFER: says("421 shutting down")}, "FTP 421"),
    "shuts-down-in-the-middle": ({TRANSFER: delivers(GOOD, then="421 shutting down")}, "FTP 421"),
    "folder": ({TRANSFER: says("550 is a folder"), SIZE: says("550 is a folder")}, "FTP 550"),
    "missing": ({f"MDTM {SECOND}": says("550 none")}, "FTP 550, there is no such file"),
    "needs-an-account": ({TRANSFER: says("532 who are you?")}, "FTP 532"),
    "size-too-large": ({SIZE: says("213 999999999999")}, "more than 2000000 bytes"),
    "size-too-small": ({SIZE: says("213 10")}, "did not come whole"),
    "changes-meanwhile": ({f"MDTM {SECOND}": _another_time()}, "changed meanwhile"),
    "size-odd": ({SIZE: says("213 -1"), TRANSFER: delivers(HALF)}, "truncated"),
    "reply-endless": ({TRANSFER: says_forever(b"150-wait\r\n")}, "does not speak FTP"),
    "reply-of-one-endless-line": ({TRANSFER: says_forever(b"x" * 65536)}, "does not speak FTP"),
    "reply-slow": ({TRANSFER: says_forever(b"1", pause=0.05)}, "did not answer"),
    "reply-twice": ({TRANSFER: delivers(GOOD, then="150 it comes\r\n150 it comes")}, "does not speak FTP"),
    "error-page": (publishes(SECOND, b"<!DOCTYPE html><title>Sorry</title>"), "page of HTML"),
    "bomb": (publishes(SECOND, PACKED_BOMB), "unpacks to more than"),
    "lists-another-server": (publishes(INDEX, index(shards=["a.json", "ftp://127.0.0.2/b.json"])), "another origin"),
    "lists-http": (publishes(INDEX, index(shards=["a.json", "http://127.0.0.1/b.json"])), "scheme 'http'"),
    "lists-a-file": (publishes(INDEX, index(shards=["a.json", "file:///etc/passwd"])), "scheme 'file'"),
    "lists-a-command": (publishes(INDEX, index(shards=["a.json", "b.json%0D%0ADELE%20a.json"])), "names no file"),
    "lists-a-user": (publishes(INDEX, index(shards=["a.json", "ftp://u:p@127.0.0.1/b.json"])), "user or password"),
    "index-cut-short": (publishes(INDEX, index()[:-20]), "truncated"),
}  # fmt: skip

# What happens before any file is asked for.
GREETINGS: dict[str, tuple[Mapping[str, Act], str]] = {
    "endless": ({"": says_forever(b"220-welcome\r\n")}, "does not speak FTP"),
    "of-one-endless-line": ({"": says_forever(b"x" * 65536)}, "does not speak FTP"),
    "slow": ({"": says_forever(b"2", pause=0.05)}, "did not answer"),
    "silent": ({"": keeps_silent()}, "did not answer"),
    "busy": ({"": says("421 too many")}, "FTP 421"),
    "of-another-protocol": ({"": says("HTTP/1.1 200 OK", "", "[]")}, "does not speak FTP"),
    "login-refused": ({"PASS": says("530 no")}, "refuses the login"),
    "login-without-end": ({"PASS": says("331 again"), "ACCT": says("332 again")}, "refuses the login"),
    "no-binary": ({"TYPE": says("504 text alone")}, "FTP 504"),
}

SECURE: dict[str, tuple[Mapping[str, Act], str]] = {
    "refused": ({"AUTH": says("502 what?")}, "offers no TLS"),
    "refused-in-passing": ({"AUTH": says("431 not now")}, "FTP 431"),
    "pretended": ({"AUTH": says("234 go on", "220 go on in the open")}, "did not answer|broke off"),
    "stripped": ({"AUTH": says("200 no need, go on")}, "did not answer|broke off"),
}


def _code(status: int, code: str, more: str = "", **headers: str) -> Hostile:
    return replies(status, f"<?xml version='1.0'?><Error><Code>{code}</Code>{more}</Error>".encode(), **headers)


def _errs(*pieces: bytes, forever: bool = False) -> Hostile:
    head = b"HTTP/1.1 500 Told\r\nTransfer-Encoding: chunked\r\n\r\n"
    return then(sends(head), sends(chunked(*pieces), forever=forever))


ENTITIES = b"<!DOCTYPE l [<!ENTITY a '" + b"x" * 50_000 + b"'>]><Error><Code>" + b"&a;" * 100_000 + b"</Code></Error>"

# What a store makes of the second shard, and what is said of it.
OBJECTS: dict[str, tuple[Hostile, str]] = {
    "redirect-to-trap": (redirects("http://127.0.0.1:{trap}/", 307), "expects another request"),
    "redirect-of-bucket": (
        lambda e, b: _code(301, "PermanentRedirect", b.fill("<Endpoint>127.0.0.1:{trap}</Endpoint>"))(e, b),
        "expects another request",
    ),
    "region-is-a-host": (_code(301, "PermanentRedirect", x_amz_bucket_region="127.0.0.1:9/#"), "InvalidRegion"),
    "region-after-region": (
        _code(400, "AuthorizationHeaderMalformed", "<Region>eu-1</Region>", x_amz_bucket_region="eu-1"),
        "expects another request",
    ),
    "error-endless": (_errs(b"x" * 65536, forever=True), "error without end"),
    "error-nested": (_errs(b"<Error>" + b"<a>" * 3000 + b"</a>" * 3000 + b"</Error>"), "broke off|not S3's"),
    "error-of-entities": (replies(500, ENTITIES), "HTTP 500|not S3's"),
    "error-of-no-xml": (replies(500, b"<Error"), "HTTP 500"),
    "error-as-object": (_code(200, "InternalError"), "page of HTML or XML"),
    "slow-down": (_code(503, "SlowDown"), "HTTP 503"),
    "denied": (_code(403, "AccessDenied"), "HTTP 403"),
    "missing": (_code(404, "NoSuchKey"), "HTTP 404, there is no such object"),
    "part": (replies(206, OTHER), "HTTP 206"),
    "not-modified-by-itself": (lambda e, b: e.reply(304 if "if-none-match" not in e.headers else 500), "HTTP 500"),
    "silence": (silence(), "did not answer"),
    "stall": (then(sends(sized(HALF, len(GOOD))), silence()), "sent nothing"),
    "a-byte-at-a-time": (sends(sized(b"", 10**6), *[b" "] * 40, pause=0.1), "took longer"),
    "cut-off": (sends(sized(HALF, len(GOOD))), "broke off|not whole"),
    "length-short": (sends(sized(GOOD, IN_THE_MIDDLE)), "truncated"),
    "length-huge": (then(sends(sized(b"[", 5 * 1024**4)), silence()), "more than 2000000 bytes"),
    "endless": (
        then(sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
             sends(chunked(b" " * 65536), forever=True)), "more than 2000000 bytes",
    ),
    "headers-odd": (replies(200, OTHER, last_modified="soon", x_amz_missing_meta="9" * 5000), "not S3's"),
    "encoding-unknown": (replies(200, OTHER, content_encoding="br"), "Content-Encoding 'br'"),
    "bomb": (replies(200, PACKED_BOMB), "unpacks to more than"),
}  # fmt: skip

LISTED = {
    "another-bucket": ("s3://payroll/2026.json", "another bucket"),
    "http": ("http://127.0.0.1:{trap}/b.json", "no object of a bucket"),
    "file": ("file:///etc/passwd", "no object of a bucket"),
    "odd-bucket": ("s3://../b.json", "no object of a bucket"),
}

_FTP = [
    *(Attack(f"ftp-{name}", told, {}, source="ftp", commands=acts) for name, (acts, told) in TRANSFERS.items()),
    *(
        Attack(f"ftp-greeting-{name}", told, {}, source="ftp", commands=acts)
        for name, (acts, told) in GREETINGS.items()
    ),
    *(
        Attack(f"ftp-tls-{name}", told, {}, source="ftp", is_secure=True, commands=acts)
        for name, (acts, told) in SECURE.items()
    ),
    Attack(
        "ftp-data-address-lies", "", {}, "success", is_applied=True, source="ftp",
        commands={PASSIVE: names_port(None, "169.254.169.254")},
    ),
    Attack(
        "ftp-other-content-same-version", "", {}, "success", source="ftp",
        commands={f"MDTM {SECOND}": says("213 20010909014640"), TRANSFER: delivers(OTHER)},
    ),
    Attack("ftp-time-odd", "", {}, "success", is_applied=True, source="ftp",
           commands={f"MDTM {SECOND}": says("213 99999999999999")}),
]  # fmt: skip
_S3 = [
    *(Attack(f"s3-{name}", told, {SECOND: act}, source="s3") for name, (act, told) in OBJECTS.items()),
    *(
        Attack(f"s3-lists-{name}", told, {INDEX: lists("a.json", url)}, source="s3")
        for name, (url, told) in LISTED.items()
    ),
    Attack("s3-registry-error", "HTTP 500", {REGISTRY: _code(500, "InternalError")}, "degraded", source="s3"),
    Attack(
        "s3-etag-of-other-content", "", {SECOND: replies(200, OTHER, etag='"same"')}, "success", is_applied=True,
        source="s3",
    ),
    Attack("s3-changes-meanwhile", "", {SECOND: changes_meanwhile()}, "success", is_applied=True, source="s3"),
    Attack("s3-without-length", "", {SECOND: sends(b"HTTP/1.1 200 OK\r\n\r\n" + OTHER)}, "success", is_applied=True,
           source="s3"),
]  # fmt: skip

ATTACKS: dict[str, Attack] = WEB | {attack.name: attack for attack in (*_FTP, *_S3)}
