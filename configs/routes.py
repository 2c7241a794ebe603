"""How the papers make a training example of a foreground and a background, route by route.

Each function gives the options of the route of its name, a module of `jaxmatte/data/routes`. The
values are the paper's or those of the named code; every probability and range is a field here.
"""

from typing import Any

import ml_collections

from configs import common


def _trimaps(name: str) -> dict:
    """The makers of trimaps by name, with their ranges; both ends of a range can be drawn."""
    return {
        "name": name,  # which of those below
        "mmagic": {"sizes": (1, 29)},  # two ellipses, each drawn by itself, in pixels
        "hct": {"sizes": (2, 4), "iterations": (5, 14)},  # one ellipse for both sides
        "paddle": {"sizes": (2, 4), "iterations": (5, 14)},  # the same
        "gca": {"sizes": (1, 29)},  # two ellipses, on what is opaque and what is empty
        # Two squares of `steps` times (shorter side // 256) pixels; opaque from `opaque` on.
        "modnet": {"steps": (10, 20), "opaque": 0.9},
        "fixed": {"size": 25, "iterations": 1},  # one ellipse, never drawn
    }


def gfm() -> ml_collections.ConfigDict:
    """GFM: RSSN or plain composition at the full size, labels, a crop, a mirror, 320 pixels."""
    return ml_collections.ConfigDict(
        {
            "route": "gfm",
            "compose": {
                "route": "none",  # none | blend | rssn
                "share": 1.0,  # of the examples that are composed; the others are as photographed
                "denoise": 0.5,  # rssn: probability of the denoised pair, where on file
                # How `python -m jaxmatte.data prepare --denoise` denoises; a store that was
                # denoised otherwise is refused.
                "denoiser": {"strength": 3.0, "colour": 3.0, "patch": 7, "search": 21},
                "denoised_foregrounds": "",  # folders of denoised pictures, by name
                "denoised_backgrounds": "",
                "blur": 0.5,
                "blur_kernels": (20, 30, 40, 50, 60),
                "noise": 0.5,
                "noise_sigma": 10.0,  # on the 0..255 scale
                "noise_wraps": False,  # True: the uint8 overflow of the released code
            },
            "crop": {
                "sizes": (640, 960, 1280),
                "fallback": 320,  # used where the drawn size does not fit the picture
                "unknown": 0.5,  # probability of a corner drawn from the trimap's unknown pixels
            },
            "size": 320,  # side of the training picture
            "flip": 0.5,
            "labels": {
                "trimap": 25,  # sizes of the elliptical kernels, in pixels of the whole picture
                "band": 50,
                "bands": False,  # also give `dilation` and `erosion`
                "resized": "clean",  # clean: {0, 128, 255} | released: as bilinear resizing left it
            },
        }
    )


def dim() -> ml_collections.ConfigDict:
    """Deep Image Matting: a crop around the transition, resized; as mmagic trains it.

    hct's pipeline: `crop.centre="any"` and `trimap.name="hct"`.
    """
    return ml_collections.ConfigDict(
        {
            "route": "dim",
            "size": 320,  # side of the training picture
            "crop": {
                "sizes": (320, 480, 640),  # sides to draw from, in pixels of the picture
                # fitting: an unknown pixel whose crop fits, where there is one | any: every
                # unknown pixel, the crop pushed back into the picture
                "centre": "fitting",
            },
            "flip": 0.5,  # probability
            # corner: enlarged to cover where too small, top-left part | random: any part
            "background": "corner",
            "trimap": _trimaps("mmagic")
            | {
                "redraw": True,  # False: trimap.fixed for every example (the paper's stage 2)
                "resized": True,  # made after resizing | False: before, then resized by nearest
            },
        }
    )


def gca() -> ml_collections.ConfigDict:
    """GCA-Matting: foregrounds merged, an affine map, a crop around the transition, jitter.

    mmagic's pipeline: `squeeze.probability=0.0`.
    """
    return ml_collections.ConfigDict(
        {
            "route": "gca",
            "size": 512,  # side of the training picture, in pixels of the mapped foreground
            "merge": 0.5,  # probability of a second foreground under the first
            "squeeze": {"probability": 0.25, "size": 640},  # to a square, aspect not kept
            "affine": {
                "flips": (0.5, 0.5),  # probability: left and right, top and bottom
                "scale": (0.8, 1.25),  # range, drawn across and down each by itself
                "rotation": (-30.0, 30.0),  # range in degrees ...
                "rotated_from": 1024,  # ... for pictures whose longer side has so many pixels
                "shear": (-10.0, 10.0),  # range in degrees
            },
            "trimap": _trimaps("gca"),
            "jitter": {
                "hue": (-40, 39),  # range in whole degrees; both ends can be drawn
                "saturation": 0.1,  # greatest share, either way, of 1.1 minus the mean
                "value": 0.1,
            },
        }
    )


