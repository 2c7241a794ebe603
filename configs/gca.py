"""GCA-Matting: natural image matting with a trimap, by guided contextual attention.

Li, Lu: Natural Image Matting via Guided Contextual Attention, AAAI 2020 (arXiv 2001.04069).

    python -m jaxmatte.main --config=configs/gca.py
    python -m jaxmatte.main --config=configs/gca.py:track=paper --config.data.root=DIR \
        --config.init.weights=model_best_resnet34_En_nomixup.pth
    python -m jaxmatte.main --config=configs/gca.py:track=paper,attention=false \
        --config.data.root=DIR --config.init.weights=model_best_resnet34_En_nomixup.pth
    python -m jaxmatte.main --config=configs/gca.py:segmenter=runs/bisenetv2_studio_trimap \
        --mode=eval

Arguments: track studio | paper | mmagic | mmagic_dim; attention true | false (the baseline of the
paper); segmenter, the working directory of a trained configs/bisenetv2.py:task=trimap, which then
makes the trimaps of validation: mattes without any trimap. The studio track is the default:
built-in scenes and a small model, so that the command works on a fresh machine. The others train
on Composition-1k: mmagic is its recipe, mmagic_dim the one with Deep Image Matting's augmentation.
DIR holds the data sets as `python -m jaxmatte.data list` names their folders, and COCO/train2014
for backgrounds.

Expected on Composition-1k (SAD, MSE, Grad, Conn; protocol dim, unknown region):

    paper, rule gca             baseline  40.62  .0106  21.53  38.43
                                GCA       35.28  .0091  16.92  32.53
    mmagic, rule gca_mmagic     baseline  34.61  .0083  16.21  32.12
                                GCA       33.38  .0081  14.96  30.59
    mmagic_dim                  baseline  49.95  .0144  30.21  49.67
                                GCA       49.42  .0129  28.07  49.47

The published weights gca-dist.pth (init.layout=official, mmagic's: mmagic) give these rows under
--mode=eval. The authors' own evaluation code differs from MATLAB's in Grad and Conn:
`evaluation.protocol="dim,legacy-gca"` prints both.

Cost: 25,164,529 parameters, baseline 25,072,481; multiply-adds at 512 x 512 42.1e9, and 2.75e9 for
each attention. Attention compares all pairs of n = HW / 256 places: at 2048 x 2048 the scores alone
are 1 GiB, which `model.chunk` bounds (benchmarks/results/2026-11-21-cpu-attention.md). The paper
trained on 4 GPUs with 10 pictures each. The studio track: 4 min 35 s on two CPU cores, for a
validation MAD[dim, unknown] of .130, where alpha = 0.5 has .413.

Departs from the paper and the released code, with the field that brings theirs back:

- The vectors of the spectral norm start one step of the power iteration from random ones, not at
  random: evaluation before the first step, too, divides by a sigma that is one.
- The loss is a mean over the unknown pixels of the whole batch; there it is one over each device's
  ten pictures, and then over devices.
- The vectors that mmagic keeps for its transposed convolutions are those of another matrix: its
  files are folded, and training goes on from them with the authors' norm.
- What mmagic takes from the score of an unknown patch with itself is 1e4 times the patch's share of
  unknown pixels, here 1e4: the softmax sees no difference.
- mmagic's cosine begins at step 0, under its warm-up; here when the warm-up ends.
- What is random in the data, and how it is drawn, stands in `jaxmatte/data/routes/gca.py`.
- The scale "resize" compares with a squeezed truth there; the rule gca_resize brings alpha back.
  The scale "crop" is one random crop; the rule gca_crop covers the picture with crops.
- The best checkpoint is that of the least MSE over the set's unknown pixels, as released; there
  those of all pictures count alike, here all pictures. The last one is kept too.
"""

import ml_collections

from configs import common, routes

