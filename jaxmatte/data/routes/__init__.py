"""From a row to a training example: one module a paper, found by name.

Each has `example(row, pool, options, rng) -> {name: uint8 [h,w,C]}`, pure but for reading: `image`,
`alpha`, `foreground`, `background`, `trimap`, and what else the paper needs. `options` are those
that `configs/routes.py` gives under the same name.
"""

import difflib
import importlib
import pkgutil
from collections.abc import Callable

import numpy as np
from ml_collections import ConfigDict

from jaxmatte.data.pool import Pool
from jaxmatte.data.rows import Row
from jaxmatte.errors import UserError

Example = Callable[[Row, Pool, ConfigDict, np.random.Generator], dict[str, np.ndarray]]


def names() -> list[str]:
    """All routes."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def find(name: str) -> Example:
    """The route of a name."""
    if name not in names():
        near = difflib.get_close_matches(name, names(), 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"data.route={name!r} is not known; {hint}There are: {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}").example
