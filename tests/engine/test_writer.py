import json

import cv2
import numpy as np
import pytest

from jaxmatte.engine import pictures, writer


def lines(folder):
    return [json.loads(line) for line in (folder / writer.METRICS).read_text().splitlines()]


def test_lines_and_curves_hold_the_same_numbers(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with_events = writer.Writer(tmp_path, active=True)
    for step in (1, 2, 3):
        with_events.scalars(step, {"loss": 1 / step})
    with_events.picture(3, np.zeros((8, 9, 3), np.uint8), "validation")
    with_events.close()
    assert [line["train/loss"] for line in lines(tmp_path)] == [1, 1 / 2, 1 / 3]
    events = EventAccumulator(str(tmp_path / writer.EVENTS))
    events.Reload()
    np.testing.assert_allclose([e.value for e in events.Scalars("train/loss")], [1, 1 / 2, 1 / 3])
    assert events.Images("validation")[0].width == 9


def test_going_on_drops_what_came_after_the_checkpoint_and_half_lines(tmp_path):
    first = writer.Writer(tmp_path, active=True, tensorboard=False)
    for step in range(1, 6):
        first.scalars(step, {"loss": 1.0})
    first.close()
    with (tmp_path / writer.METRICS).open("a") as file:
        file.write('{"step": 2, "tra')
    second = writer.Writer(tmp_path, active=True, step=3, tensorboard=False)
    second.scalars(4, {"loss": 2.0})
    second.close()
    assert [(line["step"], line["train/loss"]) for line in lines(tmp_path)] == [
        (1, 1.0),
        (2, 1.0),
        (3, 1.0),
        (4, 2.0),
    ]


def test_other_processes_write_nothing(tmp_path):
    silent = writer.Writer(tmp_path, active=False)
    silent.scalars(1, {"loss": 1.0})
    silent.picture(1, np.zeros((4, 4, 3), np.uint8), "validation")
    silent.say("nothing")
    silent.close()
    assert list(tmp_path.iterdir()) == []


def test_atomic_writing_leaves_the_old_file_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    writer.write_atomically(path, "old")

    def fail(*_):
        raise OSError("no space")

    monkeypatch.setattr(writer.os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        writer.write_atomically(path, "new")
    assert path.read_text() == "old"


def test_grid_has_a_row_an_example_and_a_column_a_part():
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (40, 60, 3), dtype=np.uint8), np.zeros((50, 50, 3), np.uint8)]
    mattes = [np.ones((40, 60)), np.zeros((50, 50))]
    picture = pictures.grid(images, mattes, mattes, ["first", "second"], height=60)
    strip, row = pictures.HEADER, 60 + pictures.GAP
    assert picture.shape == (strip + 2 * (row + strip), 5 * (90 + pictures.GAP), 3)
    matte = picture[strip + 5 : strip + 55, 90 + pictures.GAP + 5 : 90 + pictures.GAP + 80]
    assert (matte == 255).all()
    assert cv2.imdecode(np.frombuffer(pictures.encode(picture), np.uint8), 1).shape == picture.shape


def test_error_is_white_where_right_red_where_too_much_blue_where_missing():
    truth = np.array([[0.0, 1.0, 0.5]])
    shown = pictures.error(np.array([[1.0, 0.0, 0.5]]), truth)
    np.testing.assert_array_equal(shown[0], [[255, 0, 0], [0, 0, 255], [255, 255, 255]])


def test_cutout_shows_the_board_where_alpha_is_nothing():
    image = np.full((30, 30, 3), 200, np.uint8)
    matte = np.zeros((30, 30))
    matte[:15] = 1
    shown = pictures.cutout(image, matte)
    np.testing.assert_allclose(shown[:15].astype(int), 200, atol=1)
    board = np.round(pictures.checkerboard(30, 30) * 255).astype(np.uint8)
    np.testing.assert_array_equal(shown[15:], board[15:])


def test_progress_says_speed_loss_and_time_left(capsys):
    progress = writer.Progress(4, 0, 16, active=True, every=2)
    for step in (1, 2, 3, 4):
        progress.update(step, 0.5)
    progress.close()
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 2
    assert "step 2/4" in told[0]
    assert "images/s, loss 0.5000" in told[0]
    assert told[0].endswith("left")
