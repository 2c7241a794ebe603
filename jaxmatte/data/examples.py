"""A training example of a record: composed, labelled, cropped, mirrored, resized."""

import pathlib

import numpy as np
from ml_collections import ConfigDict

from jaxmatte import foreground
from jaxmatte.data import augment, compose, regions, sources
from jaxmatte.data.sources import Record, Source
from jaxmatte.errors import UserError

ROUTES = ("none", "blend", "rssn")
FOREGROUNDS = ("estimate", "image", "premultiplied")


class Examples:
    """Makes a training example of a record: pure, given the example's random numbers."""

    def __init__(self, config: ConfigDict, backgrounds: Source | None, root: pathlib.Path):
        """Keeps the settings, not the pictures.

        Args:
            config: The group `data` of the configuration.
            backgrounds: Rows with `background`; None where records bring their own.
            root: The folder below which the denoised pictures lie.
        """
        if config.compose.route not in ROUTES:
            raise UserError(
                f"data.compose.route={config.compose.route!r}; there are: {', '.join(ROUTES)}"
            )
        if config.foreground not in FOREGROUNDS:
            raise UserError(
                f"data.foreground={config.foreground!r}; there are: {', '.join(FOREGROUNDS)}"
            )
        if config.cutouts and (config.compose.route == "none" or config.compose.share < 1):
            raise UserError("data.cutouts have no background of their own: set data.compose.route")
        self.config = config
        self.backgrounds = backgrounds
        self.root = root

    def __call__(self, record: Record, rng: np.random.Generator) -> Record:
        """One example: uint8 arrays [size,size,C], `mask`, `index` and `size`."""
        settings, alpha = self.config, record["alpha"]
        trimap = regions.trimap(alpha, settings.labels.trimap)
        crop = settings.crop
        window = augment.crop_window(trimap, rng, crop.sizes, crop.fallback, crop.unknown)
        parts = self._layers(record, window, rng)
        parts |= {"alpha": alpha[window], "trimap": trimap[window]}
        if settings.labels.bands:
            parts["dilation"] = regions.dilation(alpha, settings.labels.band, window)
            parts["erosion"] = regions.erosion(alpha, settings.labels.band, window)
        flipped = rng.random() < settings.flip
        example: Record = {}
        for name, pixels in parts.items():
            pixels = augment.resize(augment.mirror(pixels) if flipped else pixels, settings.size)
            example[name] = pixels.reshape(settings.size, settings.size, -1)
        if settings.labels.resized == "clean":
            known = (example["trimap"] == 0) | (example["trimap"] == 255)
            example["trimap"] = np.where(known, example["trimap"], 128).astype(np.uint8)
        example["mask"] = np.bool_(True)
        example["index"] = np.int32(record["index"])
        example["size"] = np.array([settings.size, settings.size], np.int32)
        return example

    def _layers(
        self, record: Record, window: regions.Window, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Image, foreground and background within the window."""
        route = self.config.compose.route
        if route == "none" or rng.random() >= self.config.compose.share:
            return self._as_photographed(record, window)
        shape = record["alpha"].shape
        drawn = compose.draw(rng, self.config.compose) if route == "rssn" else compose.Draw()
        behind = self._background(record, rng, drawn)
        front = self._foreground(record, window, drawn)
        noise = None
        if drawn.noise:
            noise = rng.normal(0, self.config.compose.noise_sigma, front.shape)
        wraps = self.config.compose.noise_wraps
        image, front, behind = compose.rssn(
            front, behind, record["alpha"][window], shape, window, drawn, noise, wraps
        )
        return {"image": image, "foreground": front, "background": _to_bytes(behind)}

    def _as_photographed(self, record: Record, window: regions.Window) -> dict[str, np.ndarray]:
        image = record["image"][window]
        if "foreground" in record and "background" in record:
            front, behind = record["foreground"][window], record["background"][window]
        else:
            front, behind = self._separate(image, record["alpha"][window])
            front = record["foreground"][window] if "foreground" in record else front
        return {"image": image, "foreground": front, "background": behind}

    def _separate(self, image: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Foreground and background colours of a picture that comes without them."""
        if self.config.foreground == "image":
            return image, image
        if self.config.foreground == "premultiplied":
            opacity = (alpha / np.float32(255))[..., None]
            return (opacity * image).astype(np.uint8), ((1 - opacity) * image).astype(np.uint8)
        return foreground.estimate(image, alpha)

    def _background(
        self, record: Record, rng: np.random.Generator, drawn: compose.Draw
    ) -> np.ndarray:
        if self.backgrounds is None:
            return record["background"]
        fixed = self.config.compose.pairing == "fixed"
        row = record["index"] if fixed else int(rng.integers(len(self.backgrounds)))
        row %= len(self.backgrounds)
        folder = self.config.compose.denoised_backgrounds
        if drawn.denoise and folder:
            return self._denoised(folder, self.backgrounds.name(row))
        return self.backgrounds[row]["background"]

    def _foreground(
        self, record: Record, window: regions.Window, drawn: compose.Draw
    ) -> np.ndarray:
        folder = self.config.compose.denoised_foregrounds
        if drawn.denoise and folder:
            return self._denoised(folder, record["name"])[window]
        if "foreground" in record:
            return record["foreground"][window]
        return self._separate(record["image"][window], record["alpha"][window])[0]

    def _denoised(self, folder: str, name: str) -> np.ndarray:
        for ending in (pathlib.Path(name).suffix, *sources.EXTENSIONS):
            path = (self.root / folder / name).with_suffix(ending)
            if path.exists():
                return sources.read_colour(path)
        raise UserError(f"{self.root / folder} has no denoised picture for {name}")


def _to_bytes(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype == np.uint8:
        return pixels
    return np.round(np.clip(pixels, 0, 255)).astype(np.uint8)
