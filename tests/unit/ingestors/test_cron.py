"""Five-field cron expressions."""

import pytest

from app.ingestors.cron import parse_cron


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
