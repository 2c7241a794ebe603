"""The sets that the papers use: where their files lie, how many, on which terms, how to get them.

None of them can be downloaded by code: each asks for a person's consent. Facts are from the sets'
own pages and released code; what is not known is said to be unknown.
"""

import types
from collections.abc import Mapping

from jaxmatte.data.entry import ALL, Entry
from jaxmatte.data.frozen import Composites
from jaxmatte.data.layouts import (
    ALPHA,
    COLOUR,
    CUTOUT,
    DETAIL,
    LABEL,
    LABEL_IDS,
    TRIMAP,
    Part,
    Split,
)


def _image(*folders: str, ending: str = "", recursive: bool = False) -> Part:
    return Part("image", folders, COLOUR, ending=ending, recursive=recursive)


def _alpha(*folders: str) -> Part:
    return Part("alpha", folders, ALPHA)


def _trimap(*folders: str, optional: bool = True) -> Part:
    return Part("trimap", folders, TRIMAP, optional=optional)


def _backgrounds(*folders: str, count: int | None = None) -> Split:
    return Split((Part("background", folders, COLOUR),), count, optional=True)


_LINKS = "is behind links on its page, with a release agreement to accept"
_COCO = (
    "train2014",
    "COCO/train2014",
    "coco/train2014",
    "train2017",
    "COCO/train2017",
    "coco/train2017",
)
_VOC = ("VOCdevkit/VOC2012/JPEGImages", "VOC2012/JPEGImages", "JPEGImages")

_AM2K = Entry(
    "am2k", "AM-2k", "2,000 photographed animals of 20 kinds, with alphas (GFM)",
    ("AM-2k", "AM-2K"),
    {
        "train": Split(
            (
                _image("train/original"),
                _alpha("train/mask"),
                Part("foreground", ("train/fg",), COLOUR, optional=True),
                Part("background", ("train/bg",), COLOUR, optional=True),
                Part("denoised", ("train/fg_denoise",), COLOUR, optional=True, partial=True),
            ),
            1800,
        ),
        "validation": Split(
            (
                _image("validation/original"),
                _alpha("validation/mask"),
                _trimap("validation/trimap"),
            ),
            200,
        ),
    },
    licence="a dataset release agreement, which its authors' page labels MIT License",
    get=f"AM-2k {_LINKS}",
    page="https://github.com/JizhiziLi/GFM",
    notes="fg and bg are not part of the download; the authors estimated them in closed form.",
)  # fmt: skip

_BG20K = Entry(
    "bg20k", "BG-20k", "20,000 backgrounds without salient objects (GFM)", ("BG-20k", "BG-20K"),
    {
        "train": Split(
            (
                Part("background", ("train",), COLOUR),
                Part("denoised", ("train_denoise",), COLOUR, optional=True, partial=True),
            ),
            15000,
        ),
        "testval": Split((Part("background", ("testval",), COLOUR),), 5000),
    },
    licence="a dataset release agreement, which its authors' page labels MIT License",
    get=f"BG-20k {_LINKS}",
    page="https://github.com/JizhiziLi/GFM",
    notes="The denoised backgrounds that its authors give out are 9,000 of the 15,000.",
)  # fmt: skip

_COCO_ENTRY = Entry(
    "coco", "COCO", "everyday photographs, as backgrounds", ("COCO", "coco"),
    {
        "train": _backgrounds("train_bg", "train"),
        "train2014": _backgrounds("train2014", count=82783),
        "train2017": _backgrounds("train2017", count=118287),
        "val2014": _backgrounds("val2014", count=40504),
        "val2017": _backgrounds("val2017", count=5000),
    },
    licence="pictures: terms of use of Flickr, each its own licence; annotations: CC BY 4.0",
    get="the archives are on COCO's download page",
    page="https://cocodataset.org",
    notes="GFM's code reads a folder train_bg, its size unstated; DIM's and GCA's lists name "
    "train2014.",
)  # fmt: skip

