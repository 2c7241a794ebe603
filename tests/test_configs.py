"""Every configuration loads, locks, survives JSON, builds its model, and says what it records."""

import importlib
import inspect
import json
import pathlib

import jax
import ml_collections
import pytest

from configs import common, gfm
from jaxmatte import inference, papers
from jaxmatte.data import routes
from jaxmatte.engine import optimizer, state

FILES = [p.stem for p in (pathlib.Path(__file__).parent.parent / "configs").glob("*.py")]
PAPERS = sorted(name for name in FILES if name not in ("__init__", "common", "routes"))
MODULES = {name: importlib.import_module(f"configs.{name}") for name in PAPERS}
VARIANTS = [(name, arguments) for name in PAPERS for arguments in ("", *MODULES[name].VARIANTS)]


def test_there_is_one_for_every_paper():
    assert tuple(PAPERS) == papers.names()


@pytest.mark.parametrize("name", PAPERS)
def test_the_docstring_is_the_record_of_a_paper(name):
    text = MODULES[name].__doc__
    for part in ("arXiv", "python -m jaxmatte.main --config=configs/", "Expected", "Departs"):
        assert part in text, part


@pytest.mark.parametrize(("name", "arguments"), VARIANTS)
def test_loads_locks_round_trips_and_builds(name, arguments):
    config = MODULES[name].get_config(arguments).lock()
    with pytest.raises(AttributeError):
        config.optimizer.lrr = 1
    again = ml_collections.ConfigDict(json.loads(config.to_json()))
    assert json.loads(again.to_json()) == json.loads(config.to_json())
    assert config.paper == name
    assert config.name.startswith(name)
    papers.build(config.paper, **config.model)
    # What the objective, the route and the rule are given is known to them.
    objective = papers.module(name).objective
    inspect.signature(objective).bind_partial({}, {}, **config.objective)
    routes.find(config.data.route)
    inference.get(config.evaluation.rule)


@pytest.mark.parametrize("name", PAPERS)
def test_variants_name_every_choice(name):
    module = MODULES[name]
    text = " ".join(module.VARIANTS)
    assert all(f"track={track}" in text for track in module.TRACKS)
    assert "track=studio" in text


@pytest.mark.parametrize("name", PAPERS)
def test_what_there_is_not_is_named(name):
    with pytest.raises(ValueError, match=r"track='nowhere' is not known; .*studio"):
        MODULES[name].get_config("track=nowhere")


@pytest.mark.parametrize("rosta", gfm.ROSTAS)
def test_gfm_makes_the_labels_that_its_rosta_needs(rosta):
    config = gfm.get_config(f"rosta={rosta}")
    assert config.model.rosta == config.objective.rosta == rosta
    assert config.data.labels.bands == (rosta != "TT")


def test_the_mode_of_the_objective_follows_the_model():
    config = gfm.get_config("track=ori")
    config.model.rosta = "BT"
    assert config.objective.rosta == "BT"


def test_the_papers_recipe():
    config = gfm.get_config("track=ori,encoder=d121")
    assert (config.optimizer.name, config.optimizer.learning_rate) == ("adam", 1e-5)
    assert (config.train.batch, config.train.total) == (32, "500 epochs")
    assert gfm.get_config("track=rssn").train.total == "100 epochs"
    assert config.data.crop.sizes == (640, 960, 1280)
    assert (config.data.size, config.data.labels.trimap, config.data.labels.band) == (320, 25, 50)
    assert config.evaluation.rule == "gfm_hybrid"
    assert config.model.width == 1.0


def test_groups_and_freezing_reach_the_parameters_of_the_paper():
    config = gfm.get_config()
    model = papers.build(config.paper, **config.model)
    shapes = jax.eval_shape(lambda key: state.initial_variables(model, key), jax.random.key(0))
    config.optimizer.freeze = ("^encoder/",)
    config.optimizer.groups = (("^glance", 0.1),)
    built = optimizer.build(config.optimizer, shapes["params"], lambda step: 1e-3)
    jax.eval_shape(built.init, shapes["params"])


@pytest.mark.parametrize(
    ("text", "told"),
    [("trak=ori", "did you mean track"), ("track", "needs a value"), ("size=big", "is a int")],
)
def test_arguments_that_make_no_sense(text, told):
    with pytest.raises(ValueError, match=told):
        common.parse(text, track="studio", size=1)


def test_arguments_keep_the_type_of_their_default():
    parsed = common.parse("size=3,fast=true, name=x", size=1, fast=False, name="", other=2.0)
    assert parsed.to_dict() == {"size": 3, "fast": True, "name": "x", "other": 2.0}
    with pytest.raises(ValueError, match="true or false"):
        common.parse("fast=maybe", fast=False)