TRACKS = ("studio", "paper", "mmagic", "mmagic_dim")
VARIANTS = (
    *(
        f"track={track},attention={attention}"
        for track in TRACKS
        for attention in ("true", "false")
    ),
    "segmenter=runs/bisenetv2_studio_trimap",
)


def get_config(arguments: str = "") -> ml_collections.ConfigDict:
    """The configuration of one track, with attention or without."""
    options = common.parse(arguments, track="studio", attention=True, segmenter="")
    track = common.choose("track", options.track, TRACKS)
    config = common.base()
    config.paper = "gca"
    config.name = f"gca_{track}" + ("" if options.attention else "_baseline")
    config.model.attention = options.attention  # False: the paper's baseline
    config.model.trimap_channels = 3  # 3: a plane for each class | 1: classes by numbers
    config.model.chunk = 1024  # places that attention fills at a time; 0: all
    config.model.late_downsample = False
    config.model.width = 1.0  # multiplies every number of channels; 1.0 is the paper
    config.model.dtype = "float32"
    config.model.bn_axis = ml_collections.config_dict.placeholder(str)
    # Weights of the terms; the published loss is the first alone.
    config.objective.alpha = 1.0
    config.objective.squared = 0.0
    config.objective.charbonnier = 0.0
    config.objective.composition = 0.0
    config.objective.gradient = 0.0
    config.objective.gabor = 0.0
    config.objective.region = "unknown"  # unknown | whole
    config.data.update(routes.dim() if track == "mmagic_dim" else routes.gca())
    config.evaluation.protocol = "dim"
    config.evaluation.rule = "gca"
    config.evaluation.segmenter.workdir = options.segmenter
    _optimizer(config)
    if track == "studio":
        _studio(config)
        return config
    _recipe(config)
    if track != "paper":
        _mmagic(config)
    if track == "mmagic":
        config.data.squeeze.probability = 0.0
    if track == "mmagic_dim":
        config.model.trimap_channels = 1
    return config


def _optimizer(config: ml_collections.ConfigDict) -> None:
    config.optimizer.name = "adam"
    config.optimizer.betas = (0.5, 0.999)
    config.optimizer.schedule = "cosine"
    config.optimizer.clip_running = 2.0


def _recipe(config: ml_collections.ConfigDict) -> None:
    """gca-dist: 4 x 10 crops of 512, Adam at 4e-4, 5000 steps of warm-up, cosine over the rest."""
    config.optimizer.learning_rate = 4e-4
    config.optimizer.warmup = "5000 steps"
    config.train.batch = 40
    config.train.total = "200000 steps"
    config.data.source = "set"
    config.data.set = config.evaluation.set = "composition1k"
    config.data.backgrounds = "COCO/train2014"
    config.data.backgrounds_per_foreground = 100
    config.evaluation.split = "test"
    config.evaluation.every = "2000 steps"
    config.evaluation.batch = 1
    config.checkpoint.every = "2000 steps"
    config.checkpoint.best = "mse"


def _mmagic(config: ml_collections.ConfigDict) -> None:
    """The recipe of mmagic, from the same weights of the encoder."""
    config.optimizer.clip_running = 0.0
    config.optimizer.warmup_from = 0.001
    config.evaluation.rule = "gca_mmagic"


def _studio(config: ml_collections.ConfigDict) -> None:
    """Minutes on two CPU cores: built-in scenes, a quarter of the channels, small pictures."""
    config.model.width = 0.25
    config.data.source = "studio"
    config.data.studio.scene = 128
    config.data.studio.mode = "natural"
    config.data.size = 96
    config.data.squeeze.size = 112
    config.data.trimap.gca.sizes = (3, 15)
    config.data.backgrounds_per_foreground = 5
    config.data.threads = 1  # two cores: more would take them from the step
    config.optimizer.learning_rate = 2e-3
    config.optimizer.warmup = "5%"
    config.evaluation.segmenter.widen = 2
    config.train.batch = 8
    config.train.total = "750 steps"
    config.evaluation.every = "50%"
    config.checkpoint.every = "25%"
