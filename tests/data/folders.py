"""Small data sets on the disk, made by the tests."""

import cv2
import numpy as np


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    if pixels.ndim == 3:
        order = cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR
        pixels = cv2.cvtColor(pixels, order)
    assert cv2.imwrite(str(path), pixels)


def picture(seed, height, width):
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def matte(height, width, soft=6.0):
    y, x = np.mgrid[0:height, 0:width]
    radius = np.hypot(y - height / 2, x - width / 2)
    return np.clip(np.round(255 * (height / 4 - radius) / soft + 128), 0, 255).astype(np.uint8)


def am2k(root, count=4, height=96, width=128, split="train", soft=6.0):
    """Looks like AM-2k: original/*.jpg and mask/*.png."""
    for number in range(count):
        name = f"m_{number:08d}"
        write(root / f"AM-2k/{split}/original/{name}.jpg", picture(number, height, width))
        write(root / f"AM-2k/{split}/mask/{name}.png", matte(height, width, soft))
    return root


def backgrounds(root, name="BG-20k/train", count=5, height=80, width=150):
    for number in range(count):
        write(root / f"{name}/h_{number:08d}.jpg", picture(100 + number, height, width))
    return root


def whole(root):
    """Everything that a track of GFM needs."""
    am2k(root)
    am2k(root, 3, split="validation", height=104, width=136)
    backgrounds(root)
    backgrounds(root, "COCO/train_bg")
    return root
