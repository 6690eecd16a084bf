"""Who is signed in: a cookie that names a key and is signed, and the token that forms bring against forgery.

The cookie holds no key. What it opens ends with the key, when that is revoked or expires, and after some hours at most.
"""

import hmac
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode

from fastapi import Request

from app.api.node import node_of

COOKIE = "node_session"
LASTS = 12 * 3600  # seconds
_SIGNATURE = 32


def signed(request: Request, key_id: str) -> str:
    """The cookie's value for the holder of a key."""
    payload = f"{key_id}:{int(time.time()) + LASTS}".encode()
    return urlsafe_b64encode(_signature(request, b"session", payload) + payload).decode()


def key_id(request: Request) -> str | None:
    """The id of the key that the sender signed in with; None for a cookie that is forged or too old, or for none."""
    try:
        data = urlsafe_b64decode(request.cookies.get(COOKIE, "").encode("ascii"))
    except ValueError:
        return None
    signature, payload = data[:_SIGNATURE], data[_SIGNATURE:]
    if not payload or not hmac.compare_digest(signature, _signature(request, b"session", payload)):
        return None
    found, _, until = payload.decode().partition(":")
    return found if int(until) > time.time() else None


def csrf_token(request: Request) -> str:
    """What a form of this session has to bring; empty where nobody is signed in."""
    cookie = request.cookies.get(COOKIE, "")
    return _signature(request, b"csrf", cookie.encode()).hex() if cookie and key_id(request) else ""


def is_forged(request: Request, token: object) -> bool:
    expected = csrf_token(request)
    return not (expected and isinstance(token, str) and hmac.compare_digest(token.encode(), expected.encode()))


def is_admin(request: Request) -> bool:
    """Whether whoever asks for a page may operate the node."""
    caller = getattr(request.state, "caller", None)
    return caller is not None and caller.is_admin


def _signature(request: Request, purpose: bytes, payload: bytes) -> bytes:
    return hmac.digest(node_of(request).signing_key, purpose + b"\0" + payload, "sha256")
