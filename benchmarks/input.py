"""What does a training example cost, where does the time go, and what is the least it could cost?

    python benchmarks/input.py                    the tables, on one core (3 minutes)
    python benchmarks/input.py --workers          examples a second with 1 and 2 threads and workers
    python benchmarks/input.py --soak=20000       memory over so many examples
    python benchmarks/input.py --device           steps that host or device could do, on both

Pictures are scenes of the studio in the layouts of AM-2k and BG-20k: foregrounds of 1500 x 1200,
backgrounds of 2000 x 1500, JPEG and PNG files, made once (half a minute) below --data, then
prepared by the real command. Times are processor times of one core, so that a busy machine disturbs
them less; `fetch` and `decode` are what it takes to read the same records and to decode the same
windows once more and nothing else, `ratio` is the whole over their sum.
The straightforward loader is what the released code does: decode all with Pillow, fit the
background with scikit-image, blend and make labels at full size, crop and shrink at the end.
"""

import argparse
import contextlib
import os
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
from absl import flags
from PIL import Image

from configs import common, gfm, routes
from jaxmatte import memory
from jaxmatte.data import __main__ as command
from jaxmatte.data import augment, codec, compose, pipeline, pool, regions, rows, store
from jaxmatte.data.studio import render

ROWS = 24
BATCH = 8
EPOCH = 9000  # examples
STORES = {"original": "the files' own bytes", "jpeg95": "tiles of JPEG 95"}
ROUTES = ("dim", "gca", "bgmv2", "modnet", "ppmatting", "bisenetv2")
# Where each function's own time is counted, less that of others of this list that it calls.
STAGES = (
    ("fetch", store.Store, "content"),
    ("decode", codec.Tiles, "read"),
    ("decode", codec._Whole, "read"),
    ("decode", codec, "_decode_runs"),
    ("decode", rows.File, "read"),
    ("labels", pool.Pool, "labels"),
    ("labels", pool.Pool, "label"),
    ("labels", regions.Runs, "read"),
    ("labels", regions.Runs, "pick"),
    ("colours", pool.Pool, "separated"),
    ("fit", compose, "fit"),
    ("blur", compose, "behind"),
    ("blend", compose, "blend"),
    ("noise", compose, "draw_noise"),
    ("noise", compose, "add_noise"),
    ("shrink", compose, "sampled"),
    ("shrink", augment, "resize"),
    ("shrink", augment, "mirror"),
)


def make_files(root: pathlib.Path) -> None:
    """Writes the pictures, unless they are there."""
    for number in range(ROWS):
        name = f"{number:08d}"
        alpha = root / f"AM-2k/train/mask/m_{name}.png"
        if alpha.exists():
            continue
        scene, other = render(7, number, (1200, 1500)), render(8, number, (1500, 2000))
        _write(root / f"AM-2k/train/original/m_{name}.jpg", scene.image)
        _write(root / f"BG-20k/train/h_{name}.jpg", other.image)
        _write(alpha, scene.alpha)


def _write(path: pathlib.Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **({"quality": 95} if path.suffix == ".jpg" else {}))


def prepare(root: pathlib.Path, colour: str) -> None:
    """Runs the real command for foregrounds and backgrounds."""
    out = root / colour
    for flags_ in (
        [
            "am2k",
            str(root),
            str(out / "foregrounds"),
            "--foregrounds",
            "--backgrounds",
            "--band=50",
        ],
        ["bg20k", str(root), str(out / "backgrounds")],
    ):
        if command.main(["prepare", *flags_, "--split=train", f"--colour={colour}"]):
            raise SystemExit("prepare failed")


def settings(root: pathlib.Path, form: str, route: str = "gfm", track: str = "rssn") -> Any:
    """The group `data` of a configuration."""
    if route == "gfm":
        config = gfm.get_config(f"track={track}").data
    else:
        config = common.base().data
        config.update(getattr(routes, route)())
    config.root = str(root)
    # An epoch as long as the paper's: grain shuffles few rows more slowly than many.
    config.backgrounds_per_foreground = EPOCH // ROWS
    if form != "files":
        config.source, config.store = "store", f"{form}/foregrounds"
        config.backgrounds = "" if track == "ori" else f"{form}/backgrounds"
    return config


