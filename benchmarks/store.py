"""How should a store keep pictures: bytes, milliseconds to decode, and what is lost?

python benchmarks/store.py                   the table, on one core; a minute
python benchmarks/store.py --rows=8 --size=1200x1500 --window=640

The pictures are scenes of the studio with the grain of a camera, first coded as a JPEG of quality
95, as photographs come; everything else is coded from what that decodes to. Milliseconds are
processor time, the median over rows and rounds; a window lies anywhere in the picture.
"""

import argparse
import pathlib
import tempfile
import time
from collections.abc import Callable

import cv2
import numpy as np

from jaxmatte.data import codec, prepare, regions, store, studio
from jaxmatte.data.denoise import Denoiser
from jaxmatte.data.precompute import Settings
from jaxmatte.data.rows import Plane, Row, Window

GRAIN = 4.0  # standard deviation of the noise, on the 0..255 scale: 0.3 to 0.4 MB a megapixel
ROUNDS = 3


class Photographs:
    """Scenes of the studio as a camera would have taken them."""

    has_trimaps = False

    def __init__(self, count: int, size: tuple[int, int]):
        self.scenes = studio.StudioSource("train", count, size, "natural")
        self.fingerprint = f"photographs:{GRAIN}:{self.scenes.fingerprint}"
        self._rows: dict[int, tuple[bytes, Row]] = {}

    def __len__(self) -> int:
        return len(self.scenes)

    def name(self, index: int) -> str:
        """As the scene's."""
        return self.scenes.name(index)

    def size(self, index: int) -> tuple[int, int]:
        """As the scene's."""
        return self.scenes.size(index)

    def __getitem__(self, index: int) -> Row:
        return self.photograph(index)[1]

    def photograph(self, index: int) -> tuple[bytes, Row]:
        """The JPEG file, and the row that it gives."""
        if index not in self._rows:
            scene = self.scenes[index]
            rng = np.random.default_rng(index)
            grainy = scene["image"] + rng.normal(0, GRAIN, scene["image"].shape)
            file = jpeg(np.clip(np.round(grainy), 0, 255).astype(np.uint8), 95)
            row = Row.of(index, self.name(index), image=whole(file), alpha=scene["alpha"])
            self._rows[index] = file, row
        return self._rows[index]


class File:
    """A picture's file, decoded whole for every window."""

    def __init__(self, content: bytes, colour: bool = True):
        self.content, self.flags = content, cv2.IMREAD_COLOR_RGB if colour else -1

    def read(self, window: Window | None = None) -> np.ndarray:
        """All is decoded, whatever is wanted."""
        pixels = cv2.imdecode(np.frombuffer(self.content, np.uint8), self.flags)
        return pixels if window is None else pixels[window]


