"""The fields that every configuration has, with defaults that hold for most papers.

A paper's file calls `base()`, fills in what the paper says and returns the whole. Durations are
strings: "600 steps", "500 epochs" or, below the total, "5%".
"""

import difflib
from typing import Any

import ml_collections


def base() -> ml_collections.ConfigDict:
    """A configuration that still lacks its paper."""
    config = ml_collections.ConfigDict()
    config.name = ""  # names the default working directory, runs/NAME
    config.paper = ""  # a module of jaxmatte/papers
    config.seed = 0
    config.model = ml_collections.ConfigDict()  # the fields of the paper's Model
    config.objective = ml_collections.ConfigDict()  # the options of the paper's objective
    # Weights to start from: a file of the authors (layout "official"), an ImageNet checkpoint of
    # the encoder (layout "imagenet"), or the working directory of an earlier run ("jaxmatte").
    config.init = ml_collections.ConfigDict({"weights": "", "layout": "imagenet"})
    config.data = _data()
    config.train = ml_collections.ConfigDict(
        {
            "total": "100 epochs",
            "batch": 32,
            # What BatchNorms normalise by: "batch" (its own statistics, and the running ones
            # learn), or "running" (those as they are; scale and bias still learn).
            "statistics": "batch",
            # How often the frozen copy is taken anew that the objective reads as `teacher`, such
            # as "1 epochs"; "": there is none.
            "teacher": "",
        }
    )
    config.optimizer = _optimizer()
    config.evaluation = _evaluation()
    config.checkpoint = ml_collections.ConfigDict(
        {
            "every": "1 epochs",
            "keep": 2,  # the newest so many, and the best one
            "best": "mad",  # a column of the evaluation; of mIoU the highest, else the lowest
            "asynchronous": True,
        }
    )
    config.log = ml_collections.ConfigDict({"every": "10 steps", "tensorboard": True})
    # jit: one program over all devices, batch statistics of the global batch.
    # pmap: a program per device; model.bn_axis "data" synchronises the statistics, None does not.
    config.parallel = ml_collections.ConfigDict({"mode": "jit"})
    # Where compiled programs are kept: "user" (the user's cache folder), "" (nowhere), or a path.
    config.compilation_cache = "user"
    return config


def _data() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {
            # studio (built in) | folder | set (of the catalog) | store (prepared) | tfds
            "source": "folder",
            "root": "",  # the directory below which all that follows lies
            "images": "",  # source=folder: folders of files with the same names
            "alphas": "",
            "foregrounds": "",  # straight foreground colours, where they are on file
            "trimaps": "",
            "cutouts": "",  # RGBA pictures, instead of images + alphas
            "set": "",  # source=set: a name that `python -m jaxmatte.data list` prints
            "split": "train",  # source=set, source=tfds
            "store": "",  # source=store: what `python -m jaxmatte.data prepare` wrote
            "tfds": "",  # source=tfds: the name of a prepared builder
            "backgrounds": "",  # a folder of pictures, or a prepared store of them
            "backgrounds_per_foreground": 1,
            "pairing": "random",  # random (anew each epoch) | fixed (in order, for ever)
            # Where there is no file of foreground colours: estimate (blur fusion), image (the
            # picture itself), or premultiplied (alpha times the picture, as GFM's code has it).
            "foreground": "estimate",
            "studio": {
                "train": 1024,
                "validation": 64,
                "test": 64,
                "scene": 512,  # side of a rendered scene in pixels
                "mode": "mixed",  # natural | composite | mixed
                "cache": True,  # keep rendered scenes in memory
            },
            "route": "",  # a module of jaxmatte/data/routes; configs/routes.py gives its fields
            "broken": "stop",  # at a row that cannot be read: stop | skip (and count)
            "threads": 2,
            "workers": 0,  # processes that read; 0: threads only
            "prefetch": 4,  # batches read ahead
        }
    )


