"""Each start by name: how it ended, whether the plan of fire explains that, and what its caller was told."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from app.services.losses import MAX_LOST
from tests.chaos.callers import Answer, Callers
from tests.chaos.ledger import Ledger

# How each start ended; of one that was taken in, how that ended which took it in.
_ENDS = """
    SELECT s.id::text, s.status AS own, e.id::text AS by, e.status, e.result, e.error, e.lost, e.announced,
        e.finished_at,
        (SELECT string_agg(DISTINCT r.error, '; ') FROM runs r
            WHERE r.start_id = e.id AND r.status <> 'success') AS told
    FROM starts s JOIN starts e ON e.id = coalesce(s.into_id, s.id) WHERE s.task IS NOT NULL
    """
# The reasons for which fire can end a start, all of them spelled by the ledger.
_LOSSES = ("The worker was lost", "The database was lost")


@dataclass
class Account:
    """How many of the accepted starts ended in which way, how many callers heard so and of how many Redis lost the
    answer before they could, and what is wrong with any start."""

    ends: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def account(ledger: Ledger, callers: Callers) -> Account:
    """Accounts for every start once all is over."""
    callers.ask()
    found = {row["id"]: row for row in ledger.rows(_ENDS)}
    account = Account()
    for start_id in callers.accepted:
        if start_id not in found:
            _account_unknown(account, start_id, callers)
        else:
            _account_for(account, found[start_id], callers)
    others = [row for row in found.values() if row["id"] not in callers.accepted]
    account.wrong += [_unexplained(row) for row in others if row["status"] != "success" and not is_explained(row)]
    for start_id, (first, now) in callers.told_otherwise().items():
        account.wrong.append(f"start {start_id}: its caller was told {first}, and would now be told {now}")
    return account


def is_explained(end: dict[str, Any]) -> bool:
    """Whether fire alone ended the start: it took as many workers or databases from it as the node bears."""
    return end["lost"] >= MAX_LOST and str(end["error"]).startswith(_LOSSES)


def untold(ledger: Ledger, callers: Callers) -> list[str]:
    """The accepted starts whose callers heard nothing, although no loss of Redis can have taken the answer."""
    ends = {row["id"]: row for row in ledger.rows(_ENDS)}
    waiting = [ends[each] for each in callers.accepted if each not in callers.answers and each in ends]
    return [row["id"] for row in waiting if not _is_answer_lost(row, callers)]


def _account_unknown(account: Account, start_id: str, callers: Callers) -> None:
    """One that neither the ledger nor, after a loss, Redis holds was told to its sender as not written."""
    if start_id in callers.unwritten and callers.lost_since(callers.accepted[start_id]):
        account.ends["not written for want of a database, then lost with Redis"] += 1
    else:
        account.ends["lost"] += 1
        account.wrong.append(f"lost: start {start_id}")


def _account_for(account: Account, end: dict[str, Any], callers: Callers) -> None:
    taken_in = f", taken in by {end['by']}" if end["own"] == "coalesced" else ""
    account.ends[("taken in by one that ended " if taken_in else "ended ") + end["status"]] += 1
    if end["status"] != "success" and not is_explained(end):
        account.wrong.append(_unexplained(end) + taken_in)
    answer = callers.answers.get(end["id"])
    if answer is not None:
        account.answers["told as the ledger says" if _agrees(answer, end) else "told otherwise"] += 1
        if not _agrees(answer, end):
            account.wrong.append(f"start {end['id']}{taken_in}: its caller was told {answer}; the ledger says {end}")
    elif _is_answer_lost(end, callers):
        account.answers["whose answer was lost with Redis"] += 1
    else:
        account.answers["untold"] += 1
        account.wrong.append(f"untold: the caller of start {end['id']}{taken_in}, which ended {end['status']}")


def _unexplained(end: dict[str, Any]) -> str:
    return f"start {end['id']} ended {end['status']}, which no fault explains: {end['error'] or end['told']}"


def _is_answer_lost(end: dict[str, Any], callers: Callers) -> bool:
    return bool(end["announced"]) and callers.lost_since(end["finished_at"])


def _agrees(answer: Answer, end: dict[str, Any]) -> bool:
    """Whether that is what the ledger says; of an error that nobody foresaw it says the type alone."""
    if end["status"] == "failed":
        return answer.state == "FAILURE" and answer.error is not None and end["error"] in answer.error
    return answer.state == "SUCCESS" and answer.result == end["result"]
