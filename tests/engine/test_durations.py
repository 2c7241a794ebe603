import pytest

from jaxmatte.engine import durations
from jaxmatte.errors import UserError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("600 steps", 600),
        ("1 step", 1),
        ("2 epochs", 113),
        ("0.5 epochs", 29),
        ("320 examples", 10),
        ("5%", 50),
    ],
)
def test_forms(text, expected):
    assert durations.steps(text, "x", batch=32, epoch=1800, total=1000) == expected


@pytest.mark.parametrize("text", ["600", "many steps", "-1 steps", "5 %%", ""])
def test_other_texts_are_refused_by_name(text):
    with pytest.raises(UserError, match=r"train\.total"):
        durations.steps(text, "train.total", batch=32, epoch=1800, total=10)


def test_a_percentage_needs_a_total():
    with pytest.raises(UserError, match="not a duration"):
        durations.steps("5%", "train.total", batch=32, epoch=1800)
