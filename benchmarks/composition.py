"""What does each step of a composition do to a picture?

    PYTHONPATH=. python benchmarks/composition.py    draws both pictures of docs/ (half a minute)

docs/composition.png takes one foreground through GFM's RSSN, a step at a time: the same scene of
the studio, the same numbers drawn, the functions that training calls. docs/routes.png shows four
examples of every route as the pipeline gives them.
"""

import argparse
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from ml_collections import ConfigDict
from PIL import Image, ImageDraw, ImageFont

from configs import common, gfm, routes
from jaxmatte.data import compose, pipeline, regions
from jaxmatte.data.denoise import Denoiser
from jaxmatte.data.rows import Pixels
from jaxmatte.data.studio import render

DOCS = pathlib.Path(__file__).parent.parent / "docs"
FRONT, BEHIND = 29, 13  # scenes of the studio: a dog; a city at night with two creatures in it
SIDE = 1200  # of the foreground in pixels; AM-2k's pictures are about that large
LARGE, SMALL = (1500, 2000), (480, 640)  # backgrounds like BG-20k's and COCO's
# What is shown pixel by pixel: its middle, down and across, and how much it is enlarged.
DETAILS = {"Hair": ((744, 750), 2), "An eye": ((540, 310), 3)}

WIDTH, MARGIN, GAP = 1400, 16, 8
PAPER, INK, GREY = (244, 244, 242), (28, 30, 34), (104, 108, 116)
CLASSES = np.full((256, 3), 205, np.uint8)  # grey: ignored
CLASSES[:2] = (38, 70, 83), (233, 196, 106)


@dataclasses.dataclass(frozen=True)
class Cell:
    """A picture with one or two lines under it."""

    picture: np.ndarray  # uint8 [H,W] or [H,W,3], shrunk to the cell
    title: str = ""
    note: str = ""
    exact: bool = False  # made for the cell: shown pixel by pixel


@dataclasses.dataclass(frozen=True)
class Line:
    """Cells side by side below a heading."""

    heading: str
    about: str
    cells: Sequence[Cell]


@dataclasses.dataclass(frozen=True)
class Parts:
    """What a composition is made of: uint8 pictures of the studio."""

    image: np.ndarray
    foreground: np.ndarray
    alpha: np.ndarray
    everyday: np.ndarray  # small, and another subject is in it
    small: np.ndarray  # without it
    large: np.ndarray


def parts(side: int = SIDE) -> Parts:
    """The parts, for a foreground of a side in pixels; backgrounds are as large as theirs are."""
    front = render(0, FRONT, side)
    small, large = (render(0, BEHIND, size, "composite") for size in (SMALL, LARGE))
    return Parts(
        front.image, front.foreground, front.alpha, small.image, small.background, large.background
    )


def steps(given: Parts, options: ConfigDict) -> dict[str, np.ndarray]:
    """The composites after each step of RSSN, each with those before it.

    Args:
        given: Of `parts`.
        options: The group `data.compose` of a configuration.
    """
    shape = given.alpha.shape
    window = (slice(0, shape[0]), slice(0, shape[1]))
    denoiser = Denoiser(**options.denoiser)
    quiet = {"foreground": denoiser(given.foreground), "background": denoiser(given.large)}
    noise = compose.draw_noise((*shape, 3), options.noise_sigma, np.random.default_rng(0))
    blur = max(options.blur_kernels)

    def laid(front: np.ndarray, behind: np.ndarray, blur: int = 0, **noise: object) -> np.ndarray:
        plane = Pixels(behind)
        fitted = compose.behind(plane, behind.shape[:2], shape, window, blur=blur)
        return compose.rssn(front, fitted, given.alpha, **noise)[0]

    return {
        "blend": laid(given.foreground, given.everyday),
        "semantics": laid(given.foreground, given.small),
        "resolution": laid(given.foreground, given.large),
        "denoised": laid(*quiet.values()),
        "sharpness": laid(*quiet.values(), blur=blur),
        "noise": laid(*quiet.values(), blur=blur, noise=noise),
        "wrapped": laid(*quiet.values(), blur=blur, noise=noise, wraps=True),
    }


