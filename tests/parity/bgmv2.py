"""BGMv2's fixtures: which cases there are, their weights and their pictures."""

import gzip
import json
import pathlib
from functools import cache

import jax.numpy as jnp
import numpy as np

from jaxmatte import weights
from tests.parity import fill

_HERE = pathlib.Path(__file__).parent
NUMBERS = json.loads(gzip.decompress((_HERE / "bgmv2.json.gz").read_bytes()))
NETWORKS, CASES = NUMBERS["networks"], NUMBERS["cases"]
# Every so-manieth pixel of what is at the picture's size; of coarse maps every second.
_STEPS = {"alpha": 3, "error": 3, "hidden": 3, "foreground": 5, "refined": 1}
KERNEL1 = ("refiner.conv1", "refiner.conv2", "refiner.conv3", "refiner.conv4")


def tensors(case):
    """The published checkpoint of a case by the fixtures' rule, name -> shape."""
    fields = CASES[case]["fields"]
    shapes = dict(NETWORKS[fields["encoder"]])
    if fields["refine"] == "none":
        return {name: shape for name, shape in shapes.items() if not name.startswith("refiner")}
    if fields.get("kernel") == 1:
        shapes |= {f"{name}.weight": [*shapes[f"{name}.weight"][:2], 1, 1] for name in KERNEL1}
    return shapes


def state(case):
    """The same, filled."""
    gain = CASES[case]["gain"]
    return {name: fill.tensor(name, shape, gain) for name, shape in tensors(case).items()}


@cache
def variables(model, case):
    """The model's variables of a case."""
    return weights.convert(state(case), model)


def pictures(case):
    """Image and plate, [B, H, W, 3]."""
    shape = (*CASES[case]["shape"], 3)
    return tuple(jnp.asarray(fill.picture(f"bgmv2/{name}", shape)) for name in ("src", "bgr"))


def wanted(case):
    """What the published network gives, thinned."""
    with np.load(_HERE / "bgmv2_networks.npz") as file:
        return {n.removeprefix(f"{case}/"): v for n, v in file.items() if n.startswith(f"{case}/")}


def thinned(name, values):
    """What the fixtures keep of an output."""
    step = _STEPS.get(name, 2)
    values = np.asarray(values)[:, ::step, ::step]
    return values[..., :1] if name == "hidden" else values
