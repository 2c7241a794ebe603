"""MODNet's self-supervised adaptation as a run: it needs a trained network, and it resumes."""

import json
import shutil

import pytest

from configs import modnet
from jaxmatte.errors import UserError
from jaxmatte.train import train


def tiny(task, path, **changes):
    config = modnet.get_config(f"task={task}")
    config.model.width = 0.0625
    config.data.studio.update({"scene": 64, "train": 16, "validation": 8})
    config.data.size = 64
    if task == "supervised":
        config.data.longer = (64, 80)
    config.train.batch = 8
    config.train.total = "6 steps"
    config.evaluation.every = config.checkpoint.every = "3 steps"
    config.evaluation.batch = 1
    config.log.update({"every": "1 steps", "tensorboard": False})
    config.init.weights = str(path)
    for group, fields in changes.items():
        config[group].update(fields)
    return config.lock()


def digest(path, step):
    """The sums of every leaf of a checkpoint, which change with any bit."""
    record = path / f"checkpoints/{step}/record/metadata"
    return json.loads(record.read_text())["digest"]


def test_without_a_trained_network_there_is_nothing_to_adapt(tmp_path):
    with pytest.raises(UserError, match=r"give init\.weights"):
        train(tiny("soc", ""), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_it_resumes_to_the_bit_with_its_frozen_copy(tmp_path):
    """From between two renewals of the copy, which the checkpoint so must hold."""
    train(tiny("supervised", ""), tmp_path / "trained")
    config = tiny("soc", tmp_path / "trained", train={"teacher": "2 steps"})
    train(config, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "resumed")
    shutil.rmtree(tmp_path / "resumed/checkpoints/6")
    train(config, tmp_path / "resumed")
    whole, resumed = (digest(tmp_path / name, 6) for name in ("whole", "resumed"))
    assert whole == resumed
    assert any(name.startswith("teacher/") for name in whole)
    lines = (tmp_path / "whole/metrics.jsonl").read_text().splitlines()
    first = next(json.loads(line) for line in lines if "train/detail" in line)
    assert first["step"] == 1
    assert first["train/detail"] < 1e-6  # student and copy are one until the first step
    # The statistics that the network normalises by are those of the training before.
    before = digest(tmp_path / "trained", 6)
    same = [name for name in whole if name.startswith("batch_stats/")]
    assert same
    assert all(whole[name] == before[name] for name in same)
    # The studio adapts what sees semantics; details are left as they are.
    adapted = {name for name in whole if name.startswith("params/") and whole[name] != before[name]}
    assert {name.split("/")[1] for name in adapted} == {"encoder", "semantic"}
