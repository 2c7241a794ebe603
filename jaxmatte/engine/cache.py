"""The persistent compilation cache: a program is compiled once on a machine, not once a run."""

import os
import pathlib

import jax


def enable(where: str) -> None:
    """Keeps compiled programs.

    Args:
        where: "user" for the user's cache folder, "" for nowhere, or a folder.
            `JAX_COMPILATION_CACHE_DIR`, where it is set, goes before "user".
    """
    if not where or (where == "user" and os.environ.get("JAX_COMPILATION_CACHE_DIR")):
        return
    home = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
    folder = home / "jaxmatte" / "compiled" if where == "user" else pathlib.Path(where)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
