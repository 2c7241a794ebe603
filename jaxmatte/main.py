"""The command: `python -m jaxmatte.main --config=configs/gfm.py [--workdir=DIR] [--mode=MODE]`."""

import difflib
import importlib.util
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from absl import app, flags, logging
from ml_collections import config_flags

from jaxmatte import memory
from jaxmatte.errors import UserError

_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "A file of configs/, with arguments: configs/gfm.py:track=rssn",
    lock_config=True,
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where the run keeps everything; runs/NAME if unset"
)
_MODE = flags.DEFINE_enum("mode", "train", ["train", "eval"], "train, or measure a checkpoint")


def main(_: Sequence[str]) -> None:
    """Does what the flags say."""
    from jaxmatte.engine import cache

    logging.set_verbosity(logging.ERROR)  # JAX and orbax tell every detail otherwise
    config = _CONFIG.value
    workdir = pathlib.Path(_WORKDIR.value or pathlib.Path("runs") / config.name)
    cache.enable(config.compilation_cache)
    if _MODE.value == "train":
        from jaxmatte.train import train

        train(config, workdir)
    else:
        from jaxmatte.evaluate import evaluate

        evaluate(config, workdir)


def parse_flags(
    arguments: list[str], values: Any = flags.FLAGS, holder: Any = _CONFIG
) -> list[str]:
    """Parses the command line; whatever is wrong with it becomes one line."""
    try:
        _require_fields(arguments)
        rest = values(arguments)
        if holder.value is None:
            raise UserError(f"give --config=FILE; there are: {_configs()}")
        if len(rest) > 1:
            raise UserError(f"unexpected arguments: {' '.join(rest[1:])}")
        return rest
    except flags.Error as error:
        raise UserError(_first_line(error)) from None


def _require_fields(arguments: Sequence[str]) -> None:
    """Checks the file and every --config.FIELD against it, before flags are made of them."""
    given = [a for a in arguments[1:] if a.lstrip("-").startswith(("config=", "config:"))]
    if not given:
        return
    config = _load(given[-1].partition("=")[2])
    for argument in arguments[1:]:
        name = argument.lstrip("-").partition("=")[0].removeprefix("no")
        if argument.startswith("-") and name.startswith("config."):
            _require_field(config, name.removeprefix("config."))


def _load(value: str) -> Any:
    path, _, arguments = value.partition(":")
    if not pathlib.Path(path).is_file():
        raise UserError(f"no config file {path!r}; there are: {_configs()}")
    try:
        return load_module(path).get_config(*([arguments] if ":" in value else []))
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path}: {_first_line(error)}") from error


def load_module(path: str) -> Any:
    """The module in a file, which need not be importable by name."""
    spec = importlib.util.spec_from_file_location("jaxmatte_config", path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _require_field(config: Any, name: str) -> None:
    node, done = config, "config"
    for part in name.split("."):
        names = list(node.keys()) if hasattr(node, "keys") else []
        if part not in names:
            near = difflib.get_close_matches(part, names, 1, cutoff=0.5)
            hint = f"did you mean {done}.{near[0]}?" if near else f"there are: {', '.join(names)}"
            raise UserError(f"no field {done}.{part}; {hint}")
        node, done = node[part], f"{done}.{part}"


def _configs() -> str:
    files = sorted(pathlib.Path("configs").glob("*.py"))
    return (
        ", ".join(str(f) for f in files if f.stem not in ("__init__", "common", "routes"))
        or "none here"
    )


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def run() -> None:
    """Runs the command; exits with 2 and one line where the input is bad."""
    try:
        app.run(main, flags_parser=parse_flags)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:  # while measuring; training saves first
        print("stopped", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    memory.in_large_pages()  # before JAX is loaded: it would be twice
    run()
