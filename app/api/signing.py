"""Tokens that nobody else can make, nor put to another use: a payload that can be read, with its signature."""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode

_SIGNATURE = 16  # bytes


def seal(key: bytes, purpose: str, payload: bytes) -> str:
    """The payload as a token for that purpose, of letters that an address can hold."""
    return urlsafe_b64encode(signature(key, purpose, payload) + payload).decode().rstrip("=")


def unseal(key: bytes, purpose: str, token: str) -> bytes | None:
    """The payload of a token; None of one that was not made with the key, or for something else."""
    try:
        data = urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
    except ValueError:
        return None
    payload = data[_SIGNATURE:]
    return payload if hmac.compare_digest(data[:_SIGNATURE], signature(key, purpose, payload)) else None


def signature(key: bytes, purpose: str, payload: bytes) -> bytes:
    return hmac.digest(key, f"{purpose}\0".encode() + payload, "sha256")[:_SIGNATURE]