def jpeg(pixels: np.ndarray, quality: int) -> bytes:
    mirrored = np.ascontiguousarray(pixels[..., ::-1])
    return cv2.imencode(".jpg", mirrored, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def png(pixels: np.ndarray) -> bytes:
    mirrored = np.ascontiguousarray(pixels[..., ::-1]) if pixels.ndim == 3 else pixels
    return cv2.imencode(".png", mirrored)[1].tobytes()


def whole(content: bytes) -> np.ndarray:
    return File(content).read()


def milliseconds(read: Callable[..., object], *arguments: object) -> float:
    start = time.thread_time()
    read(*arguments)
    return 1e3 * (time.thread_time() - start)


def psnr(pixels: np.ndarray, wanted: np.ndarray) -> float:
    error = np.square(pixels.astype(np.float32) - wanted).mean()
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def forms(file: bytes, row: Row) -> dict[str, tuple[np.ndarray, Callable[[], tuple[int, Plane]]]]:
    """Ways to keep a row's planes, each a function that gives bytes and a fresh plane."""
    image, alpha = row["image"], row["alpha"]
    trimap = regions.trimap(alpha, 25)

    def keep(content: bytes, make: Callable[[bytes], Plane]) -> Callable[[], tuple[int, Plane]]:
        return lambda: (len(content), make(content))

    def grey(content: bytes) -> File:
        return File(content, colour=False)

    found = {
        "colour: the file, JPEG 95": (image, keep(file, File)),
        "colour: JPEG 95 anew, whole": (image, keep(jpeg(image, 95), File)),
        "colour: JPEG 90 anew, whole": (image, keep(jpeg(image, 90), File)),
        "colour: PNG, whole": (image, keep(png(image), File)),
    }
    for colour in codec.COLOURS:
        code = codec.encode("image", image, colour)
        found[f"colour: tiles, {colour}"] = (image, keep(code, codec.plane))
    found["alpha: PNG, whole"] = (alpha, keep(png(alpha), grey))
    found["alpha: tiles"] = (alpha, keep(codec.encode("alpha", alpha), codec.plane))
    found["trimap: PNG, whole"] = (trimap, keep(png(trimap), grey))
    found["trimap: runs"] = (trimap, keep(codec.encode("trimap_25", trimap), codec.plane))
    return found


def print_forms(source: Photographs, side: int) -> None:
    rng, measured = np.random.default_rng(0), {}
    for index in range(len(source)):
        file, row = source.photograph(index)
        top, left = (int(rng.integers(length - side + 1)) for length in row.size)
        window = slice(top, top + side), slice(left, left + side)
        for form, (pixels, fresh) in forms(file, row).items():
            size, plane = fresh()
            loss = psnr(plane.read(), pixels)
            for _ in range(ROUNDS):
                part, all_ = fresh()[1], fresh()[1]
                times = milliseconds(part.read, window), milliseconds(all_.read)
                measured.setdefault(form, []).append((size, *times, loss))
    print(f"{'form':29} {'kB a row':>9} {f'ms a {side} window':>16} {'ms whole':>9} {'PSNR':>6}")
    for form, values in measured.items():
        size = np.mean([value[0] for value in values]) / 1e3
        part, all_, loss = (np.median([value[n] for value in values]) for n in (1, 2, 3))
        print(f"{form:29} {size:9.0f} {part:16.2f} {all_:9.2f} {loss:6.1f}")


def print_store(source: Photographs) -> None:
    """What fetching costs beside decoding, and what preparing costs."""
    with tempfile.TemporaryDirectory() as folder:
        out, settings = pathlib.Path(folder) / "store", Settings()
        plan = prepare.make_plan(source, "photographs", "train", settings)
        start = time.perf_counter()
        prepare.prepare(source, out, plan, settings)
        spent = time.perf_counter() - start
        rows = store.Store(out)
        sizes, times = [], []
        for index in np.random.default_rng(0).integers(0, len(rows), 400).tolist():
            start = time.perf_counter()
            sizes.append(len(rows.content(index, "image")))
            times.append(1e3 * (time.perf_counter() - start))
        opening = milliseconds(store.Store, out)
        print(f"\nprepare, one thread: {1e3 * spent / len(rows):.0f} ms a row")
        print(f"open a store of {len(rows)} rows: {opening:.2f} ms")
        print(
            f"fetch an image of {np.mean(sizes) / 1e3:.0f} kB and compare its stamp: "
            f"{np.median(times):.3f} ms"
        )


def print_denoiser(row: Row) -> None:
    picture = row["image"][:400, :400]
    spent = milliseconds(Denoiser(), picture) / 1e3
    print(f"denoise: {spent / (picture.size / 3e6):.2f} s a megapixel")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=6)
    parser.add_argument("--size", default="1200x1500", help="height x width")
    parser.add_argument("--window", type=int, default=640)
    options = parser.parse_args()
    height, width = map(int, options.size.split("x"))
    cv2.setNumThreads(0)
    source = Photographs(options.rows, (height, width))
    print(f"OpenCV {cv2.__version__}, {len(source)} rows of {height}x{width}")
    print_forms(source, options.window)
    print_store(source)
    print_denoiser(source[0])


if __name__ == "__main__":
    main()