_P3M10K = Entry(
    "p3m10k", "P3M-10k", "10,421 portraits, their faces blurred in all but P3M-500-NP",
    ("P3M-10k",),
    {
        "train": Split((_image("train/blurred_image"), _alpha("train/mask")), 9421),
        "P3M-500-P": Split(
            (
                _image("validation/P3M-500-P/blurred_image", "P3M-500-P/blurred_image"),
                _alpha("validation/P3M-500-P/mask", "P3M-500-P/mask"),
                _trimap("validation/P3M-500-P/trimap", "P3M-500-P/trimap"),
            ),
            500,
        ),
        "P3M-500-NP": Split(
            (
                _image("validation/P3M-500-NP/original_image", "P3M-500-NP/original_image"),
                _alpha("validation/P3M-500-NP/mask", "P3M-500-NP/mask"),
                _trimap("validation/P3M-500-NP/trimap", "P3M-500-NP/trimap"),
            ),
            500,
        ),
    },
    licence="a dataset release agreement, which its authors' page labels MIT License",
    get=f"P3M-10k {_LINKS}",
    page="https://github.com/JizhiziLi/P3M",
)  # fmt: skip

_AIM500 = Entry(
    "aim500", "AIM-500", "500 natural pictures of all kinds of foreground", ("AIM-500", "AIM500"),
    {
        "test": Split(
            (
                _image("original", "validation/original"),
                _alpha("mask", "validation/mask"),
                _trimap("trimap", "validation/trimap"),
            ),
            500,
        ),
    },
    licence="the set's own readme.txt has its terms; its authors' project is under the MIT License",
    get="AIM-500 is behind links on its page",
    page="https://github.com/JizhiziLi/AIM",
    notes="usr (the authors' unified representation) and aim_category_type.json are not read.",
)  # fmt: skip

_ADOBE = ("Adobe-licensed images", "Other")
_ADOBE_TRAIN = Split(
    (Part("foreground", ("fg",), COLOUR), _alpha("alpha")),
    431,
    groups=tuple(f"Training_set/{group}" for group in _ADOBE),
)
_ADOBE_TEST = Split(
    (Part("foreground", ("fg",), COLOUR), _alpha("alpha")),
    50,
    groups=("Test_set/Adobe-licensed images",),
)
_COMPOSITION1K = Entry(
    "composition1k", "Adobe Image Matting, Composition-1k",
    "431 training foregrounds; 50 test foregrounds on 20 backgrounds each (DIM)",
    ("Combined_Dataset", "Composition-1k"),
    {
        "train": _ADOBE_TRAIN,
        "test": Composites(
            _ADOBE_TEST,
            (("Test_set/test_fg_names.txt",), ("Test_set/test_bg_names.txt",)),
            20,
            ("Test_set/bg", *_VOC),
            (
                _trimap(
                    "Test_set/Adobe-licensed images/trimaps", "Test_set/trimaps", optional=False
                ),
                Part("image", ("Test_set/merged",), COLOUR, optional=True, partial=True),
            ),
            1000,
        ),
        "train_composed": Composites(
            _ADOBE_TRAIN,
            (("Training_set/training_fg_names.txt",), ("Training_set/training_bg_names.txt",)),
            100,
            ("Training_set/bg", *_COCO),
            (Part("image", ("Training_set/merged",), COLOUR, optional=True, partial=True),),
            43100,
            optional=True,
        ),
    },
    licence="by request from the authors, for research, not commercial, not to be passed on",
    get="write to the authors of Deep Image Matting (Adobe Research); the backgrounds are PASCAL "
    "VOC 2012 (test) and COCO train2014 (training), from their own pages",
    page="https://sites.google.com/view/deepimagematting",
    notes="Line i*20+j (training: i*100+j) of the list of backgrounds goes with foreground i. A "
    "background that is too small is enlarged with Pillow's bicubic, then its top left corner is "
    "taken. Composites that are not in merged/ are made when they are read.",
)  # fmt: skip

