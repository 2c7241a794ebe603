"""The working directory's records: which configuration, which versions, which commit."""

import datetime
import importlib.metadata
import json
import pathlib
import platform
import subprocess
import sys
from typing import Any

from ml_collections import ConfigDict

from jaxmatte.engine.writer import write_atomically
from jaxmatte.errors import UserError

CONFIG, ENVIRONMENT = "config.json", "environment.json"
PACKAGES = ("jaxmatte", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
# What may differ when a run goes on: it changes how training runs, not what it computes.
FREE = (
    "name",
    "compilation_cache",
    "checkpoint",
    "log",
    "evaluation",
    "data.threads",
    "data.workers",
    "data.prefetch",
    "data.studio.cache",
    "data.broken",  # a run that stopped at a broken row may go on without it
    "data.root",  # the fingerprint of the files' names is what counts
)


def record(workdir: pathlib.Path, config: ConfigDict, devices: str) -> None:
    """Writes config.json and environment.json, unless they are there."""
    if not (workdir / CONFIG).exists():
        write_atomically(workdir / CONFIG, json.dumps(to_plain(config), indent=2) + "\n")
    environment = {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "python": platform.python_version(),
        "machine": platform.platform(),
        "devices": devices,
        "commit": _commit(),
        "packages": {name: _version(name) for name in PACKAGES},
    }
    path = workdir / ENVIRONMENT
    earlier = json.loads(path.read_text()) if path.exists() else []
    write_atomically(path, json.dumps([*earlier, environment], indent=2) + "\n")


def require_same(workdir: pathlib.Path, config: ConfigDict) -> None:
    """Raises where the directory belongs to a run with another configuration."""
    path = workdir / CONFIG
    if not path.exists():
        return
    try:
        saved = _flatten(json.loads(path.read_text()))
    except ValueError as error:
        raise UserError(f"{path} is not the record of a run: {error}") from None
    asked = _flatten(json.loads(json.dumps(to_plain(config))))
    fields = [name for name in sorted(saved.keys() | asked.keys()) if not _is_free(name)]
    differing = [
        f"{name}: {saved.get(name, 'absent')!r} there, {asked.get(name, 'absent')!r} here"
        for name in fields
        if saved.get(name, "absent") != asked.get(name, "absent")
    ]
    if differing:
        raise UserError(
            f"{workdir} belongs to a run with another configuration ({'; '.join(differing)}); "
            "give the same one, or another --workdir"
        )


def to_plain(config: ConfigDict) -> dict[str, Any]:
    """The configuration as JSON has it."""
    return json.loads(config.to_json())


def _is_free(name: str) -> bool:
    return any(name == free or name.startswith(f"{free}.") for free in FREE)


def _flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        import jaxmatte

        return jaxmatte.__version__ if package == "jaxmatte" else None


def _commit() -> str | None:
    """The commit of the code, marked where files differ from it; None outside a checkout."""
    here = pathlib.Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