def _jitter(style: str, factor: float, hue: float = 0.0, **fields: Any) -> dict[str, Any]:
    """Ranges of colour jitter: factors of 1 +- `factor`, and +- `hue` of 256 steps to a turn."""
    factors = (round(1 - factor, 6), round(1 + factor, 6))  # 0.82, not 0.8200000000000001
    # kornia's brightness is no factor: it is added, on the scale 0..1.
    ranges = {
        "brightness": (-factor, factor) if style == "kornia" else factors,
        "contrast": factors,
        "saturation": factors,
        "hue": (-hue, hue) if hue else (),  # (): none
    }
    # style: pil | kornia | bisenet, whose definitions hold. each: probability of each of the four.
    # shuffled: in any order; else in that above.
    return {"style": style, **ranges, "each": 1.0, "shuffled": True} | fields


def _bgmv2_lens(scale: tuple[float, float]) -> dict[str, Any]:
    """How a foreground or a background is taken before they are put together."""
    return {
        "flip": 0.5,  # probability
        "scale": scale,  # range; 1: the shorter side of the picture is the canvas's
        "rotation": (-5.0, 5.0),  # range in degrees
        "shear": (-5.0, 5.0),  # range in degrees
        "shift": 0.1,  # greatest share of the scaled picture, either way
        "blur": 0.1,  # probability of a box blur
        "radius": 5,  # its greatest, in pixels of the canvas
        "sharpen": 0.1,  # probability
        "jitter": _jitter("pil", 0.15, hue=12.75),  # hue: 0.05 turns of 255 steps
    }


def bgmv2(stage: str = "base") -> ml_collections.ConfigDict:
    """Background Matting V2, as released; stage base (MattingBase) or refine (MattingRefine).

    The paper's own words: `front.scale=(0.3, 1.0)` in both stages; `plate.together=True` with
    `plate.jitter.probability=0.3`; `noise.measure="variance"`.
    """
    refine = common.choose("stage", stage, ("base", "refine")) == "refine"
    return ml_collections.ConfigDict(
        {
            "route": "bgmv2",
            "size": 1536 if refine else 384,  # side of the training picture
            # Range of the side that the canvas is scaled to, the greater of two draws; the middle
            # of it is seen. For a background no less than `size`.
            "sides": (1024, 2044) if refine else (256, 511),
            "canvas": 2048 if refine else 512,  # side at which blurs are meant
            "front": _bgmv2_lens((0.3, 1.0) if refine else (0.4, 1.0)),
            # outside: what lies beyond a background: constant (black, as released) | reflect
            "back": _bgmv2_lens((1.0, 2.0)) | {"outside": "constant"},
            "shadow": {
                "probability": 0.3,
                "strength": (0.0, 0.3),  # range: share of white taken away
                "rotation": (-5.0, 5.0),
                "shear": (-5.0, 5.0),
                "scale": (0.5, 1.5),
                "shift": 0.2,
                "blur": (20, 39),  # range of the box's side; both ends can be drawn
            },
            "noise": {
                "probability": 0.4,  # in the picture and in the plate at once, drawn for each
                "most": 0.03,  # of colours in 0..1; times a number between 0 and 1
                "measure": "deviation",  # of what that is the most: deviation | variance
            },
            "plate": {
                "jitter": _jitter("kornia", 0.18, hue=25.6, probability=0.8),
                "affine": {
                    "probability": 0.3,
                    "rotation": (-1.0, 1.0),
                    "shear": (0.0, 0.0),
                    "scale": (1.0, 1.0),
                    "shift": 0.01,
                },
                "together": False,  # True: both or neither, by the probability of the jitter
            },
            "trimap": _trimaps("fixed"),  # of the example; the paper has none
        }
    )


