"""How fast are the metrics, beside plain implementations and beside decoding?

    python benchmarks/metrics.py                       all of it, on two cores (5 minutes)
    python benchmarks/metrics.py --pairs=0             the single metrics alone (2 minutes)
    python benchmarks/metrics.py --sides= --pairs=200  the evaluator alone
    python benchmarks/metrics.py --device              the batched versions of this backend too
    python benchmarks/metrics.py --sides=128 --rounds=1 --pairs=8 --side=256    a smoke test

Mattes are drawn: a body with 400 strands; the prediction is smoother, is off by 6 levels at edges
and by 1 inside, and has speckle; a noisy one has noise of 60 levels besides. All is bytes.

Three things are measured. Single metrics on one thread, the least of --rounds, beside what one
writes with scikit-image and SciPy (every threshold labelled, `regionprops` for the largest) and
beside ten bare labellings. The evaluator over --pairs files as a process of its own on --cores
cores, beside reading and decoding the same files and beside ten labellings of each pair, in as
many threads; what it takes beyond the labellings is told as a multiple of the decoding. Where the
machine has other work, seconds of processors tell more than the clock. With --device the batched
metrics, a batch of 8, beside the host's in threads. Files are in the page cache.
"""

import argparse
import functools
import itertools
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np

from jaxmatte import metrics

