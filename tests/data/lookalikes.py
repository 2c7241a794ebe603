"""A tiny look-alike of every set in the catalog, made anew: layouts and names, never their data."""

import dataclasses
import types
import zlib

import numpy as np

from jaxmatte.data import sets
from jaxmatte.data.frozen import Composites
from tests.data.folders import matte, picture, write

HEIGHT, WIDTH = 24, 32
EACH = 2  # backgrounds a foreground, where the sets have 20 and 100


def colour(path, height=HEIGHT, width=WIDTH):
    """A picture that no other file of the set has."""
    write(path, picture(zlib.crc32("/".join(path.parts[-3:]).encode()), height, width))


def alpha(path, height=HEIGHT, width=WIDTH):
    write(path, matte(height, width))


def trimap(path):
    soft = matte(HEIGHT, WIDTH)
    write(path, np.select([soft == 0, soft == 255], [0, 255], 128).astype(np.uint8))


def pairs(base, names, images, alphas, trimaps="", foregrounds="", ending="png"):
    """Pictures with alphas and what else is asked for."""
    for name in names:
        colour(base / images / f"{name}.{ending}")
        alpha(base / alphas / f"{name}.png")
        if trimaps:
            trimap(base / trimaps / f"{name}.png")
        if foregrounds:
            colour(base / foregrounds / f"{name}.png")


def am2k(root):
    base = root / "AM-2k"
    pairs(base / "train", ["m_1", "m_2", "m_3"], "original", "mask", foregrounds="fg")
    pairs(base / "validation", ["m_7", "m_8"], "original", "mask", "trimap")


def bg20k(root):
    for split, names in (("train", "abc"), ("train_denoise", "a"), ("testval", "xy")):
        for name in names:
            colour(root / f"BG-20k/{split}/h_{name}.jpg")


def coco(root):
    for split in ("train_bg", "val2017"):
        for number in range(2):
            colour(root / f"COCO/{split}/{number:012d}.jpg")


def p3m10k(root):
    base = root / "P3M-10k"
    pairs(base / "train", ["p_1", "p_2"], "blurred_image", "mask", ending="jpg")
    pairs(base / "validation/P3M-500-P", ["p_3"], "blurred_image", "mask", "trimap", ending="jpg")
    pairs(base / "validation/P3M-500-NP", ["p_4"], "original_image", "mask", "trimap", ending="jpg")


def aim500(root):
    pairs(root / "AIM-500", ["o_1", "o_2"], "original", "mask", "trimap", ending="jpg")
    alpha(root / "AIM-500/usr/o_1.png")


def backgrounds(folder, names):
    """Backgrounds smaller than, as large as, and larger than a foreground."""
    for number, name in enumerate(names):
        height, width = ((10, 40), (HEIGHT, WIDTH), (50, 60), (40, 20))[number % 4]
        colour(folder / name, height, width)


def composition1k(root):
    base = root / "Combined_Dataset"
    pairs(base / "Training_set/Adobe-licensed images", ["t_2", "t_1"], "fg", "alpha")
    pairs(base / "Training_set/Other", ["o.1"], "fg", "alpha", ending="jpg")
    listed = [f"COCO_train2014_{number:03d}.jpg" for number in range(3 * EACH)]
    write_lists(base / "Training_set/training", ["t_2.png", "o.1.jpg", "t_1.png"], listed)
    backgrounds(root / "train2014", listed)
    pairs(base / "Test_set/Adobe-licensed images", ["b", "a"], "fg", "alpha")
    listed = [f"2008_{number:06d}.jpg" for number in range(2 * EACH)]
    write_lists(base / "Test_set/test", ["b.png", "a.png"], listed, line="\r\n")
    backgrounds(root / "VOCdevkit/VOC2012/JPEGImages", listed)
    for name in ("a", "b"):
        for number in range(EACH):
            trimap(base / f"Test_set/Adobe-licensed images/trimaps/{name}_{number}.png")


def write_lists(stem, foregrounds, listed, line="\n"):
    for kind, names in (("fg", foregrounds), ("bg", listed)):
        stem.parent.joinpath(f"{stem.name}_{kind}_names.txt").write_bytes(line.join(names).encode())


def distinctions646(root):
    base = root / "Distinctions-646"
    pairs(base / "Train", ["1", "2"], "FG", "GT")
    pairs(base / "Test", ["x (2)", "y"], "FG", "GT")
    listed = [f"2009_{number:06d}.jpg" for number in range(2 * EACH)]
    (base / "Test/fg_test.txt").write_text("y.png\nx (2).png\n")
    (base / "Test/bg_test.txt").write_text("\n".join(listed))
    backgrounds(root / "VOCdevkit/VOC2012/JPEGImages", listed)


