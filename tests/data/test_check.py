import io
import json
import os
import subprocess
import sys
import types

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from jaxmatte.data import catalog, report
from jaxmatte.data.__main__ import main
from jaxmatte.data.check import check
from tests.data import lookalikes
from tests.data.folders import matte, picture, write
from tests.data.lookalikes import HEIGHT, WIDTH

TRAIN = "AM-2k/train"


@pytest.fixture(autouse=True)
def _small(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    lookalikes.shrink(monkeypatch)


@pytest.fixture
def am2k(tmp_path):
    lookalikes.am2k(tmp_path)
    return tmp_path


def found(root, name="am2k", **options):
    return check(name, root, **options).findings


@pytest.mark.parametrize("name", catalog.names())
def test_a_whole_copy_is_clean(tmp_path, name):
    lookalikes.MAKERS[name](tmp_path)
    result = check(name, tmp_path)
    assert set(result.findings) <= {"absent"}
    assert result.clean
    assert {split: rows.found for split, rows in result.rows.items()} == lookalikes.ROWS[name]
    assert result.files > 1


def test_absent_parts_are_noted(am2k):
    lines = found(am2k)["absent"]
    assert lines == [
        "train: background, in train/bg",
        "train: denoised, in train/fg_denoise",
    ]


def test_missing_folders(am2k):
    (am2k / "AM-2k/validation").rename(am2k / "moved")
    assert found(am2k)["folders"] == [
        "validation: image, in validation/original",
        "validation: alpha, in validation/mask",
    ]


def test_counts(am2k):
    for folder in ("original", "mask", "fg"):
        (am2k / TRAIN / folder / "m_2.png").unlink()
    result = check("am2k", am2k)
    assert result.findings["counts"] == ["train: 2 rows; 3 by the authors"]
    assert result.kinds(wrong=True) == ["counts"]


def test_counts_of_clips(tmp_path):
    lookalikes.videomatte240k(tmp_path)
    base = tmp_path / "VideoMatte240K_JPEG_HD/test"
    lookalikes.colour(base / "fgr/0009/00000.jpg")
    lookalikes.alpha(base / "pha/0009/00000.jpg")
    assert found(tmp_path, "videomatte240k")["counts"] == ["test: 2 clips; 1 by the authors"]


def test_partners(am2k):
    (am2k / TRAIN / "mask/m_2.png").rename(am2k / TRAIN / "mask/m_5.png")
    assert found(am2k)["partners"] == [
        "train: m_2 has no alpha",
        "train/mask/m_5.png belongs to no row",
    ]


def test_names(am2k):
    lookalikes.colour(am2k / TRAIN / "original/m_2.jpg")
    assert found(am2k)["names"] == ["train/original/m_2.png"]


def test_sizes(am2k):
    lookalikes.alpha(am2k / TRAIN / "mask/m_2.png", 20, 30)
    assert found(am2k)["sizes"] == ["train/original/m_2.png is 32x24, train/mask/m_2.png 30x20"]


def test_sizes_of_a_foreground_are_said_once_for_all_its_composites(tmp_path):
    lookalikes.composition1k(tmp_path)
    folder = "Test_set/Adobe-licensed images"
    lookalikes.alpha(tmp_path / "Combined_Dataset" / folder / "alpha/a.png", 20, 30)
    lines = found(tmp_path, "composition1k", split="test")["sizes"]
    assert lines[0] == f"{folder}/fg/a.png is 32x24, {folder}/alpha/a.png 30x20"
    assert len(lines) == 1


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.9])
@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_unreadable_files_are_all_listed(tmp_path, share, ending):
    names = [f"{number}" for number in range(3)]
    for name in names:
        lookalikes.colour(tmp_path / f"images/{name}.{ending}", 90, 120)
        lookalikes.alpha(tmp_path / f"alphas/{name}.png", 90, 120)
    for name in names[:2]:
        path = tmp_path / f"images/{name}.{ending}"
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
    lines = found(tmp_path, "pairs")["unreadable"]
    assert [line.partition(":")[0] for line in lines] == [f"images/{n}.{ending}" for n in names[:2]]
    assert not any(str(tmp_path) in line for line in lines)


