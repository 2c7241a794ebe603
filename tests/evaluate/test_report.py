import csv
import io
import json

import pytest

from jaxmatte.evaluate import folders, report
from tests.evaluate import mattes


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "-"),
        (0.0, "0"),
        (17.3568501, "17.357"),
        (0.00836642, "0.0083664"),
        (123456.78, "123456.8"),
        (1.0, "1.0000"),
        (-2.5, "-2.5000"),
        (1e-12, "0.000000000"),
        (float("inf"), "inf"),
    ],
)
def test_numbers_have_five_digits_and_no_exponent(value, told):
    assert report.number(value) == told


def test_a_table_is_aligned_and_names_the_protocol_of_each_number():
    table = report.markdown(
        {"SAD[dim, unknown]": 17.35685, "MSE[rvm, whole] x 1000": None},
        {"SAD[dim, unknown]": "3 pictures", "MSE[rvm, whole] x 1000": "0 clips (0 frames)"},
    )
    assert table.splitlines() == [
        "| metric                 |   mean | over               |",
        "| ---------------------- | -----: | ------------------ |",
        "| SAD[dim, unknown]      | 17.357 | 3 pictures         |",
        "| MSE[rvm, whole] x 1000 |      - | 0 clips (0 frames) |",
    ]


def test_rows_keep_every_digit_and_any_name():
    rows = [{"name": 'a, "b"\n\udcff.png', "x": 0.1 + 0.2}, {"name": "c", "x": None}]
    text = report.as_csv(rows, {"name": "name", "x": "SAD[dim, unknown]"})
    head, first, second = csv.reader(io.StringIO(text))
    assert head == ["name", "SAD[dim, unknown]"]
    assert first == ['a, "b"\\n\\udcff.png', "0.30000000000000004"]
    assert second == ["c", ""]
    text.encode()


def test_json_has_no_numbers_that_are_none():
    assert json.loads(report.as_json({"a": None, "b": 0.1})) == {"a": None, "b": 0.1}
    with pytest.raises(ValueError, match="JSON"):
        report.as_json({"a": float("nan")})


def test_a_kind_shows_its_first_lines_and_says_where_the_rest_is():
    lists = {"wrong sizes": [f"{n}.png" for n in range(23)], "empty regions": ["x"]}
    told = report.listed(lists, {"empty regions": "which count as 0"}, "summary.json")
    assert told[0] == "wrong sizes: 23"
    assert told[1:21] == [f"  {n}.png" for n in range(20)]
    assert told[21:] == [
        "  and 3 more; all are in summary.json",
        "empty regions: 1 (which count as 0)",
        "  x",
    ]


def test_the_page_says_what_was_measured_and_what_is_missing(tmp_path):
    given = mattes.pairs(tmp_path)
    (given.predictions / "b.png").unlink()
    measured = folders.evaluate(given, metrics=["mad"])
    page = report.page(measured, {"--truth": "my truth", "--protocol": "dim"})
    assert page.startswith(report.markdown(measured.means(), measured.over()))
    assert "2 of 3 pictures were measured. Missing predictions: 1.\n" in page
    assert "`python -m jaxmatte.evaluate '--truth=my truth' --protocol=dim` (jaxmatte " in page


def test_the_summary_has_protocols_means_and_problems(tmp_path):
    given = mattes.pairs(tmp_path)
    (given.predictions / "b.png").write_bytes(b"")
    measured = folders.evaluate(given, "dim,gfm", ["mad"])
    found = json.loads(report.as_json(report.summary(measured, {"--protocol": "dim,gfm"})))
    assert found["flags"] == {"--protocol": "dim,gfm"}
    assert found["means"].keys() == {"MAD[dim, whole]", "MAD[gfm, whole]"}
    assert found["over"]["MAD[gfm, whole]"] == "2 pictures"
    assert (found["pictures"], found["true mattes"]) == (2, 3)
    assert list(found["problems"]) == ["unreadable files"]
    assert found["protocols"]["dim"]["quantise"] is True
    assert found["protocols"]["gfm"]["gradient"]["kernel"] == "gfm"