def ppm100(root):
    for name in ("1_a_o", "2_b_o"):
        colour(root / f"PPM-100/image/{name}.jpg")
        alpha(root / f"PPM-100/matte/{name}.jpg")


def realworldportrait636(root):
    base = root / "RealWorldPortrait-636"
    pairs(base, ["01_input", "02_input"], "image", "alpha", ending="jpg")
    for name in ("01_input", "02_input"):
        detail = np.zeros((HEIGHT, WIDTH), np.uint8)
        detail[5:9] = 200
        write(base / f"detailmap/{name}_cloud_trimap.png", detail)


def alphamatting(root):
    for resolution in ("lowres", "highres"):
        for name in ("GT01", "GT02"):
            colour(root / f"alphamatting/input_training_{resolution}/{name}.png")
            alpha(root / f"alphamatting/gt_training_{resolution}/{name}.png")
            for number in (1, 2):
                folder = f"alphamatting/trimap_training_{resolution}/Trimap{number}"
                trimap(root / folder / f"{name}.png")


def videomatte240k(root):
    for split, clips in (("train", ("0001", "0002")), ("test", ("0000",))):
        for clip in clips:
            for frame in range(2):
                base = root / f"VideoMatte240K_JPEG_HD/{split}"
                colour(base / f"fgr/{clip}/{frame:05d}.jpg")
                alpha(base / f"pha/{clip}/{frame:05d}.jpg")


def cutout(path):
    pixels = picture(zlib.crc32(path.name.encode()), HEIGHT, WIDTH)
    write(path, np.dstack([pixels, matte(HEIGHT, WIDTH)]))


def photomatte85(root):
    for number in range(3):
        cutout(root / f"PhotoMatte85/{number:04d}.png")


def cityscapes(root):
    base = root / "cityscapes"
    for split, city in (("train", "ulm"), ("train", "bonn"), ("val", "lindau")):
        name = f"{city}_000000_000019"
        colour(base / f"leftImg8bit/{split}/{city}/{name}_leftImg8bit.png")
        numbers = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 34
        stem = base / f"gtFine/{split}/{city}/{name}_gtFine"
        write(stem.with_name(f"{stem.name}_labelIds.png"), numbers.astype(np.uint8))
        colour(stem.with_name(f"{stem.name}_color.png"))


def segmentation(root):
    for name in ("1", "2"):
        colour(root / f"images/{name}.jpg")
        classes = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 4
        write(root / f"labels/{name}.png", np.where(classes == 3, 255, classes).astype(np.uint8))


def own_pairs(root):
    pairs(root, ["1", "2", "3"], "images", "alphas", "trimaps", "foregrounds")


def cutouts(root):
    for name in ("b", "a"):
        cutout(root / f"{name}.png")


MAKERS = {
    maker.__name__: maker
    for maker in (
        *(am2k, bg20k, coco, p3m10k, aim500, composition1k, distinctions646, ppm100),
        *(realworldportrait636, alphamatting, videomatte240k, photomatte85, cityscapes),
        *(segmentation, cutouts),
    )
} | {"pairs": own_pairs}

# Rows of each split; the catalog has the counts of the whole sets.
ROWS = {
    "am2k": {"train": 3, "validation": 2},
    "bg20k": {"train": 3, "testval": 2},
    "coco": {"train": 2, "val2017": 2},
    "p3m10k": {"train": 2, "P3M-500-P": 1, "P3M-500-NP": 1},
    "aim500": {"test": 2},
    "composition1k": {"train": 3, "test": 4, "train_composed": 6},
    "distinctions646": {"train": 2, "test": 2, "test_composed": 4},
    "ppm100": {"test": 2},
    "realworldportrait636": {"test": 2},
    "alphamatting": {"trimap1": 2, "trimap2": 2, "highres_trimap1": 2, "highres_trimap2": 2},
    "videomatte240k": {"train": 4, "test": 2},
    "photomatte85": {"test": 3},
    "cityscapes": {"train": 2, "val": 1},
    "segmentation": {"all": 2},
    "pairs": {"all": 3},
    "cutouts": {"all": 2},
}


def shrink(monkeypatch):
    """Makes the catalog expect as many rows as the look-alikes have."""

    def small(name, split, layout):
        count = ROWS[name].get(split, 0) if layout.count is not None else None
        if isinstance(layout, Composites):
            return dataclasses.replace(layout, count=count, each=EACH)
        clips = {"train": 2, "test": 1}[split] if layout.clips is not None else None
        return dataclasses.replace(layout, count=count, clips=clips)

    entries = {
        name: dataclasses.replace(
            entry,
            splits={split: small(name, split, layout) for split, layout in entry.splits.items()},
        )
        for name, entry in sets.ENTRIES.items()
    }
    monkeypatch.setattr(sets, "ENTRIES", types.MappingProxyType(entries))
