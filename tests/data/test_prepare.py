"""Preparing a store: what goes in, in which order, and what is refused or broken."""

import argparse
import os
import pathlib

import numpy as np
import pytest

from jaxmatte import foreground
from jaxmatte.data import prepare, regions, shards, sources, store
from jaxmatte.data.__main__ import main
from jaxmatte.data.denoise import Denoiser
from jaxmatte.data.precompute import Settings, code_row
from jaxmatte.data.rows import Row
from jaxmatte.errors import UserError
from tests.data import folders
from tests.data.stores import Rows, Stopping, files, go, interrupted, prepared


def run(*arguments):
    parser = argparse.ArgumentParser()
    prepare.add_arguments(parser)
    return prepare.run(parser.parse_args([str(argument) for argument in arguments]))


@pytest.fixture(scope="module")
def in_one_go(tmp_path_factory):
    out = tmp_path_factory.mktemp("stores") / "store"
    prepared(out)
    return files(out)


# What is stored


def test_a_set_of_the_catalog(tmp_path, capsys):
    folders.am2k(tmp_path, 3)
    assert run("AM-2k", tmp_path, tmp_path / "store", "--workers=2", "--band=9") == 0
    captured = capsys.readouterr()
    rows = store.Store(tmp_path / "store")
    assert rows.fields == ("alpha", "dilation_9", "erosion_9", "image", "trimap_25")
    assert (rows.manifest["made"]["set"], rows.manifest["made"]["split"]) == ("am2k", "train")
    assert f"{tmp_path / 'store'}: 3 rows" in captured.out
    assert "3/3" in captured.err  # the bar
    folder = tmp_path / "AM-2k/train"
    for index in range(3):
        stem = f"m_{index:08d}"
        assert rows.name(index).startswith(stem)
        alpha = sources.read_grey(folder / f"mask/{stem}.png")
        image = sources.read_colour(folder / f"original/{stem}.jpg")
        np.testing.assert_array_equal(rows[index]["alpha"], alpha)
        np.testing.assert_array_equal(rows[index]["trimap_25"], regions.trimap(alpha, 25))
        for name in ("dilation", "erosion"):
            wanted = regions.LABELS[name](alpha, 9)
            np.testing.assert_array_equal(rows[index][f"{name}_9"], wanted)
        assert np.abs(rows[index]["image"].astype(int) - image).mean() < 1
    assert run("am2k", tmp_path, tmp_path / "store", "--verify") == 0
    assert "is whole" in capsys.readouterr().out


def test_original_keeps_the_bytes_of_the_files(tmp_path):
    folders.am2k(tmp_path, 2)
    cutout = np.dstack([folders.picture(9, 40, 50), folders.matte(40, 50)])
    folders.write(tmp_path / "cutouts/a.png", cutout)
    run("am2k", tmp_path, tmp_path / "store", "--colour=original")
    rows, file = store.Store(tmp_path / "store"), "AM-2k/train/original/m_00000001.jpg"
    assert bytes(rows.content(1, "image")).endswith((tmp_path / file).read_bytes())
    np.testing.assert_array_equal(rows[1]["image"], sources.read_colour(tmp_path / file))
    # The colours of a cut-out are no file of their own: they are kept without loss all the same.
    assert go(sources.CutoutFolder(tmp_path / "cutouts"), tmp_path / "two", colour="original") == []
    row = store.Store(tmp_path / "two")[0]
    np.testing.assert_array_equal(row["foreground"], cutout[..., :3])
    np.testing.assert_array_equal(row["alpha"], cutout[..., 3])


def test_foregrounds_are_estimated_once(tmp_path):
    folders.am2k(tmp_path, 1)
    run("am2k", tmp_path, tmp_path / "store", "--foregrounds", "--colour=png", "--trimap=0")
    row = store.Store(tmp_path / "store")[0]
    assert set(row.planes) == {"alpha", "foreground", "image"}
    np.testing.assert_array_equal(
        row["foreground"], foreground.estimate(row["image"], row["alpha"])[0]
    )


def test_what_lies_behind_is_estimated_once(tmp_path):
    folders.am2k(tmp_path, 1)
    flags = ("--foregrounds", "--backgrounds", "--colour=png", "--trimap=0")
    run("am2k", tmp_path, tmp_path / "store", *flags)
    row = store.Store(tmp_path / "store")[0]
    assert set(row.planes) == {"alpha", "foreground", "background", "image"}
    front, behind = foreground.estimate(row["image"], row["alpha"])
    np.testing.assert_array_equal(row["foreground"], front)
    np.testing.assert_array_equal(row["background"], behind)
    only = prepared(tmp_path / "only", Rows(1), backgrounds=True, colour="png")[0]
    np.testing.assert_array_equal(only["background"], Rows()[0]["background"])  # on file


