"""From the authors' state dict to our variables, strictly: nothing is dropped or left unfilled."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import flax.linen as nn
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxmatte import papers
from jaxmatte.errors import UserError
from jaxmatte.papers.contract import Official, abstract_variables

# From a foreign tensor to ours; views, not copies.
TRANSFORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "same": lambda tensor: tensor,
    "conv": lambda tensor: tensor.transpose(2, 3, 1, 0),  # OIHW -> HWIO
    "transposed": lambda tensor: tensor.transpose(2, 3, 0, 1),  # IOHW -> HWIO
    "dense": lambda tensor: tensor.transpose(1, 0),  # OI -> IO
}


def convert(
    state: Mapping[str, np.ndarray], model: nn.Module, layout: str = "official"
) -> dict[str, Any]:
    """Converts a foreign state dict to the model's variables.

    Every entry of `state` must be used, be the equal twin of a used one, or be known as unused;
    every variable of the model must be filled, except where the layout covers a part only
    (such as an encoder's): then that part is returned, for `merge`.

    Args:
      state: name -> tensor, as `read` gives it.
      model: a paper's model.
      layout: one of the public layouts that the paper's `official` knows.

    Returns:
      {"params": ..., "batch_stats": ...}, float32 NumPy arrays (views where possible).

    Raises:
      UserError: naming what is missing, unknown, misshaped or untied.
    """
    official = papers.module_of(model).official(model, layout)
    state = _without_module(state)
    if official.rewrite:
        state = dict(official.rewrite(state))
    _check_names(state, official, layout)
    shapes = abstract_variables(model)
    variables: dict[tuple[str, ...], np.ndarray] = {}
    misshaped = []
    for name, (path, transform) in official.entries.items():
        foreign = state[name] if name in state else state[_twins(official, name)[0]]
        expected = shapes[path].shape
        # A kernel of another rank cannot be transposed; it is misshaped all the same.
        fits = foreign.ndim == len(expected)
        tensor = TRANSFORMS[transform](foreign) if fits else foreign
        if tensor.shape != expected:
            misshaped.append(f"{name} {tensor.shape} where the model has {expected}")
        variables[path] = tensor.astype(np.float32, copy=False)
    if misshaped:
        raise UserError(
            f"{_listed(misshaped)} (in our layout): not the weights of this variant of the model"
        )
    unfilled = [] if official.partial else ["/".join(p) for p in shapes if p not in variables]
    if unfilled:
        raise UserError(f"layout {layout!r} does not fill {_listed(unfilled)} of the model")
    return unflatten_dict(variables)


def merge(variables: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    """`variables` with those of `part` in their place, for instance a pretrained encoder's.

    Raises:
      UserError: if `part` has a variable that `variables` lacks or that has another shape.
    """
    # A model without BatchNorm has no statistics, but a place for them.
    merged = flatten_dict(variables, keep_empty_nodes=True)
    wrong = []
    for path, value in flatten_dict(part).items():
        if path not in merged:
            wrong.append(f"{'/'.join(path)} (unknown)")
        elif merged[path].shape != value.shape:
            wrong.append(f"{'/'.join(path)} {value.shape} for {merged[path].shape}")
        merged[path] = value
    if wrong:
        raise UserError(f"these weights do not fit the model: {_listed(wrong)}")
    return unflatten_dict(merged)


def _without_module(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Strips the `module.` that PyTorch's DataParallel puts before every name."""
    prefix = "module."
    if all(name.startswith(prefix) for name in state):
        return {name.removeprefix(prefix): value for name, value in state.items()}
    return dict(state)


def _twins(official: Official, name: str) -> list[str]:
    return [twin for twin, original in official.tied.items() if original == name]


def _check_names(state: Mapping[str, np.ndarray], official: Official, layout: str) -> None:
    """Raises UserError on unknown, missing and untied entries."""
    missing = set(official.entries) - set(state)
    missing -= {original for twin, original in official.tied.items() if twin in state}
    known = {*official.entries, *official.tied}
    extra = [name for name in state if name not in known and official.reason(name) is None]
    problems = []
    if missing:
        problems.append(f"lack {_listed(sorted(missing))}")
    if extra:
        problems.append(f"hold unknown {_listed(extra)}")
    untied = [
        f"{twin} (against {original})"
        for twin, original in official.tied.items()
        if twin in state and original in state and not _equal(state[twin], state[original])
    ]
    if untied:
        problems.append(f"hold two different copies of {_listed(untied)}")
    if problems:
        message = "; they ".join(problems)
        raise UserError(f"these weights are not in layout {layout!r} of the model: they {message}")


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    return one is other or np.array_equal(one, other)


def _listed(names: Iterable[str], most: int = 5) -> str:
    """The first few names, and how many there are when they are more."""
    names = list(names)
    more = f" and {len(names) - most} more ({len(names)} in all)" if len(names) > most else ""
    return ", ".join(names[:most]) + more
