"""MODNet: portrait matting from one picture, without a trimap.

Ke, Sun, Li, Yan, Lau: MODNet: Real-Time Trimap-Free Portrait Matting via Objective Decomposition,
AAAI 2022 (arXiv 2011.11961; the first versions, of 2020, are called "Is a Green Screen Really
Necessary for Real-Time Portrait Matting?").

    python -m jaxmatte.main --config=configs/modnet.py
    python -m jaxmatte.main --config=configs/modnet.py:task=soc \
        --config.init.weights=runs/modnet_studio_mobilenet_v2_released
    python -m jaxmatte.main --config=configs/modnet.py:track=paper --config.data.root=DIR \
        --config.init.weights=mobilenetv2_human_seg.ckpt
    python -m jaxmatte.main --config=configs/modnet.py:track=paper,task=soc \
        --config.data.root=DIR --config.init.weights=modnet_photographic_portrait_matting.ckpt

Arguments: track studio | paper | paddleseg; task supervised | soc; variant released | easpp;
encoder mobilenet_v2 | resnet34 | resnet50 | resnet101 | hrnet_w18. The studio track is the default:
built-in scenes and a small model, so that the command works on a fresh machine. The others are for
portraits: DIR holds portraits/, backgrounds/, for the adaptation clips/ (frames, a folder a clip),
and PPM-100/ to measure on. Every folder name is a field of `config.data` or `config.evaluation`.

task=soc is the self-supervised adaptation: it goes on from a trained network (`init.weights`: the
working directory of a run with `init.layout=jaxmatte`, or the authors' file with "official") on
pictures without mattes. In the studio encoder and semantic branch adapt alone: with the branches of
details released too (`optimizer.freeze=()`) mattes become softer where semantics are soft. It
lowers the error little, and not for every seed: benchmarks/results/2026-11-22-cpu-soc.md.

Expected on PPM-100 (MSE, MAD, whole image, protocol modnet, rule modnet), as others cite the
paper's table: MODNet 0.0044, 0.0086; without a trimap BSHM 0.0063, 0.0114, HAtt 0.0067, 0.0137, SHM
0.0072, 0.0152; DIM with one 0.0016, 0.0067. The set as published differs from the measured one by a
few pictures. The released photographic weights were measured by others at MSE 0.0094, MAD 0.0146
(at 480 x 288). PaddleSeg's own training on 195 portraits: MSE 0.0053 with MobileNetV2, 0.0035 with
HRNet-W18. Cost, by the authors: 6.5 million parameters, 15.5 GMACs at 512 x 512, 67 frames a
second on a GTX 1080 Ti.

Departs from the released code and the paper, with the field that brings the other form:

- The published weights and code are of the paper's first versions: channel attention on the
  coarsest map. e-ASPP, of the last version, was never released, nor were its numbers:
  `variant=easpp` is built to the text's recipe, with dilations of ours (`model.rates`).
- `objective.form`: "released" is the published training function, "paper" the text's equations
  (another composition term, no term for the boundary; `objective.distance` is what the text leaves
  open), "paddleseg" what PaddleSeg trains with, the default of its track.
- In what the trimap knows, "released" compares the matte with the trimap: a matte of 0.9 to 1 there
  costs something whatever is predicted. "paddleseg" has no such floor.
- "released" averages details over the whole picture, "paddleseg" over the unknown region.
- SOC's boundary may be empty: the published code then divides by zero. Here such a picture is left
  out of the batch's mean.
- The data is private and its loader unreleased; composition, scale, flips and
  trimaps are as the author describes them (`configs/routes.py`), ranges of colour are of ours.
- The demos cut mattes to 8 bits by truncation; here they stay floating point.
- The video demo shows what it composes at the network's size; the rule `modnet_video` brings the
  matte back to the picture's.
- `papers.modnet.video` has the one-frame delay, which was never released: its threshold of 0.1 and
  that neighbours are those as predicted are readings of the text.
- The best checkpoint is kept too, not only the last.
"""

import ml_collections

from configs import common, routes

TRACKS = ("studio", "paper", "paddleseg")
TASKS = ("supervised", "soc")
NETWORKS = ("released", "easpp")
ENCODERS = ("mobilenet_v2", "resnet34", "resnet50", "resnet101", "hrnet_w18")
VARIANTS = (
    *(f"track={track},task=supervised" for track in TRACKS),
    *(f"track={track},task=soc" for track in ("studio", "paper")),
    *(f"variant={variant},encoder={encoder}" for variant in NETWORKS for encoder in ENCODERS),
)