def test_foregrounds_on_file_are_kept(tmp_path):
    row = prepared(tmp_path / "store", Rows(1), foregrounds=True, colour="png")[0]
    np.testing.assert_array_equal(row["foreground"], Rows()[0]["foreground"])


def test_denoised_layers(tmp_path):
    denoiser = Denoiser(strength=5.0, search=9)
    rows = prepared(tmp_path / "store", Rows(1), denoiser=denoiser, colour="png")
    for name in ("foreground", "background"):
        np.testing.assert_array_equal(rows[0][f"denoised_{name}"], denoiser(Rows()[0][name]))
    wanted = {"strength": 5.0, "colour": 3.0, "patch": 7, "search": 9}
    assert rows.denoiser == rows.manifest["made"]["denoiser"] == wanted
    # Where no foreground is on file, what is denoised are the estimated colours, not the picture.
    folders.am2k(tmp_path, 1)
    run("am2k", tmp_path, tmp_path / "two", "--denoise", "--colour=png", "--denoise-search=9")
    row = store.Store(tmp_path / "two")[0]
    assert "foreground" not in row
    estimated = foreground.estimate(row["image"], row["alpha"])[0]
    np.testing.assert_array_equal(row["denoised_foreground"], Denoiser(search=9)(estimated))


def test_large_pictures_are_shrunk_on_request(tmp_path):
    rows = prepared(tmp_path / "store", Rows(2), longest=40, colour="png")
    assert rows.size(1) == (30, 40)  # of 61 x 81
    assert rows[1]["image"].shape == (30, 40, 3)
    assert set(np.unique(rows[1]["trimap"])) <= {0, 128, 255}
    np.testing.assert_array_equal(rows[1]["trimap_25"], regions.trimap(rows[1]["alpha"], 25))
    assert prepared(tmp_path / "same", Rows(2), longest=81).size(1) == (61, 81)


def test_a_store_may_be_prepared_from_a_store(tmp_path):
    one = prepared(tmp_path / "one", colour="png")
    two = prepared(tmp_path / "two", one, colour="png", trimap=0)
    assert one.fields == two.fields
    np.testing.assert_array_equal(one[5]["image"], two[5]["image"])


@pytest.mark.parametrize("flag", ["--trimap=-1", "--max-side=-5", "--workers=0", "--shard-mb=0"])
def test_impossible_sizes_are_refused(tmp_path, flag):
    folders.am2k(tmp_path, 1)
    with pytest.raises(UserError, match=flag.partition("=")[0]):
        run("am2k", tmp_path, tmp_path / "store", flag)


# Order and bytes


@pytest.mark.parametrize("workers", [1, 3])
def test_the_bytes_do_not_depend_on_workers_or_time(tmp_path, in_one_go, workers):
    go(Rows(), tmp_path / "store", workers)
    assert files(tmp_path / "store") == in_one_go


