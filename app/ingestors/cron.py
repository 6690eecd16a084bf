"""When schedules are due. Five-field cron expressions are checked field by field and written without names. They are
in UTC; day of month and day of week have both to match, as in Celery and other than in cron itself."""

from datetime import UTC, date, datetime, time, timedelta

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
# Name, least, greatest, names and the number of the first one.
_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 7, _DAYS),
)
_SIZES = (60, 24, 31, 12, 7)
# The same date is on the same weekday again within 40 years, also the 29th of February around a year like 2100.
_HORIZON_DAYS = 40 * 366
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_cron(expression: str) -> list[list[int]]:
    """The values of minute, hour, day of month, month and day of week that match, sorted; Sunday is 0.
    Raises `ValueError` that names the field."""
    fields = expression.split()
    if len(fields) != len(_FIELDS):
        raise ValueError(f"{expression!r} has {len(fields)} fields; a cron expression has five")
    values = [_field(text, *rule) for text, rule in zip(fields, _FIELDS, strict=True)]
    values[4] = sorted({day % 7 for day in values[4]})
    return values


def simplify(expression: str) -> str:
    """The same expression in numbers and commas, or `*`: what every parser reads alike."""
    fields = zip(parse_cron(expression), _SIZES, strict=True)
    return " ".join("*" if len(values) == size else ",".join(map(str, values)) for values, size in fields)


def latest(expression: str, now: datetime) -> datetime | None:
    """When the expression was due last, `now` included; None for one that never is, as on the 30th of February."""
    minutes, hours, *days = parse_cron(expression)
    now = now.astimezone(UTC)
    for day in (now.date() - timedelta(days=back) for back in range(_HORIZON_DAYS)):
        if not _falls_on(day, *days):
            continue
        end = now.time() if day == now.date() else time.max
        times = (time(hour, minute) for hour in reversed(hours) for minute in reversed(minutes))
        if (due := next((each for each in times if each <= end), None)) is not None:
            return datetime.combine(day, due, UTC)
    return None


def following(expression: str, now: datetime) -> datetime | None:
    """When the expression is due next, after `now`; None for one that never is."""
    minutes, hours, *days = parse_cron(expression)
    now = now.astimezone(UTC)
    for day in (now.date() + timedelta(days=ahead) for ahead in range(_HORIZON_DAYS)):
        if not _falls_on(day, *days):
            continue
        times = (datetime.combine(day, time(hour, minute), UTC) for hour in hours for minute in minutes)
        if (due := next((each for each in times if each > now), None)) is not None:
            return due
    return None


def latest_multiple(every: float, now: datetime) -> datetime:
    """The latest multiple of so many seconds since 1970, `now` included."""
    step = timedelta(seconds=every)
    return _EPOCH + (now - _EPOCH) // step * step


def _falls_on(day: date, days: list[int], months: list[int], weekdays: list[int]) -> bool:
    return day.month in months and day.day in days and day.isoweekday() % 7 in weekdays


def _field(text: str, name: str, least: int, greatest: int, names: tuple[str, ...]) -> list[int]:
    try:
        return sorted({value for part in text.split(",") for value in _part(part, least, greatest, names)})
    except ValueError as error:
        raise ValueError(f"the {name} field {text!r} is wrong: {error}") from error


def _part(part: str, least: int, greatest: int, names: tuple[str, ...]) -> range:
    span, slash, step = part.partition("/")
    if slash and not (step.isdecimal() and int(step) > 0):
        raise ValueError(f"{step!r} is not a step")
    if span == "*":
        first, last = least, greatest
    else:
        low, dash, high = span.partition("-")
        first = _number(low, least, greatest, names)
        last = _number(high, least, greatest, names) if dash else (greatest if slash else first)
    if first > last:
        raise ValueError(f"{span!r} runs backwards")
    return range(first, last + 1, int(step) if slash else 1)


def _number(text: str, least: int, greatest: int, names: tuple[str, ...]) -> int:
    if text.lower() in names:
        return names.index(text.lower()) + (1 if least else 0)
    if not text.isdecimal() or not least <= int(text) <= greatest:
        raise ValueError(
            f"{text!r} is not from {least} to {greatest}" + (f" or {names[0]}-{names[-1]}" if names else "")
        )
    return int(text)
