"""What Kubeflow's schedules may say."""

import pytest

from pipeline.config import cron


@pytest.mark.parametrize(
    "legal",
    ["0 0 3 * * 1", "0 */15 9-17 1,15 JAN-MAR MON-FRI", "30 0 0 ? * SUN", "0 0 3/6 * * *", "@weekly", "@every 1h30m"],
)
def test_legal(legal: str) -> None:
    cron.check_schedule(legal)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("0 3 * * 1", r"has 5 fields: 6 are needed \(second, .*'0 0 3 \* \* 1'"),
        ("0 0 24 * * 1", "the hour is '24'; legal are .*0 to 23"),
        ("60 0 3 * * 1", "the second is '60'"),
        ("0 0 3 0 * 1", "the day of the month is '0'"),
        ("0 0 3 * * 7", "the day of the week is '7'; legal are .*SUN to SAT"),
        ("0 0 9-3 * * 1", "the hour is '9-3'"),
        ("0 */0 3 * * 1", "the minute is"),
        ("0 0 3 * FOO 1", "the month is 'FOO'"),
        ("", "has 0 fields"),
        ("@fortnightly", "has 1 fields"),
    ],
)
def test_wrong_in_one_sentence(wrong: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        cron.check_schedule(wrong)
