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


def errors(config: ConfigDict, path: pathlib.Path, which: str, split: str) -> dict[str, float]:
    """MAD of a trained network on held-out scenes of each mode."""
    model, variables, _ = evaluate.load(config, path, which)

    def network(image: jax.Array) -> dict:
        return model.apply(variables, image, train=False)

    predict = jax.jit(lambda images: inference.direct(network, images / 255.0))
    settings, found = config.data.studio, {}
    for mode in MODES:
        count = settings[split]
        scenes = studio.StudioSource(split, count, settings.scene, mode, config.seed)
        mads = []
        for start in range(0, count, 8):
            rows = [scenes[i] for i in range(start, min(start + 8, count))]
            mattes = np.asarray(predict(np.stack([row["image"] for row in rows])))[..., 0]
            mads += [
                metrics.mad(matte, row["alpha"], protocol="modnet")
                for matte, row in zip(mattes, rows, strict=True)
            ]
        found[mode] = float(np.mean(mads))
    return found


def measure(seed: int, path: pathlib.Path, split: str, quick: bool) -> list[float]:
    """MADs of one seed: on composite and on natural scenes, each before and after."""
    first, second = configurations(seed, path, quick)
    train(first, path / "composite")
    train(second, path / "adapted")
    before = errors(first, path / "composite", "best", split)
    after = errors(second, path / "adapted", "last", split)
    return [found[mode] for mode in MODES for found in (before, after)]


def row(name: str, mads: np.ndarray) -> str:
    cells = [f"{value:.4f}" for value in mads]
    return f"| {' | '.join([name, *cells, f'{100 * (mads[3] / mads[2] - 1):+.1f} %'])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--quick", action="store_true", help="a few steps of a tiny network")
    parser.add_argument("--workdir", help="keeps the runs there, and goes on with them")
    options = parser.parse_args()
    flags.FLAGS.mark_as_parsed()
    logging.set_verbosity(logging.ERROR)
    cache.enable("user")
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(options.workdir or temporary)
        found = np.array(
            [
                measure(seed, folder / f"seed{seed}", options.split, options.quick)
                for seed in range(options.seeds)
            ]
        )
    print(f"MAD[modnet, whole] on {options.split} scenes of the studio\n")
    print(f"| {' | '.join(COLUMNS)} |")
    print(f"|{' --- |' * len(COLUMNS)}")
    for seed, mads in enumerate(found):
        print(row(str(seed), mads))
    print(row("mean", found.mean(0)))


if __name__ == "__main__":
    main()
