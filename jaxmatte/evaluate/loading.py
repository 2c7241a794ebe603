"""Trained networks from working directories."""

import functools
import json
import pathlib
from typing import Any

import jax
from flax import linen as nn
from ml_collections import ConfigDict

from jaxmatte import papers
from jaxmatte.engine import workdir
from jaxmatte.engine.checkpoint import FOLDER, Checkpoints
from jaxmatte.engine.parallel import Parallel
from jaxmatte.engine.state import initial_variables
from jaxmatte.errors import UserError


def load(
    config: ConfigDict, path: pathlib.Path, which: str = "best"
) -> tuple[nn.Module, dict[str, Any], int]:
    """Reads a trained network from a working directory, to be used as it is measured.

    Args:
        config: The configuration of the run.
        path: The working directory.
        which: "best" or "last".

    Returns:
        The model as `evaluation.model` has it, its variables (the averaged ones where there are
        any) and their step.
    """
    model, variables, step = trained(config, path, which)
    # Runs recorded by earlier versions have no such field.
    return papers.changed(model, config.paper, config.evaluation.get("model", {})), variables, step


def trained(
    config: ConfigDict, path: pathlib.Path, which: str
) -> tuple[nn.Module, dict[str, Any], int]:
    """As `load`, with the model as it was trained."""
    if which not in ("best", "last"):
        raise UserError(f"evaluation.checkpoint={which!r}; there are: best, last")
    workdir.require_same(path, config)
    if not (path / FOLDER).is_dir():
        raise UserError(f"{path} has no {which} checkpoint; train first: --mode=train")
    parallel = Parallel("jit")
    model = papers.build(config.paper, **config.model)
    with Checkpoints(path, config.checkpoint, parallel) as checkpoints:
        step = checkpoints.best() if which == "best" else checkpoints.latest()
        if step is None:
            raise UserError(f"{path} has no {which} checkpoint; train first: --mode=train")
        shapes = jax.eval_shape(functools.partial(initial_variables, model), jax.random.key(0))
        return model, checkpoints.restore_variables(step, parallel.abstract(shapes)), step


def recorded(path: pathlib.Path) -> ConfigDict:
    """The configuration that a working directory was trained with."""
    try:
        return ConfigDict(json.loads((path / workdir.CONFIG).read_text()))
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} is no working directory of an earlier run: {reason}") from None