def modnet() -> ml_collections.ConfigDict:
    """MODNet: composed at 512 pixels, as its author describes it."""
    return ml_collections.ConfigDict(
        {
            "route": "modnet",
            "size": 512,  # side of the training picture
            "compose": {
                "route": "blend",  # none | blend
                # Of the examples that are composed; the paper has 10 of 15 and crops of pictures
                # as photographed, its author's later recipe composes all.
                "share": 1.0,
            },
            # Range of the longer side that a foreground is scaled to; both ends can be drawn. As
            # photographed, no less than it takes to fill the training picture.
            "longer": (384, 768),
            "flip": 0.5,  # probability, of the foreground and of the background
            "jitter": _jitter("pil", 0.2, hue=5.0),  # ranges are chosen here: none are published
            "trimap": _trimaps("modnet"),
        }
    )


def ppmatting(human: int = 0) -> ml_collections.ConfigDict:
    """PP-Matting: the W48 model's chain; human=512 or human=1024: the W18 models' of people."""
    if human not in (0, 512, 1024):
        raise ValueError(f"human={human}; there are: 0, 512, 1024")
    return ml_collections.ConfigDict(
        {
            "route": "ppmatting",
            "size": human or 512,  # side of the training picture
            "compose": {
                "route": "blend",  # none | blend | rssn
                "share": 1.0,  # of the examples that are composed; the others are as photographed
                # Colours of what is as photographed: image (foreground and background are the
                # picture itself, as the published weights saw them) | separate (on file or
                # estimated)
                "photographed": "image",
                "denoise": 0.5,  # rssn: probability of the denoised pair, where on file
                "denoiser": {"strength": 3.0, "colour": 3.0, "patch": 7, "search": 21},
                "denoised_foregrounds": "",  # folders of denoised pictures, by name
                "denoised_backgrounds": "",
                "blur": 0.5,  # rssn: probability of a blurred background
                "blur_sides": (19, 29, 39, 49, 59),  # of the Gaussian
            },
            "trimap": _trimaps("paddle"),  # made before cropping
            "limit": human,  # the shorter side is brought down to this first; 0: it stays
            "pad": human or 512,  # smaller pictures are padded to this, below and to the right
            "padding": 128,  # colour of it: what OpenCV makes of the recipe's 127.5
            "crop": (human,) if human else (512, 640, 800),  # sides to draw from, then resized
            "jitter": _jitter("pil", 0.5, hue=18.0, each=0.5),
            # Of picture, colours and alpha; as released, which rounds even sides up.
            "blur": {"probability": 0.1, "sides": (3, 5, 5, 7, 7, 9, 9)},
            "noise": {  # of the picture alone
                "probability": 0.5 if human else 0.0,
                "mean": (0.0, 0.04),  # ranges, of colours in 0..1
                "variance": (0.0, 0.001),
            },
            "jpeg": {  # of the picture alone
                "probability": 0.2 if human else 0.0,
                "quality": (70, 94),  # range; both ends can be drawn
            },
            "flip": 0.5,
        }
    )


def bisenetv2() -> ml_collections.ConfigDict:
    """BiSeNet V2 as a segmenter of mattes; for class maps on file see `compose` and `classes`.

    Cityscapes in CoinCheung's recipe: `shape=(512, 1024)`, `classes=19`, `compose.route="none"`.
    COCO-Stuff: `size=640`, `scale=(0.75, 2.0)`. ADE20K: `size=640`, `scale=(0.5, 2.0)`.
    """
    return ml_collections.ConfigDict(
        {
            "route": "bisenetv2",
            "size": 512,  # side of the training picture
            "shape": (),  # (height, width) of it, where it is no square
            "classes": 2,  # of an alpha: 2 (0, foreground) | 3 (0, unknown, foreground)
            "renumber": (),  # of labels on file: (value, class), ...; 255 is not looked at
            "compose": {
                "route": "blend",  # none | blend; rows without an alpha stay as photographed
                "share": 1.0,  # of the examples that are composed; the others are as photographed
            },
            "scale": (0.25, 2.0),  # range
            "flip": 0.5,
            "jitter": _jitter("bisenet", 0.4, shuffled=False),
            "trimap": _trimaps("fixed"),  # of the example, after scaling
        }
    )


def unlabelled() -> ml_collections.ConfigDict:
    """Pictures without alphas, for training without labels: a square of each, mirrored or not.

    With `source="folder"` only `images` is named; pictures of the folders below it count too, such
    as the frames of several clips.
    """
    return ml_collections.ConfigDict(
        {
            "route": "unlabelled",
            "size": 512,  # side of the training picture
            # Range of the share of a picture's shorter side that is the square's side.
            "scale": (0.7, 1.0),
            "flip": 0.5,  # probability
        }
    )