def test_a_finished_store_is_left_alone(tmp_path, capsys):
    prepared(tmp_path / "store")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").iterdir()}
    capsys.readouterr()
    assert go(Rows(), tmp_path / "store") == []
    assert "is finished already: 12 rows" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "store").iterdir()}


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"source": Rows(seed=3)}, r"source is 'rows:12:0' there and 'rows:12:3' now"),
        ({"colour": "png"}, r"colour is 'jpeg95' there and 'png' now"),
        ({"shard": 9999}, r"shard_bytes is 30000 there and 9999 now"),
        ({"denoiser": Denoiser()}, r"denoiser is None there and {'strength': 3.0"),
    ],
)
def test_another_store_is_not_gone_on_with(tmp_path, finished, change, told):
    out = tmp_path / "store"
    prepared(out) if finished else interrupted(out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=f"{out} holds another store: {told}"):
        go(**{"source": Rows(), "out": out} | change)
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_the_command_refuses_in_one_line(tmp_path, capsys):
    arguments = ["prepare", "am2k", str(folders.am2k(tmp_path, 2)), str(tmp_path / "store")]
    assert main(arguments) == 0
    capsys.readouterr()
    assert main([*arguments, "--trimap=9"]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: {tmp_path / 'store'} holds another store: trimap is 25 there")
    assert told.count("\n") == 1


def test_a_folder_of_other_files_is_not_written_into(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="holds other files"):
        go(Rows(), tmp_path)
    with pytest.raises(UserError, match="is a file"):
        go(Rows(), tmp_path / "thesis.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


# Broken rows


def test_broken_rows_are_all_named_at_the_end(tmp_path, capsys):
    root = folders.am2k(tmp_path, 6)
    originals, masks = root / "AM-2k/train/original", root / "AM-2k/train/mask"
    cut = (originals / "m_00000001.jpg").read_bytes()
    (originals / "m_00000001.jpg").write_bytes(cut[: len(cut) // 2])
    folders.write(masks / "m_00000003.png", folders.matte(50, 60))
    arguments = ("am2k", root, tmp_path / "store")
    assert run(*arguments) == 1
    told = capsys.readouterr().err
    assert "2 of 6 rows could not be read" in told
    assert "m_00000001" in told
    assert "m_00000003" in told
    assert "left unfinished" in told
    with pytest.raises(UserError, match=r"has no manifest.json"):
        store.Store(tmp_path / "store")
    assert run(*arguments, "--skip-broken") == 0
    rows = store.Store(tmp_path / "store")
    names = [pathlib.Path(rows.name(i)).stem for i in range(len(rows))]
    assert names == [f"m_{number:08d}" for number in (0, 2, 4, 5)]
    assert [row["row"] for row in rows.manifest["skipped"]] == [1, 3]
    with pytest.raises(UserError, match="was prepared without 2 rows"):
        run(*arguments)
    assert run(*arguments, "--skip-broken") == 0


def test_a_plain_folder_with_broken_alphas_is_read_to_its_end(tmp_path, capfd):
    """The first of them is among those that opening looks at; the decoders are not heard."""
    names = ["0", "1", "new\nline", os.fsdecode(b"\xff"), "dots.in.it", "ä 漢"]
    for number, name in enumerate(names):
        folders.write(tmp_path / f"in/images/{number}.jpg", folders.picture(number, 40, 50))
        folders.write(tmp_path / f"in/alphas/{number}.png", folders.matte(40, 50))
        for path, ending in (("images", "jpg"), ("alphas", "png")):
            old = tmp_path / f"in/{path}/{number}.{ending}"
            old.rename(old.with_name(f"{name}.{ending}"))
    for name in names[0], names[2]:
        path = tmp_path / f"in/alphas/{name}.png"
        path.write_bytes(path.read_bytes()[:-40])
    arguments = ["prepare", "pairs", str(tmp_path / "in"), str(tmp_path / "out")]
    assert main(arguments) == 1
    told = capfd.readouterr().err
    assert "2 of 6 rows could not be read" in told
    lines = [line for line in told.splitlines() if line.startswith("  ")]
    assert len(lines) == 2
    assert "alphas/0.png; mend" in lines[0]
    assert "alphas/new\\nline.png; mend" in lines[1]
    assert "libpng" not in told
    assert main([*arguments, "--skip-broken"]) == 0
    rows = store.Store(tmp_path / "out")
    assert {rows.name(i) for i in range(4)} == {f"{names[n]}.jpg" for n in (1, 3, 4, 5)}


def test_rows_left_out_do_not_part_names_from_pixels(tmp_path):
    source = Stopping(bad=(0, 4, 5, 11))
    assert len(go(source, tmp_path / "store", skip_broken=True, colour="png")) == 4
    rows, kept = store.Store(tmp_path / "store"), (1, 2, 3, 6, 7, 8, 9, 10)
    assert len(rows) == 8
    for index, row in enumerate(kept):
        assert rows.name(index) == source.name(row)
        np.testing.assert_array_equal(rows[index]["label"], Rows()[row]["label"])
    assert store.verify(tmp_path / "store") == []


def test_mended_rows_are_tried_again(tmp_path, in_one_go, capsys):
    out = tmp_path / "store"
    assert [row.row for row in go(Stopping(bad=(2, 11)), out)] == [2, 11]
    assert "Input/output error" in capsys.readouterr().err
    assert go(Rows(), out) == []
    assert files(out) == in_one_go


def test_a_source_of_broken_rows_makes_no_store(tmp_path):
    with pytest.raises(UserError, match="no row of rows could be read"):
        go(Stopping(bad=range(12)), tmp_path / "store", skip_broken=True)
    with pytest.raises(UserError, match=r"has no manifest.json"):
        store.Store(tmp_path / "store")


def test_a_bug_is_not_taken_for_a_broken_row(tmp_path):
    with pytest.raises(ZeroDivisionError):
        go(Stopping((3,), ZeroDivisionError()), tmp_path / "store", skip_broken=True)


def test_an_empty_source_is_refused(tmp_path):
    with pytest.raises(UserError, match="no rows"):
        go(Rows(0), tmp_path / "store")


def test_verify_tells_by_the_exit_code(tmp_path, capsys):
    folders.am2k(tmp_path, 2)
    run("am2k", tmp_path, tmp_path / "store")
    file = next((tmp_path / "store").glob("*.array_record"))
    content = bytearray(file.read_bytes())
    content[300] ^= 8
    file.write_bytes(content)
    assert run("am2k", tmp_path, tmp_path / "store", "--verify") == 1
    assert f"{file} is not as it was written" in capsys.readouterr().err


def test_planes_of_unequal_size_are_broken():
    class Uneven(Rows):
        def __getitem__(self, index):
            planes = {"image": folders.picture(0, 40, 50), "alpha": folders.matte(40, 60)}
            return Row.of(index, "uneven", **planes)

    broken = code_row(Uneven(), 0, Settings())
    assert isinstance(broken, shards.Broken)
    assert "all planes of a row share one size" in broken.reason