BASES = 50  # different pairs; files are these, flipped and shifted
STRANDS = 400
LEVELS = [-(-51 * k // 2) for k in range(1, 11)]  # ceil(25.5 k)
FLOOR = "ten labellings"
BATCH, DEVICE_SIDE = 8, 512

Matte = np.ndarray  # uint8 [H, W]


def draw(side: int, seed: int, noisy: bool = False) -> tuple[Matte, Matte]:
    """A prediction and its truth."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((side, side), np.uint8)
    middle, axes = np.array([0.5, 0.55]) * side, np.array([0.2, 0.3]) * side
    cv2.ellipse(truth, tuple(map(int, middle)), tuple(map(int, axes)), 0, 0, 360, 255, -1)
    for angle in rng.uniform(0, 2 * np.pi, STRANDS):
        root = middle + axes * [np.cos(angle), np.sin(angle)]
        tip = root + rng.normal(0, 0.06 * side, 2)
        ends = (tuple(map(int, end)) for end in (root, tip))
        cv2.line(truth, *ends, int(rng.integers(90, 255)), 1, cv2.LINE_AA)
    truth = cv2.GaussianBlur(truth, (0, 0), 1.2)
    found = cv2.GaussianBlur(truth, (0, 0), 1.5).astype(np.float32)
    found += rng.normal(0, 1, truth.shape) * np.where(truth == 255, 1, 6 * (truth > 0))
    speckle = rng.random(truth.shape) < 0.002
    found[speckle] = rng.integers(0, 255, np.count_nonzero(speckle))
    if noisy:
        found += rng.normal(0, 60, truth.shape)
    return np.clip(found, 0, 255).astype(np.uint8), truth


# Plain implementations: what one writes with NumPy, SciPy and scikit-image.


def plain_sad(prediction: Matte, truth: Matte) -> float:
    return float(np.abs(prediction / 255 - truth / 255).sum() / 1000)


def plain_mse(prediction: Matte, truth: Matte) -> float:
    return float(np.square(prediction / 255 - truth / 255).mean())


def plain_grad(prediction: Matte, truth: Matte) -> float:
    """GFM's: derivatives of a Gaussian as SciPy has them."""
    from scipy import ndimage

    def magnitude(matte: np.ndarray) -> np.ndarray:
        down = ndimage.gaussian_filter(matte, 1.4, order=(1, 0), output=np.float64)
        across = ndimage.gaussian_filter(matte, 1.4, order=(0, 1), output=np.float64)
        return np.hypot(down, across)

    difference = magnitude(prediction / 255) - magnitude(truth / 255)
    return float(np.square(difference).sum() / 10)


def plain_conn(prediction: Matte, truth: Matte) -> float:
    """Each threshold's largest component as scikit-image finds it, in double precision."""
    from skimage import measure

    predicted, true = prediction / 255, truth / 255
    level = np.full(truth.shape, -1.0)
    steps = np.arange(0, 1.1, 0.1)
    for below, threshold in itertools.pairwise(steps):
        labels = measure.label((predicted >= threshold) & (true >= threshold), connectivity=1)
        blobs = measure.regionprops(labels)
        largest = max(blobs, key=lambda blob: blob.area).label if blobs else -1
        level[(level == -1) & (labels != largest)] = below
    level[level == -1] = 1
    connected = []
    for matte in (predicted, true):
        distance = matte - level
        connected.append(1 - distance * (distance >= 0.15))
    return float(np.abs(connected[0] - connected[1]).sum() / 1000)


PLAIN = {"sad": plain_sad, "mse": plain_mse, "grad": plain_grad, "conn": plain_conn}


def level_sets(prediction: Matte, truth: Matte) -> list[Matte]:
    """Where both pass each of the ten thresholds."""
    both = cv2.min(prediction, truth)
    return [cv2.compare(both, float(level), cv2.CMP_GE) for level in LEVELS]


def label_all(sets: Sequence[Matte]) -> None:
    for passing in sets:
        cv2.connectedComponents(passing, connectivity=4)


def least(function: Callable[[], Any], rounds: int) -> tuple[float, Any]:
    """The least milliseconds by the clock, and what the function gives."""
    spent = []
    for _ in range(rounds):
        start = time.perf_counter()
        found = function()
        spent.append(1e3 * (time.perf_counter() - start))
    return min(spent), found


def print_single(sides: Sequence[int], rounds: int) -> None:
    """One metric, one pair, one thread, under GFM's protocol: its plain form is the shortest."""
    print("\nOne pair on one thread: milliseconds, and how far the values are apart")
    print(f"{'':23}{'ours':>9}{'plain':>10}{'times':>7}{'apart':>10}")
    for side in sides:
        for noisy in (False, True):
            pair = draw(side, 0, noisy)
            title = f"{side}{' noisy' if noisy else ''}"
            for name, plain in PLAIN.items():
                ours = functools.partial(getattr(metrics, name), *pair, protocol="gfm")
                (fast, value), (slow, wanted) = (
                    least(function, rounds) for function in (ours, functools.partial(plain, *pair))
                )
                apart = abs(value - wanted) / wanted
                print(
                    f"{title:12} {name:9} {fast:9.1f} {slow:9.1f} {slow / fast:6.1f} {apart:9.0e}"
                )
                if apart > 2e-6:
                    raise SystemExit(f"{name}: ours is {value!r}, the plain one's {wanted!r}")
            for name in ("grad", "conn"):
                fast, _ = least(functools.partial(getattr(metrics, name), *pair), rounds)
                print(f"{title:12} {name + ' dim':9} {fast:9.1f}")
            bare, _ = least(functools.partial(label_all, level_sets(*pair)), rounds)
            print(f"{title:12} {FLOOR:9} {bare:5.1f}")
    print("asked: conn at 2048 at least 8 times as fast")


# The evaluator, beside decoding.


def write_pairs(root: pathlib.Path, count: int, side: int, threads: int, trimaps: bool) -> None:
    """Writes `predictions` and `truth` (and `trimaps`), unless they are there."""
    folders = [root / name for name in ("predictions", "truth", *(["trimaps"] if trimaps else []))]
    if all(folder.is_dir() and len(list(folder.iterdir())) == count for folder in folders):
        return
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    with ThreadPoolExecutor(threads) as pool:
        bases = list(pool.map(functools.partial(draw, side), range(min(BASES, count))))

        def write(number: int) -> None:
            rng = np.random.default_rng(number)
            flip, *shift = int(rng.integers(-1, 3)), *rng.integers(-side // 32, side // 32, 2)
            prediction, truth = bases[number % len(bases)]
            kernel = np.ones((25, 25), np.uint8)
            marks = np.where(cv2.dilate(truth, kernel) > 0, np.uint8(128), np.uint8(0))
            marks[cv2.erode(truth, kernel) == 255] = 255
            for folder, plane in zip(folders, (prediction, truth, marks), strict=False):
                turned = plane if flip == 2 else cv2.flip(plane, flip)
                moved = np.roll(turned, shift, (0, 1))
                cv2.imwrite(str(folder / f"{number:05d}.png"), moved)

        list(pool.map(write, range(count)))


def decode(path: pathlib.Path) -> Matte:
    content = np.frombuffer(path.read_bytes(), np.uint8)
    return cv2.imdecode(content, cv2.IMREAD_UNCHANGED)


class Clock:
    """Seconds by the clock and of processors, also of processes that have ended."""

    def __init__(self) -> None:
        self.spent = np.zeros(2)

    def __enter__(self) -> "Clock":
        self.spent -= self._now()
        return self

    def __exit__(self, *_: object) -> None:
        self.spent += self._now()

    def _now(self) -> tuple[float, float]:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.perf_counter(), time.process_time() + children.ru_utime + children.ru_stime


def decode_all(paths: Sequence[pathlib.Path], pool: ThreadPoolExecutor) -> Clock:
    """Reads and decodes the files."""
    with Clock() as clock:
        for _ in pool.map(lambda path: decode(path).size, paths):
            pass
    return clock


def label_pairs(root: pathlib.Path, pool: ThreadPoolExecutor) -> Clock:
    """Labels ten level sets of each pair; what they are made of is not counted."""
    paths = sorted((root / "truth").iterdir())
    clock = Clock()
    for at in range(0, len(paths), 16):
        pairs = [(decode(root / "predictions" / p.name), decode(p)) for p in paths[at : at + 16]]
        sets = [level_sets(*pair) for pair in pairs]
        with clock:
            list(pool.map(label_all, sets))
    return clock


def evaluate(root: pathlib.Path, trimaps: bool) -> Clock:
    """Runs the evaluator as a process, from its start to its end."""
    out = root / "out"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "jaxmatte.evaluate", f"--out={out}", "--protocol=dim"]
    command += [f"--{name}={root / name}" for name in ("predictions", "truth")]
    command += [f"--trimaps={root / 'trimaps'}"] * trimaps
    with Clock() as clock:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return clock


def print_evaluator(root: pathlib.Path, count: int, side: int, cores: int, trimaps: bool) -> None:
    write_pairs(root / "all", count, side, cores, trimaps)
    write_pairs(root / "one", 1, side, cores, trimaps)
    folders = ("predictions", "truth", "trimaps")[: 3 if trimaps else 2]
    paths = [path for name in folders for path in sorted((root / "all" / name).iterdir())]
    size = sum(path.stat().st_size for path in paths)
    told = "with trimaps" if trimaps else "without trimaps"
    print(f"\n{count} pairs of {side} x {side}, {told}, {cores} threads; in this order, each twice")
    print(f"{len(paths)} files of {size / len(paths) / 1e3:.0f} kB, in the page cache")
    with ThreadPoolExecutor(cores) as pool:
        steps = {
            "reading and decoding": lambda: decode_all(paths, pool),
            FLOOR: lambda: label_pairs(root / "all", pool),
            "python -m jaxmatte.evaluate": lambda: evaluate(root / "all", trimaps),
            "the same for a single pair": lambda: evaluate(root / "one", trimaps),
        }
        decode_all(paths, pool)  # fills the page cache
        spent = {name: [step().spent for step in (steps[name],) * 2] for name in steps}
    print(f"{'seconds':28} {'by the clock':>16} {'of processors':>16}")
    for name, seconds in spent.items():
        columns = [", ".join(f"{s:.2f}" for s in both) for both in zip(*seconds, strict=True)]
        print(f"{name:28} {columns[0]:>16} {columns[1]:>16}")
    decoding, floor, whole, _ = (np.min(seconds, axis=0) for seconds in spent.values())
    ratio = (whole - floor) / decoding
    print(
        f"(evaluator - {FLOOR}) / decoding, by the clock: ({whole[0]:.2f} - {floor[0]:.2f}) / "
        f"{decoding[0]:.2f} = {ratio[0]:.2f} (at most 1.2); of processors: {ratio[1]:.2f}"
    )


def print_device(cores: int, rounds: int) -> None:
    """The batched metrics of JAX's backend beside the host's, whose threads take a pair each."""
    import jax

    from jaxmatte.metrics import device

    pairs = [draw(DEVICE_SIDE, seed) for seed in range(BATCH)]
    stacked = [jax.device_put(np.stack(mattes)[..., None]) for mattes in zip(*pairs, strict=True)]
    backend = f"{jax.default_backend()} ({jax.devices()[0].device_kind})"
    print(f"\nA batch of {BATCH} pairs of {DEVICE_SIDE}: milliseconds a pair, protocol dim")
    print(f"{'':18}{f'{cores} host threads':>16}   {backend}, jitted")
    for names in (("sad", "mse", "mad"), ("grad",), ("conn",)):
        batched = jax.jit(functools.partial(device.per_example, metrics=names))
        on_device = functools.partial(lambda f: jax.device_get(f(*stacked)), batched)
        on_device()  # compiles
        with ThreadPoolExecutor(cores) as pool:

            def on_host(names: Sequence[str] = names, pool: ThreadPoolExecutor = pool) -> list:
                return list(pool.map(lambda pair: metrics.measure(*pair, metrics=names), pairs))

            host, wanted = least(on_host, rounds)
        there, found = least(on_device, rounds)
        apart = max(
            abs(found[name][at] - scores[name]) / scores[name]
            for at, scores in enumerate(wanted)
            for name in names
        )
        title = ", ".join(names)
        print(f"{title:18}{host / BATCH:16.2f}   {there / BATCH:.2f} (apart {apart:.0e})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", default="1024,2048", help="of single pairs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pairs", type=int, default=1000, help="files for the evaluator; 0: none")
    parser.add_argument("--side", type=int, default=1024, help="of the evaluator's files")
    parser.add_argument("--trimaps", action="store_true", help="the evaluator is given trimaps")
    parser.add_argument("--cores", type=int, default=2, help="and threads")
    parser.add_argument("--data", type=pathlib.Path, help="kept here; default: a temporary folder")
    parser.add_argument("--device", action="store_true", help="the batched metrics too")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[: options.cores]
    os.sched_setaffinity(0, cores)  # the evaluator's process has the same
    cv2.setNumThreads(1)
    print(f"OpenCV {cv2.__version__}, NumPy {np.__version__}, {len(cores)} cores")
    if options.sides:
        print_single([int(side) for side in options.sides.split(",")], options.rounds)
    if options.pairs:
        with tempfile.TemporaryDirectory() as temporary:
            root = options.data or pathlib.Path(temporary)
            print_evaluator(root, options.pairs, options.side, len(cores), options.trimaps)
    if options.device:
        print_device(len(cores), options.rounds)


if __name__ == "__main__":
    main()
