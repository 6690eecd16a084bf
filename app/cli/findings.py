"""What `doctor` finds, and how it is told."""

from dataclasses import dataclass
from typing import Literal

from app.core.errors import DiscoveryNodeError

State = Literal["ok", "note", "broken"]


@dataclass(frozen=True)
class Finding:
    """How one thing is; `remedy` says what to do about it."""

    state: State
    subject: str
    told: str
    remedy: str = ""


def broken(subject: str, error: DiscoveryNodeError) -> Finding:
    return Finding("broken", subject, str(error), error.remedy)
