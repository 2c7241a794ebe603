"""Deep Image Matting's stages: each goes on from the one before, and changes what it should."""

import re

import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from configs import dim
from jaxmatte import evaluate, papers
from jaxmatte.papers.contract import abstract_variables
from jaxmatte.train import train

LAYOUTS = [layout for layout in dim.LAYOUTS if layout != "foamliu"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_stage_starts_from_the_one_before(layout):
    first, second, third = (
        dim.get_config(f"track=stage{stage},layout={layout}") for stage in (1, 2, 3)
    )
    assert first.init.layout == "vgg16"
    assert second.init.weights == f"runs/{first.name}"
    assert third.init.weights == f"runs/{second.name}"
    assert second.init.layout == third.init.layout == "jaxmatte"
    assert [config.objective.stage for config in (first, second, third)] == [1, 2, 3]
    assert [config.model.refine for config in (first, second, third)] == [False, True, True]
    assert [config.data.trimap.redraw for config in (first, second, third)] == [True, False, True]
    # Stage 2 trains the refinement and nothing else; the others train everything.
    model = papers.build("dim", **second.model)
    for path in ("/".join(path[1:]) for path in abstract_variables(model)):
        frozen = any(re.search(pattern, path) for pattern in second.optimizer.freeze)
        assert frozen != path.startswith("refiner/")
    assert not first.optimizer.freeze
    assert not third.optimizer.freeze
    assert {config.evaluation.rule for config in (first, second, third)} == {
        "dim_hct" if layout.startswith("hct") else "dim"
    }


def test_the_studio_has_stages_too():
    names = [dim.get_config(f"stage={stage}").name for stage in (1, 2, 3)]
    assert names == ["dim_studio_mmagic", "dim_studio2_mmagic", "dim_studio3_mmagic"]
    assert dim.get_config("stage=3").init.weights == f"runs/{names[1]}"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("layout=foamliu,stage=2", "foamliu, which has no refinement"),
        ("track=stage2,layout=foamliu", "foamliu, which has no refinement"),
        ("track=stage2,stage=3", "only studio is asked for one"),
        ("stage=4", "stage='4' is not known"),
    ],
)
def test_stages_that_there_are_not(arguments, words):
    with pytest.raises(ValueError, match=words):
        dim.get_config(arguments)


def tiny(stage, weights):
    config = dim.get_config(f"stage={stage},layout=hct_v12")
    config.model.width = 0.125
    config.data.studio.update({"scene": 64, "train": 8, "validation": 8})
    config.data.size = 32
    config.data.crop.sizes = (32, 48)
    config.train.batch = 8
    config.train.total = "2 steps"
    config.optimizer.warmup = "0 steps"
    config.evaluation.every = config.checkpoint.every = "2 steps"
    config.evaluation.batch = 1
    config.log.update({"every": "1 steps", "tensorboard": False})
    config.init.weights = str(weights)
    return config.lock()


@pytest.mark.slow
def test_a_stage_keeps_what_it_was_given(tmp_path):
    """Encoder and decoder are those of stage 1 through stage 2, and learn again in stage 3."""
    params, before = [], ""
    for stage in (1, 2, 3):
        config = tiny(stage, before)
        before = tmp_path / f"stage{stage}"
        evaluation = train(config, before)
        assert 0 < evaluation.means["mad"] < 1
        _, variables, _ = evaluate.load(config, before, "last")
        params.append(flatten_dict(variables["params"], sep="/"))
    first, second, third = params
    assert {*second} - {*first} == {name for name in second if name.startswith("refiner/")}
    for name, value in first.items():
        np.testing.assert_array_equal(second[name], value)
    assert all((third[name] != value).any() for name, value in first.items())
    assert (third["refiner/conv1/kernel"] != second["refiner/conv1/kernel"]).any()
