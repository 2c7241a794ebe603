import cv2
import numpy as np
import pytest

from jaxmatte.engine import pictures
from jaxmatte.evaluate import folders, gallery, report
from tests.evaluate import mattes


@pytest.fixture
def laid_out(monkeypatch):
    """What is handed to the layout, as lists."""
    kept = []
    table = pictures.table

    def keep(rows, title, height):
        kept.extend(rows)
        kept.append(title)
        return table(kept[:-1], title, height)

    monkeypatch.setattr(pictures, "table", keep)
    return kept


def test_the_worst_come_first_with_their_numbers(tmp_path, laid_out):
    given = mattes.pairs(tmp_path, "abcd", ("trimaps", "images"))
    measured = folders.evaluate(given, "dim,gfm", ["sad", "mad"])
    picture = gallery.worst(measured, 2)
    assert picture.dtype == np.uint8
    *rows, title = laid_out
    sads = {row["name"]: row["sad"] for row in measured.rows}
    order = sorted(sads, key=sads.get, reverse=True)[:2]
    assert [caption.split()[0] for _, caption in rows] == order
    caption = rows[0][1].replace("\N{NO-BREAK SPACE}", " ")
    assert f"SAD[dim, unknown]: {report.number(sads[order[0]])}" in caption
    assert "MAD[dim, unknown]: " in caption
    assert "gfm" not in caption
    assert title.startswith("The worst 2 of 4 by SAD[dim, unknown].")
    tiles = rows[0][0]
    assert list(tiles) == ["image", "prediction", "truth", "error", "trimap"]
    seed = "abcd".index(order[0][0])
    np.testing.assert_array_equal(tiles["prediction"], mattes.prediction(seed))
    np.testing.assert_array_equal(tiles["trimap"], mattes.trimap(seed))
    np.testing.assert_array_equal(
        tiles["error"], pictures.error(mattes.prediction(seed), mattes.truth(seed))
    )


def test_columns_are_what_was_given(tmp_path, laid_out):
    gallery.worst(folders.evaluate(mattes.pairs(tmp_path), metrics=["mad"]), 1)
    assert list(laid_out[0][0]) == ["prediction", "truth", "error"]


def test_a_picture_that_is_missing_or_broken_leaves_its_place_empty(tmp_path, laid_out):
    given = mattes.pairs(tmp_path, more=("images",))
    (given.images / "a.png").unlink()
    (given.images / "b.png").write_bytes(b"")
    (given.images / "c.png").rename(given.images / "c.bmp")
    cv2.imwrite(str(given.images / "c.bmp"), np.zeros((50, 70, 3), np.uint8))  # of another size
    measured = folders.evaluate(given, metrics=["mad"])
    assert gallery.worst(measured, 3) is not None
    by_name = {caption.split()[0]: (tiles, caption) for tiles, caption in laid_out[:-1]}
    assert by_name["a.png"][0]["image"] is None
    assert by_name["b.png"][0]["image"] is None
    assert f"cannot decode {given.images / 'b.png'}" in by_name["b.png"][1]
    assert by_name["c.png"][0]["image"].shape == (50, 70, 3)


def test_predictions_that_went_meanwhile_do_not_stop_it(tmp_path, laid_out):
    given = mattes.pairs(tmp_path)
    measured = folders.evaluate(given, metrics=["mad"])
    (given.predictions / "c.png").unlink()
    gallery.worst(measured, 1)
    tiles, caption = laid_out[0]
    assert tiles["prediction"] is None
    assert tiles["error"] is None
    assert "cannot read" in caption


def test_nothing_to_show(tmp_path):
    given = mattes.pairs(tmp_path)
    measured = folders.evaluate(given, metrics=["mad"])
    assert gallery.worst(measured, 0) is None
    for path in given.predictions.iterdir():
        path.write_bytes(b"")
    assert gallery.worst(folders.evaluate(given, metrics=["mad"]), 5) is None