_DISTINCTIONS_TEST = Split((Part("foreground", ("Test/FG",), COLOUR), _alpha("Test/GT")), 50)
_DISTINCTIONS646 = Entry(
    "distinctions646", "Distinctions-646", "646 foregrounds with alphas (HAttMatting)",
    ("Distinctions-646",),
    {
        "train": Split((Part("foreground", ("Train/FG",), COLOUR), _alpha("Train/GT")), 596),
        "test": _DISTINCTIONS_TEST,
        "test_composed": Composites(
            _DISTINCTIONS_TEST,
            (("Test/fg_test.txt", "fg_test.txt"), ("Test/bg_test.txt", "bg_test.txt")),
            20,
            ("Test/BG", *_VOC),
            count=1000,
            optional=True,
        ),
    },
    licence="for academic, not commercial use, by request from the authors",
    get="write to the authors of HAttMatting; the lists of backgrounds are in their repository, "
    "the backgrounds are PASCAL VOC 2012 (test) and COCO (training)",
    page="https://github.com/yuhaoliu7456/CVPR2020-HAttMatting",
    notes="The authors number composites through (<foreground>_<i*20+j>.png); here they are "
    "<foreground>_<j>.png, as in Composition-1k.",
)  # fmt: skip

_PPM100 = Entry(
    "ppm100", "PPM-100", "100 portraits with their own backgrounds (MODNet)", ("PPM-100",),
    {"test": Split((_image("image", "image_train"), _alpha("matte", "matte_train")), 100)},
    licence="alphas: CC BY-NC-SA 4.0; pictures: Flickr, Creative Commons licences of their own",
    get="PPM-100 is behind links on its page",
    page="https://github.com/ZHKKKe/PPM",
)  # fmt: skip

_RWP636 = Entry(
    "realworldportrait636", "RealWorldPortrait-636",
    "636 portraits with their own backgrounds (MG)",
    ("RealWorldPortrait-636",),
    {
        "test": Split(
            (
                _image("image", "images"),
                _alpha("alpha"),
                Part("trimap", ("detailmap",), DETAIL, ending="_cloud_trimap", optional=True),
            ),
            636,
        ),
    },
    licence="unknown for the set; its authors' project says research only, CC BY-NC 2.0",
    get="RealWorldPortrait-636 is behind a link on the page of Mask Guided Matting",
    page="https://github.com/yucornetto/MGMatting",
    notes="detailmap/ marks where the authors score details: unknown in the trimap.",
)  # fmt: skip


def _alphamatting(resolution: str, number: int) -> Split:
    return Split(
        (
            _image(f"input_training_{resolution}"),
            _alpha(f"gt_training_{resolution}"),
            _trimap(f"trimap_training_{resolution}/Trimap{number}", optional=False),
        ),
        27,
        optional=resolution == "highres",
    )


_ALPHAMATTING = Entry(
    "alphamatting", "alphamatting.com", "27 training pictures with two trimaps each",
    ("alphamatting", "alphamatting.com"),
    {
        "trimap1": _alphamatting("lowres", 1),
        "trimap2": _alphamatting("lowres", 2),
        "highres_trimap1": _alphamatting("highres", 1),
        "highres_trimap2": _alphamatting("highres", 2),
    },
    licence="unknown; by PyMatting's account its keeper does not let others pass the pictures on",
    get="the archives are on the site's page of data sets",
    page="http://www.alphamatting.com/datasets.php",
    notes="The eight test pictures of the benchmark have no public alphas and are not read.",
)  # fmt: skip


def _clips(split: str, *others: str, clips: int) -> Split:
    folders = (split, *others)
    return Split(
        (
            Part("foreground", tuple(f"{f}/fgr" for f in folders), COLOUR, recursive=True),
            Part("alpha", tuple(f"{f}/pha" for f in folders), ALPHA, recursive=True),
        ),
        clips=clips,
    )


