"""`python -m jaxmatte.trimap`: pictures and folders, mistakes in a line, nothing half written."""

import os
import pty
import re
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from jaxmatte import trimap
from jaxmatte.trimap import __main__ as command
from tests.data import folders

HEIGHT, WIDTH = 60, 80
ALPHA = folders.matte(HEIGHT, WIDTH, soft=9)
MASK = ALPHA > 127


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(name="masks")
def _masks(tmp_path):
    """A folder with a mask of each kind, in several folders."""
    root = tmp_path / "masks"
    folders.write(root / "alpha.png", ALPHA)
    folders.write(root / "clip/0/wide.png", ALPHA.astype(np.uint16) * np.uint16(257))
    folders.write(root / "clip/0/ones.png", MASK.astype(np.uint8))
    folders.write(root / "clip/1/same.jpg", MASK.astype(np.uint8) * np.uint8(255))
    folders.write(root / "cutout.png", np.dstack([folders.picture(0, HEIGHT, WIDTH), ALPHA]))
    Image.fromarray(MASK).save(root / "bits.png")
    for name, palette in (("classes", (9, 0, 0, 0, 99, 0)), ("greys", (0, 0, 0, 255, 255, 255))):
        picture = Image.fromarray(MASK.astype(np.uint8)).convert("P")
        picture.putpalette(palette)
        picture.save(root / f"{name}.png")
    folders.write(root / "nobody.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    return root


def test_a_folder_of_every_kind_of_mask(masks, tmp_path, capsys):
    out = tmp_path / "some/where"
    assert command.main([str(masks), str(out)]) == 0
    assert capsys.readouterr() == (f"{out}: 9 of 9 trimaps\n", "")
    wanted = {name.rpartition(".")[0] + ".png" for name in files(masks)}
    assert files(out) == wanted
    of_alpha, of_mask = trimap.make(ALPHA), trimap.make(MASK)
    for name in wanted:
        expected = of_alpha if name in ("alpha.png", "clip/0/wide.png", "cutout.png") else of_mask
        if name == "nobody.png":
            expected = np.zeros_like(of_mask)
        if name.endswith("same.png"):  # compressed
            assert (read(out / name) != expected).mean() < 0.01
        else:
            np.testing.assert_array_equal(read(out / name), expected, err_msg=name)


def test_a_process_makes_one_of_a_picture_without_jax(masks, tmp_path):
    line = [sys.executable, "-X", "importtime", "-m", "jaxmatte.trimap"]
    flags = ["--method=fixed", "--size=9", "--iterations=2"]
    where = [str(masks / "alpha.png"), str(tmp_path / "a.png")]
    ended = subprocess.run([*line, *where, *flags], capture_output=True, text=True, check=True)
    assert "jax\n" not in ended.stderr
    assert "cv2" in ended.stderr
    wanted = trimap.make(ALPHA, "fixed", size=9, iterations=2)
    np.testing.assert_array_equal(read(tmp_path / "a.png"), wanted)
    folder = tmp_path / "into"
    folder.mkdir()
    assert command.main([where[0], str(folder), *flags]) == 0
    np.testing.assert_array_equal(read(folder / "alpha.png"), wanted)


def test_a_drawn_trimap_depends_on_its_file_and_the_seed_alone(masks, tmp_path):
    flags = ["--method=random", "--sizes", "3", "19", "--threads"]
    assert command.main([str(masks), str(tmp_path / "all"), *flags, "3"]) == 0
    (masks / "alpha.png").unlink()
    shutil.rmtree(masks / "clip/1")
    assert command.main([str(masks), str(tmp_path / "some"), *flags, "1"]) == 0
    there = files(tmp_path / "some")
    assert len(there) == 7
    for name in there:
        np.testing.assert_array_equal(read(tmp_path / "some" / name), read(tmp_path / "all" / name))
    assert command.main([str(masks), str(tmp_path / "other"), *flags, "1", "--seed=1"]) == 0
    assert any((read(tmp_path / "some" / n) != read(tmp_path / "other" / n)).any() for n in there)


def test_what_is_no_mask_is_named_and_the_others_are_made(masks, tmp_path, capsys):
    folders.write(masks / "picture.png", folders.picture(0, HEIGHT, WIDTH))
    (masks / "broken.png").write_bytes((masks / "alpha.png").read_bytes()[:90])
    out = masks / "trimaps"  # inside, and not taken for masks the second time
    for _ in range(2):
        assert command.main([str(masks), str(out)]) == 1
        told = capsys.readouterr()
        assert told.out == f"{out}: 9 of 11 trimaps\n"
        assert told.err.splitlines() == [
            f"warning: {masks / 'broken.png'} does not decode",
            f"warning: {masks / 'picture.png'} has colours; a mask is grey, a cut-out, or has a "
            "palette",
        ]
        assert len(files(out)) == 9


def test_the_bar_says_how_long_it_takes(masks, tmp_path):
    main, terminal = pty.openpty()
    line = [sys.executable, "-m", "jaxmatte.trimap", str(masks), str(tmp_path / "out")]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=terminal) as running:
        os.close(terminal)
        assert running.wait(timeout=60) == 0
    assert b"trimaps:   0%" in os.read(main, 10_000)


def test_a_disk_that_takes_nothing_leaves_nothing(masks, tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert command.main([str(masks), str(tmp_path / "out")]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert not files(tmp_path / "out")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere", "OUT"], "nowhere is not there"),
        (["IN/alpha.png", "OUT.jpg"], "OUT.jpg should end in .png, or be a folder that is there"),
        (["IN/alpha.png", "IN/alpha.png"], "is the mask itself"),
        (["IN", "IN"], "holds the masks; trimaps need a folder of theirs"),
        (["IN", "OUT.png"], "is a folder, so OUT.png should be one"),
        (["IN", "IN/alpha.png/x"], "alpha.png is a file"),
        (["IN/clip/0", "OUT", "--method=fix"], "no method 'fix'; there are: adaptive, fixed"),
        (["IN", "OUT", "--size=3"], "adaptive has no 'size'; it has: narrow, wide"),
        (["IN", "OUT", "--method=random", "--sizes", "9", "3"], "must not be below"),
        (["IN", "OUT", "--wide=0.001"], "narrow=0.02 and wide=0.001"),
        (["IN", "OUT", "--certain=2"], "certain=2 should be a share"),
        (["IN", "OUT", "--seed=-1"], "--seed -1 should be 0 or more"),
        (["IN/twice", "OUT"], "a.jpg and a.png in .* would have one trimap"),
        (["IN/empty", "OUT"], "holds no pictures"),
        (["IN/broken.png", "OUT.png"], "broken.png does not decode"),
    ],
)
def test_mistakes_are_told_in_one_line(masks, tmp_path, monkeypatch, capsys, words, told):
    monkeypatch.chdir(tmp_path)
    for ending in ("png", "jpg"):
        folders.write(masks / f"twice/a.{ending}", ALPHA)
    (masks / "empty").mkdir()
    (masks / "broken.png").write_bytes(b"x")
    before = files(tmp_path)
    where = [word.replace("IN", str(masks)) if word[:2] == "IN" else word for word in words]
    assert command.main(where) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert re.search(told, err), err
    assert files(tmp_path) == before
