"""What a paper's module promises, and what it is given: the types behind `papers.module`."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple, Protocol, TypedDict

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from jaxmatte.errors import UserError


class Batch(TypedDict, total=False):
    """A batch on the device; a data set gives the entries that its paper reads.

    Pictures are float32 in 0..1, RGB, straight colours.
    """

    image: jax.Array  # [B, H, W, 3]
    alpha: jax.Array  # [B, H, W, 1]
    foreground: jax.Array  # [B, H, W, 3]
    background: jax.Array  # [B, H, W, 3]
    trimap: jax.Array  # [B, H, W, 1] in {0, 0.5, 1}
    dilation: jax.Array  # [B, H, W, 1] the dilated foreground, 0 or 1
    erosion: jax.Array  # [B, H, W, 1] the eroded foreground, 0 or 1
    plate: jax.Array  # [B, H, W, 3], the captured background
    label: jax.Array  # [B, H, W, 1] int32 class numbers, 255 where none counts
    mask: jax.Array  # [B] bool, false where the example is padding
    index: jax.Array  # [B] position in the data set
    size: jax.Array  # [B, 2] true height and width
    skipped: jax.Array  # [B] broken rows that this example stands in for
    teacher: dict[str, Any]  # outputs of the frozen copy, where `train.teacher` asks for one
    replicas: int  # over how many programs the batch is spread; the step sets it


# What `Model.__call__` returns: `alpha` [B, H, W, 1] in 0..1 and parts in the paper's words.
Outputs = dict[str, Any]
# What `objective` returns: term -> (total, weight). The step divides, after summing over replicas.
Objective = dict[str, tuple[jax.Array, jax.Array]]

# Channels of everything a model may name in `inputs`.
CHANNELS = {"image": 3, "trimap": 1, "plate": 3}


class Model(Protocol):
    """A paper's network: an `nn.Module` that names its inputs."""

    inputs: ClassVar[tuple[str, ...]]

    def __call__(self, *inputs: jax.Array, train: bool) -> Outputs:
        """`inputs`: the batch's entries of the class attribute's names, in its order."""


class Entry(NamedTuple):
    """Where a tensor of an official state dict belongs."""

    path: tuple[str, ...]  # collection, modules, leaf
    transform: str  # a key of weights.convert.TRANSFORMS


@dataclass(frozen=True)
class Official:
    """How the names of an official state dict map to a model's variables.

    Attributes:
      entries: official name -> where it belongs.
      tied: official name -> the name it is a second copy of, which must hold the same values.
      unused: regular expression of whole names -> why the model does not need them.
      partial: whether the model has variables that this layout does not know.
      rewrite: what becomes of the official state dict before names are looked up (DataParallel's
        `module.` is gone then), such as folding two tensors into one; None: nothing. It leaves
        alone what it does not know, so that it is named like all that is missing or unknown.
    """

    entries: Mapping[str, Entry]
    tied: Mapping[str, str] = field(default_factory=dict)
    unused: Mapping[str, str] = field(default_factory=dict)
    partial: bool = False
    rewrite: Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]] | None = None

    def reason(self, name: str) -> str | None:
        """Why the entry `name` is not used; None if it is none of the known ones."""
        for pattern, reason in self.unused.items():
            if re.fullmatch(pattern, name):
                return reason
        return None


class PaperModule(Protocol):
    """The public face of `jaxmatte.papers.<name>`, a module or a package."""

    Model: type[nn.Module]

    def objective(self, outputs: Outputs, batch: Batch, **options: Any) -> Objective:
        """The paper's loss terms."""

    def official(self, model: nn.Module, layout: str = "official") -> Official:
        """The map from the authors' names to ours."""


@lru_cache(maxsize=32)
def abstract_variables(model: nn.Module) -> dict[tuple[str, ...], jax.ShapeDtypeStruct]:
    """Every variable of a paper's model: (collection, modules, leaf) -> shape and dtype."""
    names: tuple[str, ...] = model.inputs
    inputs = [jax.ShapeDtypeStruct((1, 64, 64, CHANNELS[name]), jnp.float32) for name in names]
    key = jax.ShapeDtypeStruct((2,), jnp.uint32)

    def init(key, *inputs):
        return model.init(key, *inputs, train=False)

    return flatten_dict(jax.eval_shape(init, key, *inputs))


# Our leaf -> PyTorch's, and Paddle's.
TORCH_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
PADDLE_LEAVES = TORCH_LEAVES | {"mean": "_mean", "var": "_variance"}
# What PyTorch's files hold beside, for `Official.unused`.
TORCH_COUNTER = {r".*\.num_batches_tracked": "PyTorch's step counter"}


def require_sides(paper: str, image: jax.Array, multiple: int = 32) -> None:
    """Raises UserError where a side of `image` [B, H, W, 3] is no multiple of what it must be."""
    height, width = image.shape[1:3]
    if height % multiple or width % multiple or not height * width:
        raise UserError(
            f"{paper}: an image of {height} x {width}: height and width must be multiples of "
            f"{multiple}"
        )


def renamed(module: str, rules: Iterable[tuple[str, str]]) -> str | None:
    """`module` rewritten by the first of `rules` (pattern, replacement) that matches, else None."""
    for pattern, replacement in rules:
        if re.search(pattern, module):
            return re.sub(pattern, replacement, module)
    return None


def torch_entries(
    model: nn.Module,
    rename: Callable[[str], str | None],
    leaves: Mapping[str, str] = TORCH_LEAVES,
    transposed: str | None = None,
) -> dict[str, Entry]:
    """The entries of a foreign state dict, given the foreign name of each of our modules.

    Args:
      model: the paper's model.
      rename: our module's path, joined by "/", to the module's name in the state dict;
        None leaves a module out.
      leaves: our leaf to the foreign one.
      transposed: regular expression of our modules whose kernels are a transposed convolution's.
    """
    entries = {}
    for path, shape in abstract_variables(model).items():
        ours = "/".join(path[1:-1])
        module = rename(ours)
        if module is None:
            continue
        kernel = {4: "conv", 2: "dense"}
        transform = kernel[len(shape.shape)] if path[-1] == "kernel" else "same"
        if transform == "conv" and transposed and re.search(transposed, ours):
            transform = "transposed"
        entries[f"{module}.{leaves[path[-1]]}"] = Entry(path, transform)
    return entries