_VIDEOMATTE = Entry(
    "videomatte240k", "VideoMatte240K", "240,709 frames of 484 clips of people (BGMv2)",
    ("VideoMatte240K_JPEG_HD", "VideoMatte240K_JPEG_SD", "VideoMatte240K"),
    {"train": _clips("train", clips=479), "test": _clips("test", "valid", clips=5)},
    licence="MIT License, as its author answered in the project's public tracker",
    get="VideoMatte240K is behind links on its page",
    page="https://grail.cs.washington.edu/projects/background-matting-v2/#/datasets",
    notes="Frames lie in fgr/CLIP/ and pha/CLIP/.",
)  # fmt: skip

_PHOTOMATTE85 = Entry(
    "photomatte85", "PhotoMatte85", "85 photographed people, cut out (BGMv2)", ("PhotoMatte85",),
    {"test": Split((Part("cutout", ("",), CUTOUT),), 85)},
    licence="unknown for the set; its authors' project is under the MIT License",
    get="PhotoMatte85 is behind links on its page",
    page="https://grail.cs.washington.edu/projects/background-matting-v2/#/datasets",
    notes="RGBA pictures: the alpha is the fourth channel.",
)  # fmt: skip


def _streets(split: str, count: int) -> Split:
    image = _image(f"leftImg8bit/{split}", ending="_leftImg8bit", recursive=True)
    label = Part("label", (f"gtFine/{split}",), LABEL_IDS, "_gtFine_labelIds", recursive=True)
    return Split((image, label), count)


_CITYSCAPES = Entry(
    "cityscapes", "Cityscapes", "streets of 50 cities, 19 classes (BiSeNet V2)",
    ("cityscapes", "Cityscapes"),
    {"train": _streets("train", 2975), "val": _streets("val", 500)},
    licence="its own licence: not commercial, for research and teaching, no passing on",
    get="register on its page; leftImg8bit_trainvaltest and gtFine_trainvaltest",
    page="https://www.cityscapes-dataset.com",
    notes="Label numbers (_gtFine_labelIds) become the 19 training classes, 255 where they are "
    "ignored; the labels of the test split are not public.",
    classes=19,
)  # fmt: skip

_OWN = "your own pictures, under your own terms"
_SEGMENTATION = Entry(
    "segmentation", "pictures and maps of classes", "folders of your own, for BiSeNet V2", (),
    {
        ALL: Split(
            (
                _image("images", "image", "img"),
                Part("label", ("labels", "label", "masks", "mask", "annotations"), LABEL),
            ),
        ),
    },
    licence=_OWN,
    get="make two folders, images and labels, with files of the same names",
    notes="Classes count from 0; 255 is ignored. A folder below the root is a split.",
    plain=True,
)  # fmt: skip

_PAIRS = Entry(
    "pairs", "pictures and alphas", "folders of your own", (),
    {
        ALL: Split(
            (
                _image("images", "image", "original", "merged", "input"),
                _alpha("alphas", "alpha", "mask", "masks", "matte", "mattes"),
                Part("foreground", ("foregrounds", "foreground", "fg"), COLOUR, optional=True),
                _trimap("trimaps", "trimap"),
            ),
        ),
    },
    licence=_OWN,
    get="make two folders, images and alphas, with files of the same names",
    notes="foregrounds and trimaps are read where they are. A folder below the root is a split.",
    plain=True,
)  # fmt: skip

_CUTOUTS = Entry(
    "cutouts", "RGBA cut-outs", "a folder of your own", (),
    {ALL: Split((Part("cutout", ("",), CUTOUT),))},
    licence=_OWN,
    get="put RGBA pictures with straight colours into one folder",
    notes="A folder below the root is a split.",
    plain=True,
)  # fmt: skip

_ORDER = (
    _AM2K, _BG20K, _COCO_ENTRY, _P3M10K, _AIM500, _COMPOSITION1K, _DISTINCTIONS646, _PPM100,
    _RWP636, _ALPHAMATTING, _VIDEOMATTE, _PHOTOMATTE85, _CITYSCAPES, _SEGMENTATION, _PAIRS,
    _CUTOUTS,
)  # fmt: skip
ENTRIES: Mapping[str, Entry] = types.MappingProxyType({entry.name: entry for entry in _ORDER})