def _optimizer() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {
            "name": "adam",  # adam | adamw | sgd
            "learning_rate": 1e-4,
            "schedule": "constant",  # constant | cosine | linear | polynomial | step
            "power": 0.9,  # polynomial: the rate falls as (1 - t / T) to this power
            "final": 0.0,  # cosine, linear, polynomial: the last rate as a share of the first
            "warmup": "0 steps",
            "warmup_shape": "linear",  # linear | exponential
            # The rate of update 0 as a share of the full one. 0: none is lost on a rate of 0, the
            # first of N updates has 1/N.
            "warmup_from": 0.0,
            "step_at": (),  # step: durations at which the rate falls, such as ("50%", "75%")
            "step_factor": 0.1,
            "momentum": 0.9,  # sgd
            "betas": (0.9, 0.999),
            "epsilon": 1e-8,
            "weight_decay": 0.0,
            "decay_pattern": "kernel$",  # decay what this regular expression finds in the path
            "groups": (),  # ((regular expression, factor of the learning rate), ...); first match
            "freeze": (),  # regular expressions of parameters that stay as they are
            "clip": 0.0,  # largest global norm of the gradient; 0: no clipping
            # Largest global norm as a multiple of the running mean of those before; 0: no clipping.
            "clip_running": 0.0,
            "accumulate": 1,  # batches an update
            "ema": 0.0,  # decay of the averaged parameters that evaluation uses; 0: none
        }
    )


def _evaluation() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {
            "every": "1 epochs",
            "split": "validation",  # source=studio: validation | test; source=set, source=tfds
            "images": "",  # as in `data`, whose source and root it shares
            "alphas": "",
            "trimaps": "",
            # Backgrounds captured apart, for papers that take one; else made of the backgrounds.
            "plates": "",
            "set": "",
            "store": "",
            "tfds": "",
            # What is measured: mattes, or classes (mIoU; of labels on file, or made of alphas).
            "kind": "mattes",
            "names": (),  # kind=classes: what tables call the classes
            # Where trimaps come from if not from file, for papers that take one: the working
            # directory of a trained segmenter (configs/bisenetv2.py:task=trimap), and by how many
            # pixels the unknown is widened, so that the matting network has room.
            "segmenter": {"workdir": "", "widen": 0},
            "rule": "direct",
            "options": {},  # of the rule; it also sees the fields of the model
            "model": {},  # fields of the model that are others here than in training
            # How it is measured (jaxmatte/metrics/protocols.py): a name, or several with commas
            # between. The first one's MAD is what `checkpoint.best` means by "mad".
            "protocol": "gfm",
            "metrics": ("sad", "mse", "mad", "grad", "conn"),
            "connectivity": "host",  # Conn by the host's threads, or on the device: host | device
            "batch": 8,  # pictures a device takes at a time
            "pictures": 6,  # rows of the picture grid
            "checkpoint": "best",  # mode=eval: best | last
            # Several sets: {name: {field: value}}, each this group with its own fields, such as
            # {"faces": {"split": "P3M-500-NP"}}. The first one's scores choose the best checkpoint.
            "sets": {},
        }
    )


def parse(arguments: str, **defaults: Any) -> ml_collections.ConfigDict:
    """Reads "key=value,key=value" into a copy of the defaults, keeping their types."""
    values = dict(defaults)
    for item in filter(None, (part.strip() for part in (arguments or "").split(","))):
        name, equals, text = item.partition("=")
        if name not in defaults:
            near = difflib.get_close_matches(name, defaults, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(defaults)}"
            raise ValueError(f"unknown argument {name!r} of the config; {hint}")
        if not equals:
            raise ValueError(f"argument {name!r} of the config needs a value: {name}=...")
        values[name] = _cast(name, text, type(defaults[name]))
    return ml_collections.ConfigDict(values)


def _cast(name: str, text: str, kind: type) -> Any:
    if kind is bool:
        if text.lower() not in ("true", "false", "1", "0"):
            raise ValueError(f"argument {name!r} of the config is true or false, not {text!r}")
        return text.lower() in ("true", "1")
    try:
        return kind(text)
    except ValueError:
        raise ValueError(
            f"argument {name!r} of the config is a {kind.__name__}, not {text!r}"
        ) from None


def choose(name: str, value: str, choices: tuple[str, ...]) -> str:
    """Returns the value, or says which ones there are."""
    if value in choices:
        return value
    near = difflib.get_close_matches(value, choices, 1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise ValueError(f"{name}={value!r} is not known; {hint}There are: {', '.join(choices)}")
