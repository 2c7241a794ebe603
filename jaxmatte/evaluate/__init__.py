"""Measuring: a checkpoint on a set (`checkpoints`), or any project's mattes on file (`folders`).

`python -m jaxmatte.evaluate --help` measures mattes on file.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxmatte.evaluate.checkpoints import (
        TABLES,
        Evaluation,
        Evaluator,
        evaluate,
        evaluators,
        table_name,
        write,
    )
    from jaxmatte.evaluate.loading import load

__all__ = [
    "TABLES",
    "Evaluation",
    "Evaluator",
    "evaluate",
    "evaluators",
    "load",
    "table_name",
    "write",
]


def __getattr__(name: str) -> Any:
    # On demand: mattes on file are measured without JAX, whose import takes seconds.
    if name in __all__:
        room = "loading" if name == "load" else "checkpoints"
        return getattr(importlib.import_module(f"jaxmatte.evaluate.{room}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