def get_config(arguments: str = "") -> ml_collections.ConfigDict:
    """The configuration of one track, task, variant of the network and encoder."""
    options = common.parse(
        arguments, track="studio", task="supervised", variant="released", encoder="mobilenet_v2"
    )
    track = common.choose("track", options.track, TRACKS)
    task = common.choose("task", options.task, TASKS)
    config = common.base()
    config.paper = "modnet"
    config.model.encoder = common.choose("encoder", options.encoder, ENCODERS)
    config.model.variant = common.choose("variant", options.variant, NETWORKS)
    config.model.rates = (1, 6, 12, 18)  # dilations of e-ASPP
    config.model.width = 1.0  # multiplies every number of channels; 1.0 is the paper
    config.model.dtype = "float32"
    config.model.bn_axis = ml_collections.config_dict.placeholder(str)
    soc = "soc_" if task == "soc" else ""
    config.name = f"modnet_{soc}{track}_{options.encoder}_{options.variant}"
    config.objective.task = task
    config.objective.form = "released"  # released | paper | paddleseg
    config.objective.distance = "l1"  # of the paper's composition: l1 | root
    config.evaluation.protocol = "modnet"
    if track == "studio":
        _studio(config)
    else:
        _portraits(config)
    if task == "soc":
        if track == "paddleseg":
            raise ValueError("task=soc has no track=paddleseg: PaddleSeg does not adapt")
        (_soc_studio if track == "studio" else _soc)(config)
    elif track == "paper":
        _supervised(config)
    elif track == "paddleseg":
        _paddleseg(config)
    return config


def _portraits(config: ml_collections.ConfigDict) -> None:
    """What portraits are measured on."""
    config.evaluation.images = "PPM-100/image"
    config.evaluation.alphas = "PPM-100/matte"
    config.evaluation.metrics = ("mse", "mad")
    config.evaluation.rule = "modnet"
    config.evaluation.options.reference = 512  # the network's shorter side
    config.evaluation.batch = 1


def _supervised(config: ml_collections.ConfigDict) -> None:
    """The recipe: composites of 512 pixels, SGD at 0.01, a tenth after each quarter."""
    mobile = config.model.encoder == "mobilenet_v2"
    config.init.layout = "human_seg" if mobile else "imagenet"
    config.data.update(routes.modnet())
    config.data.images = "portraits/image"
    config.data.alphas = "portraits/alpha"
    config.data.backgrounds = "backgrounds"
    config.data.backgrounds_per_foreground = 30
    config.optimizer.name = "sgd"
    config.optimizer.momentum = 0.9
    config.optimizer.learning_rate = 0.01
    config.optimizer.schedule = "step"
    config.optimizer.step_at = ("25%", "50%", "75%")
    config.train.batch = 16
    config.train.total = "40 epochs"


def _paddleseg(config: ml_collections.ConfigDict) -> None:
    """PaddleSeg's recipe: its loss, photometric chain and schedule; crops of 512 pixels."""
    _supervised(config)
    config.init.layout = "imagenet"
    config.objective.form = "paddleseg"
    config.data.update(routes.ppmatting())
    config.data.crop = (512,)
    config.data.pad = 512
    config.data.backgrounds_per_foreground = 1
    config.optimizer.learning_rate = 0.02
    config.optimizer.step_at = ("40%", "80%")
    config.optimizer.weight_decay = 4e-5
    config.optimizer.decay_pattern = ""  # everything, as Paddle's L2 decay
    config.train.total = "100000 steps"
    config.evaluation.every = "2%"
    config.checkpoint.every = "1%"


def _soc(config: ml_collections.ConfigDict) -> None:
    """The adaptation as released: one picture at a time, the copy taken anew every epoch."""
    config.init.layout = "official"
    config.data.update(routes.unlabelled())
    config.data.images = "clips"
    config.data.backgrounds_per_foreground = 1  # an epoch is every picture once
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-5
    config.optimizer.betas = (0.9, 0.99)
    config.train.batch = 1
    config.train.total = "10 epochs"
    config.train.teacher = "1 epochs"
    config.train.statistics = "running"


def _studio(config: ml_collections.ConfigDict) -> None:
    """Minutes on two CPU cores: built-in scenes, a part of the channels, small pictures."""
    # MobileNetV2 learns slowly without pretraining: of it a larger part, on smaller pictures.
    mobile = config.model.encoder == "mobilenet_v2"
    config.model.width = 0.5 if mobile else 0.25
    config.data.update(routes.modnet())
    config.data.source = "studio"
    config.data.studio.scene = 112 if mobile else 128
    config.data.studio.mode = "natural"
    config.data.size = 96 if mobile else 128
    config.data.longer = (96, 128) if mobile else (128, 160)
    config.data.compose.share = 0.3
    config.data.trimap.modnet.steps = (5, 10)
    config.data.backgrounds_per_foreground = 5
    config.data.threads = 1  # two cores: more would take them from the step
    config.optimizer.learning_rate = 2e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup = "5%"
    config.train.batch = 8
    config.train.total = "850 steps" if mobile else "1600 steps"
    config.evaluation.every = "50%"
    config.checkpoint.every = "25%"


def _soc_studio(config: ml_collections.ConfigDict) -> None:
    """The adaptation of a network of the studio track to its natural scenes."""
    _soc(config)
    config.init.layout = "jaxmatte"
    config.objective.form = "released"
    config.data.images = ""
    config.data.size = 96 if config.model.encoder == "mobilenet_v2" else 128
    config.data.scale = (0.8, 1.0)
    config.data.studio.train = 256
    config.optimizer.schedule = "constant"
    config.optimizer.warmup = "0 steps"
    config.optimizer.learning_rate = 1e-5
    # Semantics adapt; what sees details keeps how, and does not grow soft where they are unsure.
    config.optimizer.freeze = ("^(detail|fusion)/",)
    config.train.batch = 8
    config.train.total = "4 epochs"
    config.evaluation.every = "1 epochs"
    config.checkpoint.every = "1 epochs"
