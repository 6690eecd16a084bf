"""Who is signed in: a cookie that names a key and is signed, and the token that forms bring against forgery.

The cookie holds no key. What it opens ends with the key, when that is revoked or expires, and after some hours at most.
"""

import hmac
import time

from fastapi import Request

from app.api.node import node_of
from app.api.signing import seal, signature, unseal

COOKIE = "node_session"
LASTS = 12 * 3600  # seconds
_SESSION, _FORMS = "session", "forms of a session"


def signed(request: Request, key_id: str) -> str:
    """The cookie's value for the holder of a key."""
    return seal(node_of(request).signing_key, _SESSION, f"{key_id}:{int(time.time()) + LASTS}".encode())


def key_id(request: Request) -> str | None:
    """The id of the key that the sender signed in with; None for a cookie that is forged or too old, or for none."""
    cookie = request.cookies.get(COOKIE)
    payload = unseal(node_of(request).signing_key, _SESSION, cookie) if cookie else None
    if payload is None:
        return None
    found, _, until = payload.decode().partition(":")
    return found if int(until) > time.time() else None


def csrf_token(request: Request) -> str:
    """What a form of this session has to bring; empty where nobody is signed in."""
    if key_id(request) is None:
        return ""
    return signature(node_of(request).signing_key, _FORMS, request.cookies[COOKIE].encode()).hex()


def is_forged(request: Request, token: object) -> bool:
    expected = csrf_token(request)
    return not (expected and isinstance(token, str) and hmac.compare_digest(token.encode(), expected.encode()))


def is_signed_in(request: Request) -> bool:
    """Whether a cookie says who asks for a page, and their key is good."""
    caller = getattr(request.state, "caller", None)
    return caller is not None and caller.key is not None and caller.is_session


def is_admin(request: Request) -> bool:
    """Whether whoever asks for a page may operate the node."""
    caller = getattr(request.state, "caller", None)
    return caller is not None and caller.is_admin
