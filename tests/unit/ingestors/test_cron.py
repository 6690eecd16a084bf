"""Five-field cron expressions."""

from datetime import UTC, datetime, timedelta

import pytest
from celery import Celery
from celery.schedules import crontab
from hypothesis import assume, given
from hypothesis import strategies as st

from app.ingestors.cron import following, latest, parse_cron, simplify

MINUTE = timedelta(minutes=1)
CELERY = Celery(set_as_current=False)  # in UTC, as the node's


def _fields(least: int, greatest: int, names: tuple[str, ...] = ()) -> st.SearchStrategy[str]:
    """Everything a field may be."""
    numbers = st.integers(least, greatest)
    spans = st.tuples(numbers, numbers).map(sorted)
    steps = st.integers(1, greatest)
    part = st.one_of(
        st.just("*"),
        numbers.map(str),
        spans.map(lambda span: f"{span[0]}-{span[1]}"),
        steps.map(lambda step: f"*/{step}"),
        st.tuples(numbers, steps).map(lambda found: f"{found[0]}/{found[1]}"),
        st.tuples(spans, steps).map(lambda found: f"{found[0][0]}-{found[0][1]}/{found[1]}"),
        *([st.sampled_from(names)] if names else []),
    )
    return st.one_of(st.just("*"), st.lists(part, min_size=1, max_size=3).map(",".join))


expressions = st.tuples(
    _fields(0, 59), _fields(0, 23), _fields(1, 31), _fields(1, 12, ("jan", "FEB", "dec")), _fields(0, 7, ("sun", "Mon"))
).map(" ".join)
moments = st.datetimes(datetime(1990, 1, 1), datetime(2120, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("expression", "field", "values"),
    [
        ("* * * * *", 0, list(range(60))),
        ("*/20 * * * *", 0, [0, 20, 40]),
        ("5 * * * *", 0, [5]),
        ("5/20 * * * *", 0, [5, 25, 45]),
        ("0 8-18/5 * * *", 1, [8, 13, 18]),
        ("0 0 1,15 * *", 2, [1, 15]),
        ("0 0 1 jan,MAR *", 3, [1, 3]),
        ("0 0 1 feb-apr *", 3, [2, 3, 4]),
        ("0 0 * * mon-fri", 4, [1, 2, 3, 4, 5]),
        ("0 0 * * 7", 4, [0]),
        ("0 0 * * 5-7", 4, [0, 5, 6]),
        ("0 0 * * sun", 4, [0]),
    ],
)
def test_fields_mean_what_cron_means(expression: str, field: int, values: list[int]) -> None:
    assert parse_cron(expression)[field] == values


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("* * * *", "has 4 fields"),
        ("@daily", "has 1 fields"),
        ("60 * * * *", "minute field '60' is wrong: '60' is not from 0 to 59"),
        ("0 25 * * *", "hour field"),
        ("0 0 0 * *", "day of month field"),
        ("0 0 * 13 *", "month field '13' is wrong: '13' is not from 1 to 12 or jan-dec"),
        ("0 0 * * 8", "day of week field"),
        ("0 0 * * moon", "day of week field"),
        ("*/0 * * * *", "'0' is not a step"),
        ("*/x * * * *", "'x' is not a step"),
        ("9-3 * * * *", "'9-3' runs backwards"),
        ("1,,2 * * * *", "minute field"),
        ("-5 * * * *", "minute field"),
    ],
)
def test_what_is_wrong_is_named(expression: str, told: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_cron(expression)
    assert told in str(caught.value)


def _matches(expression: str, moment: datetime) -> bool:
    values = [moment.minute, moment.hour, moment.day, moment.month, moment.isoweekday() % 7]
    return all(value in allowed for value, allowed in zip(values, parse_cron(expression), strict=True))


@given(expressions, moments)
def test_the_latest_due_time_is_what_counting_back_finds(expression: str, now: datetime) -> None:
    minute = now.replace(second=0, microsecond=0)
    counted = (minute - back * MINUTE for back in range(2 * 24 * 60))
    found = next((each for each in counted if _matches(expression, each)), None)
    due = latest(expression, now)
    if found is not None:
        assert due == found
    elif due is not None:
        assert _matches(expression, due)
        assert due <= minute - 2 * 24 * 60 * MINUTE


@given(expressions, moments)
def test_the_next_due_time_is_the_first_after_now(expression: str, now: datetime) -> None:
    due = following(expression, now)
    assert (due is None) == (latest(expression, now) is None)
    if due is not None:
        assert now < due == latest(expression, due)
        before = latest(expression, due - MINUTE)
        assert before is None or before <= now


@given(expressions, moments)
def test_celery_agrees_on_what_is_due(expression: str, now: datetime) -> None:
    due = latest(expression, now)
    assume(due is not None)
    minute, hour, day_of_month, month, day_of_week = simplify(expression).split()
    theirs = crontab(minute, hour, day_of_week, day_of_month, month, nowfun=lambda: now, app=CELERY)
    start, delta, _ = theirs.remaining_delta(due - MINUTE)
    assert start + delta == due
    start, delta, _ = theirs.remaining_delta(due)
    assert start + delta > now


@pytest.mark.parametrize(
    ("expression", "due"),
    [
        ("* * * * *", datetime(2025, 3, 9, 12, 34, tzinfo=UTC)),
        ("35 12 * * *", datetime(2025, 3, 8, 12, 35, tzinfo=UTC)),
        ("0 0 29 2 *", datetime(2024, 2, 29, tzinfo=UTC)),
        ("0 0 29 2 tue", datetime(2000, 2, 29, tzinfo=UTC)),
        ("0 0 13 * fri", datetime(2024, 12, 13, tzinfo=UTC)),
        ("0 0 * * 7", datetime(2025, 3, 9, tzinfo=UTC)),
        ("0 0 30 2 *", None),
        ("0 0 31 4,6,9,11 *", None),
    ],
)
def test_rare_times_are_found(expression: str, due: datetime | None) -> None:
    assert latest(expression, datetime(2025, 3, 9, 12, 34, 56, tzinfo=UTC)) == due


def test_time_zones_make_no_difference() -> None:
    now = datetime.fromisoformat("2025-03-09T01:30:00+09:00")
    assert latest("0 0 * * *", now) == datetime(2025, 3, 8, tzinfo=UTC)


@given(expressions)
def test_the_simple_form_means_the_same(expression: str) -> None:
    simple = simplify(expression)
    assert parse_cron(simple) == parse_cron(expression)
    assert simplify(simple) == simple
    assert set(simple) <= set("0123456789,* ")