def draw(data: pipeline.TrainingData, count: int) -> float:
    """Seconds of processor time an example, on this thread, through the whole pipeline."""
    batches = data.batches(BATCH, threads=0)
    start = time.process_time()
    for _ in range(count // BATCH):
        next(batches)
    return (time.process_time() - start) / count


@contextlib.contextmanager
def patched(wrap: Callable[[str, Callable], Callable]) -> Iterator[None]:
    """Puts a wrapper around every function of `STAGES`."""
    originals = [(owner, name, getattr(owner, name)) for _, owner, name in STAGES]
    try:
        for stage, owner, name in STAGES:
            setattr(owner, name, wrap(stage, getattr(owner, name)))
        yield
    finally:
        for owner, name, function in originals:
            setattr(owner, name, function)


def decoding(data: pipeline.TrainingData, count: int) -> tuple[float, float]:
    """Seconds an example of the same reads once more and nothing else: fetched, and decoded."""
    asked: dict[str, list[tuple[Callable, tuple]]] = {"fetch": [], "decode": []}

    def record(stage: str, function: Callable) -> Callable:
        if stage not in asked:
            return function

        def recorded(*given: Any) -> Any:
            asked[stage].append((function, given))
            return function(*given)

        return recorded

    with patched(record):
        draw(data, count)
    for _, (plane, *_) in asked["decode"]:  # forget what each plane keeps of its last window
        for kept in ("_pixels", "_read"):
            if hasattr(plane, kept):
                setattr(plane, kept, None)
    spent = []
    for stage in ("fetch", "decode"):
        start = time.process_time()
        for function, given in asked[stage]:
            function(*given)
        spent.append((time.process_time() - start) / count)
    return spent[0], spent[1]


def stages(data: pipeline.TrainingData, count: int) -> dict[str, float]:
    """Milliseconds an example in each stage, and in none."""
    spent = dict.fromkeys([stage for stage, _, _ in STAGES], 0.0)
    inside = [0.0]  # time of the calls below the one that runs, level by level

    def timed(stage: str, function: Callable) -> Callable:
        def call(*given: Any, **named: Any) -> Any:
            inside.append(0.0)
            start = time.perf_counter()
            try:
                return function(*given, **named)
            finally:
                whole = time.perf_counter() - start
                spent[stage] += whole - inside.pop()
                inside[-1] += whole

        return call

    with patched(timed):
        whole = draw(data, count)
    found = {stage: 1e3 * seconds / count for stage, seconds in spent.items()}
    return found | {"rest": 1e3 * whole - sum(found.values())}


def straightforward(root: pathlib.Path, config: Any, count: int) -> float:
    """Seconds an example of the loader that does everything at full size."""
    from skimage import transform

    rng = np.random.default_rng(0)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (25, 25))

    def load(path: pathlib.Path) -> np.ndarray:
        return np.array(Image.open(path))

    start = time.process_time()
    for number in range(count):
        name = f"{number % ROWS:08d}"
        front = load(root / f"AM-2k/train/original/m_{name}.jpg")
        alpha = load(root / f"AM-2k/train/mask/m_{name}.png")
        behind = load(root / f"BG-20k/train/h_{int(rng.integers(ROWS)):08d}.jpg")
        height, width = alpha.shape
        behind = 255.0 * transform.resize(behind, (height, width))
        drawn = compose.draw(rng, config.compose)
        if drawn.blur:
            behind = cv2.blur(behind, (drawn.blur, drawn.blur))
        opacity = alpha[..., None] / 255.0
        image = (opacity * front + (1 - opacity) * behind).astype(np.uint8)
        if drawn.noise:
            noise = rng.normal(0, 10, image.shape)
            image, front, behind = (
                np.clip(pixels + noise, 0, 255).astype(np.uint8)
                for pixels in (image, front, behind)
            )
        dilated = cv2.dilate((alpha != 0).astype(np.uint8), kernel)
        eroded = cv2.erode((alpha == 255).astype(np.uint8), kernel)
        trimap = np.where(eroded == 1, 255, np.where(dilated == 1, 128, 0)).astype(np.uint8)
        side = int(rng.choice(config.crop.sizes))
        side = side if side < min(height, width) else config.crop.fallback
        corners = np.argwhere(trimap[: height - side, : width - side] == 128)
        found = len(corners) and rng.random() < 0.5
        anywhere = (rng.integers(height - side), rng.integers(width - side))
        top, left = corners[rng.integers(len(corners))] if found else anywhere
        for pixels in (image, front, behind, alpha, trimap):
            crop = pixels[top : top + side, left : left + side]
            crop = crop[:, ::-1] if rng.random() < 0.5 else crop
            cv2.resize(np.ascontiguousarray(crop), (config.size, config.size))
    return (time.process_time() - start) / count