def test_cutouts_without_alpha_are_unreadable(tmp_path):
    lookalikes.cutouts(tmp_path)
    lookalikes.colour(tmp_path / "c.png")
    lines = found(tmp_path, "cutouts")["unreadable"]
    assert lines == ["c.png: has no alpha channel"]


def mask(path):
    write(path, (matte(HEIGHT, WIDTH) > 99) * np.uint8(255))


def test_binary_alphas(am2k):
    mask(am2k / TRAIN / "mask/m_3.png")
    assert found(am2k)["binary"] == ["train/mask/m_3.png (1 of 3 in train, 33.3%)"]


def test_binary_cutouts(tmp_path):
    lookalikes.cutouts(tmp_path)
    pixels = np.dstack([picture(3, HEIGHT, WIDTH), (matte(HEIGHT, WIDTH) > 99) * np.uint8(255)])
    write(tmp_path / "a.png", pixels)
    assert found(tmp_path, "cutouts")["binary"] == ["a.png (1 of 2 in all, 50.0%)"]


def test_a_few_binary_alphas_are_a_note(tmp_path):
    lookalikes.pairs(tmp_path, [f"{number:02d}" for number in range(30)], "images", "alphas")
    mask(tmp_path / "alphas/07.png")
    result = check("pairs", tmp_path)
    assert result.findings["few binary"] == ["alphas/07.png (1 of 30 in all, 3.3%)"]
    assert result.clean


def test_channels_that_differ(am2k):
    equal = np.repeat(matte(HEIGHT, WIDTH)[..., None], 3, axis=2)
    write(am2k / TRAIN / "mask/m_1.png", equal)
    assert "channels" not in found(am2k)
    equal[3, 4, 1] ^= 8
    write(am2k / TRAIN / "mask/m_2.png", equal)
    assert found(am2k)["channels"] == ["train/mask/m_2.png"]


def test_trimaps(am2k):
    trimap = np.full((HEIGHT, WIDTH), 127, np.uint8)
    write(am2k / "AM-2k/validation/trimap/m_7.png", trimap)
    assert found(am2k)["trimaps"] == ["validation/trimap/m_7.png: 127"]


def test_classes_of_cityscapes(tmp_path):
    lookalikes.cityscapes(tmp_path)
    name = "gtFine/train/ulm/ulm_000000_000019_gtFine_labelIds.png"
    labels = np.full((HEIGHT, WIDTH), 255, np.uint8)  # the number -1 of licence plates
    write(tmp_path / "cityscapes" / name, labels)
    assert "classes" not in found(tmp_path, "cityscapes")
    labels[:, :9] = 34
    write(tmp_path / "cityscapes" / name, labels)
    assert found(tmp_path, "cityscapes")["classes"] == [f"{name}: 34"]


@pytest.mark.parametrize(
    ("values", "classes", "line"),
    [
        ((0, 127, 255), None, "classes count from 0 without gaps; there are 0, 1, 2, 127"),
        ((0, 1, 3), None, "classes count from 0 without gaps; there are 0, 1, 2, 3"),
        ((0, 1, 3), 3, "labels/1.png: 3"),
        ((0, 1, 3), 4, None),
    ],
)
def test_classes_of_ones_own_maps(tmp_path, values, classes, line):
    lookalikes.segmentation(tmp_path)
    numbers = np.resize(np.array(values, np.uint8), (HEIGHT, WIDTH))
    write(tmp_path / "labels/1.png", numbers)
    result = check("segmentation", tmp_path, classes=classes)
    lines = result.findings.get("classes", [])
    if line and "0, 1, 2, 3" in line:
        assert lines == []  # no gap: the other map has 2
        assert result.classes == (0, 1, 2, 3, 255)
    else:
        assert [text.partition(" (")[0] for text in lines] == ([line] if line else [])


def test_a_mask_is_no_map_of_classes(tmp_path):
    lookalikes.colour(tmp_path / "images/1.jpg")
    mask(tmp_path / "labels/1.png")
    lines = found(tmp_path, "segmentation")["classes"]
    assert lines == ["there is only class 0 beside 255, which is ignored"]


