"""How fast does the studio render, and what do its scenes look like?

python benchmarks/studio.py                prints milliseconds a scene, on one core
python benchmarks/studio.py --sheet FILE   writes the contact sheet instead (docs/studio.png)
"""

import argparse
import time

import cv2
import numpy as np

from jaxmatte.data.studio import SPLITS, Scene, render

SIZES = (160, 192, 256, 512)
MODES = ("natural", "composite")
# Two scenes side by side in each row: image, alpha, cut-out. Picked to show the kinds.
SHEET = (
    ((205, "natural"), (113, "composite")),
    ((12, "natural"), (10, "composite")),
    ((214, "natural"), (115, "composite")),
    ((200, "natural"), (215, "composite")),
)


def milliseconds(size: int, mode: str, scenes: int) -> np.ndarray:
    """Processor time of each of the first `scenes` training scenes."""
    render(0, 0, size, mode)
    spent = []
    for index in SPLITS["train"][:scenes]:
        start = time.thread_time()
        render(0, index, size, mode)
        spent.append(1e3 * (time.thread_time() - start))
    return np.array(spent)


def print_table(scenes: int) -> None:
    print(f"{'size':>5} {'mode':>10} {'mean ms':>8} {'median':>7} {'p95':>6} {'scenes/s':>9}")
    for size in SIZES:
        for mode in MODES:
            spent = milliseconds(size, mode, scenes)
            print(
                f"{size:5d} {mode:>10} {spent.mean():8.1f} {np.median(spent):7.1f} "
                f"{np.percentile(spent, 95):6.1f} {1e3 / spent.mean():9.1f}"
            )


def strip(scene: Scene) -> np.ndarray:
    """Image, alpha and the cut-out on a checkerboard, side by side."""
    height, width = scene.alpha.shape
    y, x = np.mgrid[:height, :width]
    board = (190 + 45 * ((y // 12 + x // 12) % 2))[..., None]
    alpha = scene.alpha[..., None] / 255.0
    cutout = np.rint(alpha * scene.foreground + (1 - alpha) * board).astype(np.uint8)
    return np.hstack([scene.image, np.repeat(scene.alpha[..., None], 3, 2), cutout])


def write_sheet(path: str, size: int = 172) -> None:
    """Renders at twice the size and halves, as a thumbnail of a picture would be."""
    rows = []
    for pair in SHEET:
        strips = [strip(render(0, index, 2 * size, mode)) for index, mode in pair]
        row = np.hstack(strips)
        rows.append(cv2.resize(row, (6 * size, size), interpolation=cv2.INTER_AREA))
    sheet = np.vstack(rows)
    cv2.imwrite(path, sheet[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=60)
    parser.add_argument("--sheet", help="write the contact sheet to this PNG file")
    options = parser.parse_args()
    cv2.setNumThreads(0)
    if options.sheet:
        write_sheet(options.sheet)
    else:
        print_table(options.scenes)


if __name__ == "__main__":
    main()