def row(title: str, data: pipeline.TrainingData, count: int) -> tuple[float, float, float]:
    """Prints a line of the table: milliseconds an example, of its reads alone, and the stages."""
    whole = 1e3 * draw(data, count)
    fetch, decode = (1e3 * spent for spent in decoding(data, count))
    where = "  ".join(
        f"{name} {spent:.2f}" for name, spent in stages(data, count).items() if spent > 0.005
    )
    print(
        f"{title:26} {whole:7.2f} {1e3 / whole:9.1f} {fetch:7.2f} {decode:7.2f} "
        f"{whole / (fetch + decode):6.2f}   {where}"
    )
    return whole, fetch, decode


def tables(root: pathlib.Path, count: int) -> None:
    head = ("ms", "a second", "fetch", "decode", "ratio")
    print("{:26} {:>7} {:>9} {:>7} {:>7} {:>6}   where (ms)".format("one core", *head))
    measured = {}
    for form in ("files", *STORES):
        for track in ("rssn", "comp_coco", "ori"):
            config = settings(root, form, track=track)
            if track == "comp_coco" and form == "files":
                config.backgrounds = "BG-20k/train"
            measured[form, track] = row(
                f"gfm {track}, {form}", pipeline.open_training(config, 0), count
            )
    for route in ROUTES:
        data = pipeline.open_training(settings(root, "jpeg95", route), 0)
        row(f"{route}, jpeg95", data, max(count // 32, 1) * BATCH)
    plain = 1e3 * straightforward(root, settings(root, "files"), max(count // 8, ROWS))
    whole, fetch, decode = measured["jpeg95", "rssn"]
    print(
        f"\nRSSN at 320, prepared: {whole:.2f} ms; fetching and decoding the needed pixels alone: "
        f"{fetch + decode:.2f} ms: ratio {whole / (fetch + decode):.2f} (limit 1.5); decoding "
        f"without fetching: {decode:.2f} ms: ratio {whole / decode:.2f}"
    )
    print(
        f"the straightforward loader: {plain:.1f} ms: {plain / whole:.1f} times as long "
        "(at least 4)"
    )


def rate(data: pipeline.TrainingData, count: int, **how: Any) -> float:
    """Examples a second by the clock, once everything runs."""
    with contextlib.closing(data.batches(BATCH, **how)) as batches:
        for _ in range(8):
            next(batches)
        start = time.perf_counter()
        for _ in range(count // BATCH):
            next(batches)
        return count // BATCH * BATCH / (time.perf_counter() - start)


def scaling(root: pathlib.Path, count: int) -> None:
    """Prints the best of three rounds, one and two taking turns."""
    data = pipeline.open_training(settings(root, "jpeg95"), 0)
    for kind, one, two in (
        ("threads", {"threads": 1}, {"threads": 2}),
        ("workers", {"workers": 1, "threads": 1}, {"workers": 2, "threads": 1}),
    ):
        rounds = [(rate(data, count, **one), rate(data, count, **two)) for _ in range(3)]
        alone, both = (max(rates) for rates in zip(*rounds, strict=True))
        print(f"{kind}: 1: {alone:.1f} a second, 2: {both:.1f} a second; {both / alone:.2f} times")


def devices(side: int = 640, examples: int = 8) -> None:
    """Prints milliseconds an example of what could be done on either side."""
    import jax
    import jax.numpy as jnp

    from jaxmatte import labels

    rng = np.random.default_rng(0)
    scene = render(7, 0, (side, side))
    behind = scene.background.astype(np.float32)
    stack = {
        name: jnp.asarray(np.stack([pixels] * examples))
        for name, pixels in (("f", scene.foreground), ("b", behind), ("a", scene.alpha[..., None]))
    }
    keys = jax.random.split(jax.random.key(0), examples)

    def blend(f: Any, b: Any, a: Any) -> Any:
        opacity = a / 255.0
        return jnp.floor(opacity * f + (1 - opacity) * b).astype(jnp.uint8)

    def noise(keys: Any) -> Any:
        return jax.vmap(lambda key: 10.0 * jax.random.normal(key, (side, side, 3)))(keys)

    def box(b: Any) -> Any:
        for window in ((1, 40, 1, 1), (1, 1, 40, 1)):
            b = jax.lax.reduce_window(b, 0.0, jax.lax.add, window, (1, 1, 1, 1), "SAME") / 40
        return b

    for name, host, device in (
        (
            "blend",
            lambda: compose.blend(scene.foreground, behind, scene.alpha),
            lambda: jax.jit(blend)(stack["f"], stack["b"], stack["a"]),
        ),
        (
            "noise",
            lambda: compose.draw_noise((side, side, 3), 10.0, rng),
            lambda: jax.jit(noise)(keys),
        ),
        ("blur", lambda: cv2.blur(behind, (40, 40)), lambda: jax.jit(box)(stack["b"])),
        (
            "trimap",
            lambda: regions.trimap(scene.alpha, 25),
            lambda: jax.jit(lambda a: labels.trimap(a / 255.0, 25))(stack["a"]),
        ),
    ):
        spent = milliseconds(host), milliseconds(lambda d=device: jax.block_until_ready(d()))
        kind = jax.devices()[0].device_kind
        print(f"{name:8} host {spent[0]:6.2f} ms, {kind} {spent[1] / examples:6.2f} ms an example")


def milliseconds(function: Callable[[], Any], rounds: int = 9) -> float:
    """The median time of a call by the clock, after one that is not counted."""
    function()
    spent = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        spent.append(1e3 * (time.perf_counter() - start))
    return float(np.median(spent))


def soak(root: pathlib.Path, count: int) -> None:
    data = pipeline.open_training(settings(root, "jpeg95"), 0)
    batches = data.batches(BATCH, threads=2)
    marks = []
    for number in range(count // 8):
        if number in (count // 80, count // 16) or number == count // 8 - 1:
            marks.append((8 * number, resident()))
        next(batches)
    print("; ".join(f"after {seen}: {size:.1f} MiB" for seen, size in marks))
    print(
        f"growth over the last {marks[-1][0] - marks[0][0]} examples: "
        f"{marks[-1][1] - marks[0][1]:+.1f} MiB"
    )


def resident() -> float:
    """MiB of memory that this process holds."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, help="kept here; default: a temporary folder")
    parser.add_argument("--samples", type=int, default=192)
    parser.add_argument("--workers", action="store_true")
    parser.add_argument("--soak", type=int, default=0)
    parser.add_argument("--device", action="store_true")
    arguments = parser.parse_args()
    flags.FLAGS.mark_as_parsed()  # grain's workers ask
    cv2.setNumThreads(0)
    memory.keep()  # as worker processes do
    if arguments.device:
        return devices()
    with tempfile.TemporaryDirectory() as temporary:
        root = arguments.data or pathlib.Path(temporary)
        make_files(root)
        for colour in STORES:
            prepare(root, colour)
        if arguments.soak:
            soak(root, arguments.soak)
        elif arguments.workers:
            scaling(root, arguments.samples)
        else:
            tables(root, arguments.samples)


if __name__ == "__main__":
    main()