def on_checkerboard(given: Parts, square: int = 50) -> np.ndarray:
    """The cut-out: straight colours by alpha over a checkerboard."""
    y, x = np.mgrid[: given.alpha.shape[0], : given.alpha.shape[1]]
    board = np.where((y // square + x // square) % 2, 235, 190).astype(np.uint8)
    return compose.blend(given.foreground, cv2.merge([board] * 3), given.alpha)


def study() -> list[Line]:
    """The lines of docs/composition.png."""
    config = gfm.get_config("track=rssn").data
    given, size = parts(), config.labels.trimap
    made = steps(given, config.compose)
    captions = {
        "blend": ("COMP-COCO", "plain blending"),
        "semantics": ("Semantics", "no other subject"),
        "resolution": ("Resolution", "of the background"),
        "denoised": ("Denoised", "both layers"),
        "sharpness": ("Sharpness", f"box of {max(config.compose.blur_kernels)} px"),
        "noise": ("Noise", f"sigma {config.compose.noise_sigma:g}, clipped"),
        "wrapped": ("As released", "8 bits overflow"),
    }
    lines = [
        Line(
            "What it is made of",
            f"a scene of {SIDE} x {SIDE} pixels, and three backgrounds for it",
            [
                Cell(given.image, "Picture", "as photographed"),
                Cell(given.alpha, "Alpha"),
                Cell(regions.trimap(given.alpha, size), "Trimap", f"kernel of {size} px"),
                Cell(on_checkerboard(given), "Foreground", "straight colours"),
                Cell(given.everyday, "Everyday", f"{SMALL[1]} x {SMALL[0]}"),
                Cell(given.small, "No subject", f"{SMALL[1]} x {SMALL[0]}"),
                Cell(given.large, "The same, large", f"{LARGE[1]} x {LARGE[0]}"),
            ],
        ),
        Line(
            "Step by step",
            "each keeps those before it; in training denoising, sharpness and noise come by chance",
            [Cell(made[name], *caption) for name, caption in captions.items()],
        ),
    ]
    side = cell_side(len(captions))
    for name, (middle, times) in DETAILS.items():
        cells = [Cell(enlarged(p, middle, times, side), exact=True) for p in made.values()]
        lines.append(Line(name, f"every pixel {times} x {times}", cells))
    return lines


def enlarged(picture: np.ndarray, middle: tuple[int, int], times: int, side: int) -> np.ndarray:
    """A part of a picture, its pixels drawn as squares, [side,side,3]."""
    count = -(-side // times)
    top, left = (place - count // 2 for place in middle)
    part = picture[top : top + count, left : left + count]
    return part.repeat(times, 0).repeat(times, 1)[:side, :side]


def examples(route: str, count: int, seed: int) -> dict[str, np.ndarray]:
    """A batch of a route, from rows of the studio."""
    config = common.base().data
    config.update(getattr(routes, route)())
    if route == "gfm":
        config.compose.route = "rssn"
    config.source, config.studio.mode = "studio", "mixed"
    config.studio.train, config.studio.scene = 32, 1000
    return next(pipeline.open_training(config, seed).batches(count, threads=0))


# What a line shows in its third pictures, what it says of the route, the seed of its order.
SHOWN: Mapping[str, tuple[str, str, int]] = {
    "gfm": ("trimap", "RSSN, a square of the picture, a mirror", 8),
    "dim": ("trimap", "a square around a pixel of the transition", 11),
    "gca": ("trimap", "two foregrounds merged, an affine map, other colours", 10),
    "bgmv2": ("plate", "a shadow, noise; the plate is the background, taken apart from it", 3),
    "modnet": ("trimap", "the foreground scaled, composed at the training size", 4),
    "ppmatting": ("trimap", "cropped or padded, other colours, a blur, a mirror", 5),
    "bisenetv2": ("label", "scaled, cropped or padded; a class for every pixel", 6),
}


def contact_sheet(count: int = 4) -> list[Line]:
    """The lines of docs/routes.png."""
    lines = []
    for route, (third, about, seed) in SHOWN.items():
        batch = examples(route, count, seed)
        cells = []
        for number in range(count):
            last = batch[third][number]
            cells += [
                Cell(batch["image"][number]),
                Cell(batch["alpha"][number, ..., 0]),
                Cell(CLASSES[last[..., 0]] if third == "label" else np.squeeze(last)),
            ]
        lines.append(Line(route, f"{about} · image, alpha, {third}", cells))
    return lines


def cell_side(count: int) -> int:
    """Pixels of a cell's side where a line has so many."""
    return (WIDTH - 2 * MARGIN - (count - 1) * GAP) // count


def draw(lines: Sequence[Line]) -> Image.Image:
    """Lays the lines out on one page."""
    large, plain = ImageFont.load_default(27), ImageFont.load_default(23)
    small = ImageFont.load_default(20)
    places, top = [], MARGIN
    for line in lines:
        places.append(top)
        captions = [bool(c.title) + bool(c.note) for c in line.cells]
        top += 44 + cell_side(len(line.cells)) + 27 * max(captions) + 18
    page = Image.new("RGB", (WIDTH, top), PAPER)
    pen = ImageDraw.Draw(page)

    def write(place: tuple[float, float], text: str, font: object, colour: object, right: float):
        if place[0] + pen.textlength(text, font=font) > right:
            raise ValueError(f"{text!r} is too long for its place")
        pen.text(place, text, font=font, fill=colour, anchor="ls")

    for line, start in zip(lines, places, strict=True):
        side = cell_side(len(line.cells))
        write((MARGIN, start + 28), line.heading, large, INK, WIDTH)
        after = MARGIN + pen.textlength(line.heading, font=large) + 16
        write((after, start + 28), line.about, small, GREY, WIDTH - MARGIN)
        for number, cell in enumerate(line.cells):
            left, below = MARGIN + number * (side + GAP), start + 44
            page.paste(fitted(cell, side), (left, below))
            for row, (text, font, colour) in enumerate(
                ((cell.title, plain, INK), (cell.note, small, GREY))
            ):
                baseline = below + side + 25 + 26 * row
                write((left, baseline), text, font, colour, left + side + GAP)
    return page


def fitted(cell: Cell, side: int) -> Image.Image:
    """The middle square of a cell's picture."""
    height, width = cell.picture.shape[:2]
    if cell.exact:
        return Image.fromarray(cell.picture)
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    middle = cell.picture[top : top + short, left : left + short]
    small = cv2.resize(middle, (side, side), interpolation=cv2.INTER_AREA)
    return Image.fromarray(small & 0xFE)  # unseen, and a smaller file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=DOCS, help="default: docs")
    arguments = parser.parse_args()
    for name, lines in (("composition", study()), ("routes", contact_sheet())):
        path = arguments.out / f"{name}.png"
        draw(lines).save(path, optimize=True)
        print(f"{path}: {path.stat().st_size / 1e3:.0f} KB")


if __name__ == "__main__":
    main()
