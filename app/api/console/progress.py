"""How far a run is, in words and parts. `static/console.js` says the same of what it asks for."""

from collections.abc import Mapping
from typing import Any

_SAID = {"waiting": "waiting", "reading": "being read", "read": "read", "unchanged": "unchanged", "failed": "not read"}


def counted(counts: Mapping[str, int]) -> str:
    """How many shards are in which state."""
    return ", ".join(f"{number:,} {_SAID[state]}" for state, number in counts.items() if number)


def told(shard: Mapping[str, Any]) -> str:
    """A shard's state, and its items as far as they are known."""
    said = _SAID[shard["state"]]
    if not shard["of"]:
        return said
    items = f"{shard['of']:,} item{'' if shard['of'] == 1 else 's'}"
    return f"{said}: {shard['items']:,} of {items}" if shard["state"] == "reading" else f"{said}: {items}"


def part(shard: Mapping[str, Any]) -> float:
    """How much of a shard is done, from 0 to 1; of one that is read, when its items are known."""
    if shard["state"] == "reading":
        return float(shard["items"] / shard["of"])
    return 0.0 if shard["state"] == "waiting" else 1.0


def rated(embedding: Mapping[str, Any]) -> str:
    """How many products are embedded, and how fast that goes."""
    rate = f", {embedding['perSecond']:,.0f} a second" if "perSecond" in embedding else ""
    return f"{embedding['done']:,} of {embedding['pending']:,} products{rate}"
