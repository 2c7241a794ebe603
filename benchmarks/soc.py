"""How much does the self-supervised adaptation lower the error on another kind of picture?

python benchmarks/soc.py              trains and adapts for 3 seeds, prints a table (about half an
                                      hour on two cores)
python benchmarks/soc.py --seeds 1 --quick      a few steps only, to see that it works

For each seed MODNet's studio configuration learns from `composite` scenes, in which subject and
background do not share light, blur and grain; then it adapts to `natural` scenes, of which it sees
no matte. Both networks are measured on scenes that neither has seen. What is adapted is the
checkpoint with the least error on composite scenes, and the last one after the adaptation counts:
no natural matte chooses anything. Options were chosen on `--split validation`.
"""

import argparse
import pathlib
import tempfile

import jax
import numpy as np
from absl import flags, logging
from ml_collections import ConfigDict

from configs import modnet
from jaxmatte import evaluate, inference, metrics
from jaxmatte.data import studio
from jaxmatte.engine import cache
from jaxmatte.train import train

MODES = ("composite", "natural")
COLUMNS = ("seed", "composite, before", "after", "natural, before", "after", "change")


def configurations(seed: int, path: pathlib.Path, quick: bool) -> tuple[ConfigDict, ConfigDict]:
    """What is trained on composite scenes, and how it adapts to natural ones."""
    first, second = (modnet.get_config(f"task={t},encoder=resnet34") for t in modnet.TASKS)
    first.data.studio.mode, second.data.studio.mode = MODES
    second.init.weights = str(path / "composite")
    for config in (first, second):
        config.seed = seed
        config.log.tensorboard = False
        if quick:
            config.train.total = config.evaluation.every = config.checkpoint.every = "4 steps"
            config.data.studio.train, config.data.studio.validation = 16, 8
            config.model.width = 0.0625
    return first.lock(), second.lock()


def errors(
    config: ConfigDict, path: pathlib.Path, which: str, split: str, count: int
) -> dict[str, np.ndarray]:
    """MAD of a trained network on each of so many held-out scenes of each mode."""
    model, variables, _ = evaluate.load(config, path, which)

    def network(image: jax.Array) -> dict:
        return model.apply(variables, image, train=False)

    predict = jax.jit(lambda images: inference.direct(network, images / 255.0))
    settings, found = config.data.studio, {}
    for mode in MODES:
        scenes = studio.StudioSource(split, count, settings.scene, mode, config.seed)
        mads = []
        for start in range(0, count, 8):
            rows = [scenes[i] for i in range(start, min(start + 8, count))]
            mattes = np.asarray(predict(np.stack([row["image"] for row in rows])))[..., 0]
            mads += [
                metrics.mad(matte, row["alpha"], protocol="modnet")
                for matte, row in zip(mattes, rows, strict=True)
            ]
        found[mode] = np.array(mads)
    return found


def measure(
    seed: int, path: pathlib.Path, split: str, count: int, quick: bool
) -> tuple[list[float], float]:
    """MADs of one seed, on composite and on natural scenes, each before and after.

    The last number is the standard error of the change on natural scenes, each scene compared with
    itself.
    """
    first, second = configurations(seed, path, quick)
    train(first, path / "composite")
    train(second, path / "adapted")
    before = errors(first, path / "composite", "best", split, count)
    after = errors(second, path / "adapted", "last", split, count)
    means = [float(found[mode].mean()) for mode in MODES for found in (before, after)]
    change = after["natural"] - before["natural"]
    return means, float(change.std(ddof=1) / np.sqrt(count))


def row(name: str, mads: np.ndarray, error: float) -> str:
    cells = [f"{value:.4f}" for value in mads]
    change = f"{100 * (mads[3] / mads[2] - 1):+.1f} +- {100 * error / mads[2]:.1f} %"
    return f"| {' | '.join([name, *cells, change])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--scenes", type=int, default=512, help="held-out scenes of each mode")
    parser.add_argument("--quick", action="store_true", help="a few steps of a tiny network")
    parser.add_argument("--workdir", help="keeps the runs there, and goes on with them")
    options = parser.parse_args()
    flags.FLAGS.mark_as_parsed()
    logging.set_verbosity(logging.ERROR)
    cache.enable("user")
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(options.workdir or temporary)
        found = [
            measure(seed, folder / f"seed{seed}", options.split, options.scenes, options.quick)
            for seed in range(options.seeds)
        ]
    mads, deviations = np.array([means for means, _ in found]), np.array([e for _, e in found])
    print(f"MAD[modnet, whole] on {options.scenes} {options.split} scenes of the studio\n")
    print(f"| {' | '.join(COLUMNS)} |")
    print(f"|{' --- |' * len(COLUMNS)}")
    for seed, (means, error) in enumerate(found):
        print(row(str(seed), np.array(means), error))
    print(row("mean", mads.mean(0), float(np.sqrt(np.sum(deviations**2)) / len(found))))


if __name__ == "__main__":
    main()
