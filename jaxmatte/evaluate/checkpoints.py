"""Checkpoints on sets: the verb behind --mode=eval, and what training measures by."""

import pathlib
from typing import Any

from flax import linen as nn
from ml_collections import ConfigDict

from jaxmatte import papers
from jaxmatte.engine import pictures
from jaxmatte.engine.parallel import Parallel, initialize, is_main
from jaxmatte.engine.state import frozen
from jaxmatte.engine.writer import write_atomically
from jaxmatte.evaluate import classes, loading, mattes, report, settings

TABLES = "evaluations"
EVALUATORS: dict[str, Any] = {"mattes": mattes.Evaluator, "classes": classes.Evaluator}

Evaluation = mattes.Evaluation | classes.Evaluation
Evaluator = mattes.Evaluator | classes.Evaluator


def evaluators(config: ConfigDict, model: nn.Module, parallel: Parallel) -> dict[str, Evaluator]:
    """One for each of `evaluation.sets`, by its name; without any, one for the group itself, "".

    Args:
        config: The whole configuration.
        model: Whose states are measured; `evaluation.model` may change fields of it.
        parallel: Where they are.
    """
    found = settings.of_sets(config.evaluation)
    return {
        name: EVALUATORS[group.kind](
            config, group, papers.changed(model, config.paper, group.model), parallel, name
        )
        for name, group in found.items()
    }


def write(evaluation: Evaluation, folder: pathlib.Path, name: str) -> None:
    """Writes the summary as JSON, the means as a table and the rows as CSV."""
    write_atomically(folder / f"{name}.json", report.as_json(evaluation.summary()))
    write_atomically(folder / f"{name}.md", evaluation.page())
    write_atomically(folder / f"{name}.csv", evaluation.table())


def evaluate(config: ConfigDict, path: pathlib.Path) -> dict[str, Evaluation]:
    """Measures a checkpoint of a working directory: the verb behind --mode=eval.

    Args:
        config: The configuration of the run; what it says of `evaluation` may differ.
        path: The working directory.

    Returns:
        What was found, by the names of `evaluation.sets` ("" where there are none).
    """
    initialize()
    which = config.evaluation.checkpoint
    model, variables, step = loading.trained(config, path, which)
    found = {}
    for name, evaluator in evaluators(config, model, Parallel("jit")).items():
        evaluation = evaluator.run(frozen(variables, step))
        assert evaluation is not None  # nothing was there to stop it
        found[name] = evaluation
        if is_main():
            file = table_name(f"{which}_{step:07d}", name)
            write(evaluation, path / TABLES, file)
            write_atomically(path / TABLES / f"{file}.png", pictures.encode(evaluation.picture))
            print(evaluation.line())
            print(f"checkpoint {step} ({which}); all of it: {path / TABLES}/{file}.*")
    return found


def table_name(stem: str, name: str) -> str:
    """What the files of an evaluation are called: of the set too, where sets have names."""
    return f"{stem}_{name}" if name else stem
