"""The smallest run of the real command, shared so that its programs compile once."""

import os
import pathlib
import signal
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent
OVERRIDES = {
    "model.width": 0.0625,
    "data.studio.scene": 64,
    "data.studio.train": 8,
    "data.studio.validation": 4,
    "data.crop.sizes": "(48,64)",
    "data.crop.fallback": 48,
    "data.size": 64,
    "train.batch": 4,
    "train.total": "6 steps",
    # A rate that still changes after step 4, whatever the total: a run that is stopped and one of
    # 4000 steps are the same program.
    "optimizer.schedule": "step",
    "optimizer.step_at": "('5 steps',)",
    "optimizer.warmup": "4 steps",
    "evaluation.every": "3 steps",
    "evaluation.batch": 4,
    "evaluation.pictures": 2,
    "checkpoint.every": "3 steps",
    "log.every": "1 steps",
    "log.tensorboard": False,
}


def arguments(workdir: pathlib.Path | str, config: str = "configs/gfm.py", **changes) -> list[str]:
    """Flags of the tiny run; `changes` name fields with __ for the dot."""
    fields = OVERRIDES | {name.replace("__", "."): value for name, value in changes.items()}
    flags = [f"--config.{name}={value}" for name, value in fields.items()]
    return [f"--config={config}", f"--workdir={workdir}", *flags]


def environment(devices: int = 1) -> dict[str, str]:
    """One that does not inherit the eight devices of the tests, but shares their compiled code."""
    import jax

    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JAXMATTE_", "XLA_FLAGS"))}
    return kept | {
        "JAX_PLATFORMS": "cpu",
        "NPROC": "32",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir or "",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
        "PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
    }


def start(
    flags: list[str], devices: int = 1, command: tuple[str, ...] = (), **extra
) -> subprocess.Popen:
    """Starts the command as a user does."""
    return subprocess.Popen(
        [*(command or (sys.executable, "-m", "jaxmatte.main")), *flags],
        cwd=extra.pop("cwd", ROOT),
        env=environment(devices) | extra.pop("env", {}),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **extra,
    )


def run(flags: list[str], devices: int = 1, **extra) -> subprocess.CompletedProcess:
    """Runs the command to its end."""
    process = start(flags, devices, start_new_session=True, **extra)
    try:
        out, err = process.communicate(timeout=400)
    except BaseException:  # it and what it started would go on
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
