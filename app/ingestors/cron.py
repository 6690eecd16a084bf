"""Five-field cron expressions, checked field by field and written without names."""

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


def parse_cron(expression: str) -> list[list[int]]:
    """The values of minute, hour, day of month, month and day of week that match, sorted; Sunday is 0.
    Raises `ValueError` that names the field."""
    fields = expression.split()
    if len(fields) != len(_FIELDS):
        raise ValueError(f"{expression!r} has {len(fields)} fields; a cron expression has five")
    values = [_field(text, *rule) for text, rule in zip(fields, _FIELDS, strict=True)]
    values[4] = sorted({day % 7 for day in values[4]})
    return values


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