def test_duplicates_across_splits_even_where_bytes_differ(am2k):
    copy = cv2.imread(str(am2k / TRAIN / "original/m_1.png"))
    path = am2k / "AM-2k/validation/original/m_7.png"
    cv2.imwrite(str(path), copy, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    lines = found(am2k)["duplicates"]
    assert lines == ["train/original/m_1.png = validation/original/m_7.png"]
    assert "duplicates" not in found(am2k, split="train")


def test_pictures_twice_in_one_split_are_a_note(am2k):
    content = (am2k / TRAIN / "original/m_1.png").read_bytes()
    (am2k / TRAIN / "original/m_2.png").write_bytes(content)
    result = check("am2k", am2k)
    assert result.findings["repeated"] == ["train/original/m_1.png = train/original/m_2.png"]
    assert result.clean


def test_lists(tmp_path):
    lookalikes.composition1k(tmp_path)
    path = tmp_path / "Combined_Dataset/Test_set/test_bg_names.txt"
    path.write_text("2008_000000.jpg\n2008_000001.jpg\n2008_000002.jpg\ngone.jpg\n")
    (line,) = found(tmp_path, "composition1k")["lists"]
    assert "1 of 4 composites" in line
    assert "a_1" in line
    path.unlink()
    (line,) = found(tmp_path, "composition1k")["lists"]
    assert "no list" in line


def odd(path, kind):
    pixels = Image.fromarray(picture(9, HEIGHT, WIDTH))
    if kind == "sixteen bits":
        write(path, picture(9, HEIGHT, WIDTH).astype(np.uint16) * 257)
    elif kind == "palette":
        pixels.quantize(16).save(path)
    elif kind == "rotated":
        exif = Image.Exif()
        exif[0x0112] = 6
        pixels.save(path, exif=exif)
    elif kind == "not RGB":
        pixels.convert("CMYK").save(path)
    else:
        profile = ImageCms.createProfile("LAB" if kind == "profile" else "sRGB")
        pixels.save(path, icc_profile=ImageCms.ImageCmsProfile(profile).tobytes())


@pytest.mark.parametrize(
    ("kind", "ending", "detail"),
    [
        ("sixteen bits", "png", "mode RGB"),
        ("palette", "png", "mode P"),
        ("rotated", "jpg", "orientation 6"),
        ("not RGB", "jpg", "CMYK"),
        ("profile", "png", "Lab identity built-in"),
        ("sRGB", "png", ""),
    ],
)
def test_oddities(tmp_path, kind, ending, detail):
    lookalikes.pairs(tmp_path, ["1", "2"], "images", "alphas", ending=ending)
    odd(tmp_path / f"images/2.{ending}", kind)
    result = check("pairs", tmp_path)
    expected = {kind: [f"images/2.{ending} ({detail})"]} if detail else {}
    del result.findings["absent"]
    assert result.findings == expected
    assert result.clean


def test_a_sixteen_bit_alpha_is_a_note(am2k):
    write(am2k / TRAIN / "mask/m_1.png", matte(HEIGHT, WIDTH).astype(np.uint16) * 257)
    assert len(found(am2k)["sixteen bits"]) == 1


def test_every_kind_has_a_test():
    with open(__file__) as file:
        text = file.read()
    assert [kind for kind in report.KINDS if text.count(f'"{kind}"') == 0] == []


def test_the_command_checks(am2k, capsys):
    assert main(["check", "am2k", str(am2k)]) == 0
    out = capsys.readouterr().out
    assert "licence  a dataset release agreement" in out
    assert "train       3 of 3 rows: image, alpha, foreground" in out
    assert out.splitlines()[-1] == "15 files decoded; nothing wrong"
    assert main(["check", "am2k", str(am2k), "--strict"]) == 1
    for number in range(1, 9):
        mask(am2k / TRAIN / f"mask/s_{number}.png")
    assert main(["check", "AM-2k", str(am2k)]) == 1
    out = capsys.readouterr().out
    assert "PROBLEM  partners (8): no partner of the same name" in out
    assert out.count("belongs to no row") == report.SHOWN
    assert "and 3 more" in out


def test_the_command_writes_all_as_json(am2k, tmp_path, capsys):
    for number in range(1, 9):
        mask(am2k / TRAIN / f"mask/s_{number}.png")
    assert main(["check", "am2k", str(am2k), f"--report={tmp_path / 'r.json'}"]) == 1
    content = json.loads((tmp_path / "r.json").read_text())
    assert len(content["problems"]["partners"]) == 8
    assert content["splits"]["validation"] == {
        "found": 2,
        "expected": 2,
        "fields": ["image", "alpha", "trimap"],
    }
    assert content["licence"] == catalog.get("am2k").licence
    assert main(["check", "am2k", str(am2k), f"--report={tmp_path}"]) == 2
    assert capsys.readouterr().err.startswith("error: cannot write")


def test_a_report_that_cannot_be_written_is_told_before_decoding(
    am2k, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("jaxmatte.data.__main__.check", lambda *_: pytest.fail("decoded first"))
    assert main(["check", "am2k", str(am2k), f"--report={tmp_path / 'no/r.json'}"]) == 2
    assert f"there is no folder {tmp_path / 'no'}" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--threads=0", "--threads=-3", "--classes=0", "--classes=x"])
def test_counts_that_are_none_are_refused(am2k, flag, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["check", "am2k", str(am2k), flag])
    assert stopped.value.code == 2
    assert "is no whole number above 0" in capsys.readouterr().err


@pytest.mark.parametrize("name", catalog.names())
def test_the_command_shows(name, capsys):
    assert main(["show", name]) == 0
    out = capsys.readouterr().out
    for split in lookalikes.ROWS[name]:
        assert f"  {split}" in out
    assert "licence" in out


def test_the_command_lists(capsys):
    assert main(["list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [*catalog.names()]


def test_mistakes_are_one_line(tmp_path, capsys):
    for arguments, text in (
        (["show", "am3k"], "did you mean am2k?"),
        (["check", "am2k", str(tmp_path / "no")], "no folder"),
        (["check", "am2k", str(tmp_path)], "looked for pictures in train/original"),
        (["check", "pairs", str(tmp_path)], "looked for pictures in images or image"),
        (["check", "am2k", str(tmp_path), "--split=dev"], "there are: train, validation"),
    ):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert text in error
        assert error.count("\n") == 1


def test_folders_below_a_plain_root_are_checked_each(tmp_path):
    lookalikes.cutouts(tmp_path / "train")
    lookalikes.cutout(tmp_path / "test/a.png")
    result = check("cutouts", tmp_path)
    assert {name: rows.found for name, rows in result.rows.items()} == {"test": 1, "train": 2}
    assert result.findings == {"duplicates": ["test/a.png = train/a.png"]}


@pytest.mark.parametrize("threads", [1, 3])
def test_the_report_does_not_depend_on_threads(am2k, threads):
    mask(am2k / TRAIN / "mask/m_1.png")
    (am2k / TRAIN / "original/m_2.png").write_bytes(b"")
    assert check("am2k", am2k, threads=threads).as_json() == check("am2k", am2k).as_json()


def test_progress_is_drawn_where_it_is_asked_for(am2k):
    drawn = io.StringIO()
    check("am2k", am2k, progress=drawn)
    assert "decoding:   0%" in drawn.getvalue()
    assert "0/15" in drawn.getvalue()


def test_stopping_is_no_traceback(monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("jaxmatte.data.__main__.check", stop)
    assert main(["check", "am2k", "."]) == 130
    assert capsys.readouterr().err == "stopped\n"
    monkeypatch.setattr("jaxmatte.data.prepare.run", stop)
    assert main(["prepare", "am2k", ".", "out"]) == 130
    assert capsys.readouterr().err == "stopped; the same command goes on where it stopped\n"


def test_preparing_is_handed_on(monkeypatch):
    prepare = types.ModuleType("jaxmatte.data.prepare")
    prepare.add_arguments = lambda parser: parser.add_argument("out")
    prepare.run = lambda options: 7 if options.out == "somewhere" else 0
    monkeypatch.setitem(sys.modules, "jaxmatte.data.prepare", prepare)
    monkeypatch.setattr("jaxmatte.data.prepare", prepare, raising=False)
    assert main(["prepare", "somewhere"]) == 7


def test_the_real_command(tmp_path):
    """Also past Python nothing is written but the report, though libpng would complain."""
    lookalikes.am2k(tmp_path)
    path = tmp_path / TRAIN / "original/m_1.png"
    path.write_bytes(path.read_bytes()[:-300])
    command = [sys.executable, "-m", "jaxmatte.data", "check", "am2k", str(tmp_path)]
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 1
    assert done.stderr == ""
    assert "train: 3 rows; 1,800 by the authors" in done.stdout
    assert "train/original/m_1.png: cannot decode" in done.stdout
