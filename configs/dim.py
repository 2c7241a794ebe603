"""DIM: Deep Image Matting, from a picture and a trimap.

Xu, Price, Cohen, Huang: Deep Image Matting, CVPR 2017 (arXiv 1703.03872).

    python -m jaxmatte.main --config=configs/dim.py
    python -m jaxmatte.main --config=configs/dim.py:track=stage1 --config.data.root=DIR \
        --config.init.weights=vgg16.pth
    python -m jaxmatte.main --config=configs/dim.py:track=stage2 --config.data.root=DIR
    python -m jaxmatte.main --config=configs/dim.py:track=stage3 --config.data.root=DIR
    python -m jaxmatte.main --config=configs/dim.py:stage=2

Arguments: track studio | stage1 | stage2 | stage3; layout mmagic | hct_v12 | hct_v14 | hct_v15 |
foamliu | paper, the network and its recipe; segmenter, the working directory of a network that
makes the trimaps (configs/bisenetv2.py:task=trimap): then pictures need none. The studio track is
the default: built-in scenes and a small model, so that the command works on a fresh machine; stage
1 | 2 | 3 is its stage. The stages are the paper's: first encoder and decoder, then the refinement
alone, then everything; each starts from the best checkpoint of the one before, in its default
working directory. DIR holds Combined_Dataset/, the authors' data set, which `python -m
jaxmatte.data show composition1k` describes, and COCO/train2014/ for backgrounds.

There is no official code and no official checkpoint. Of the ports, these have public weights:
`init.layout` mmagic, hct (every release) and foamliu read their files (a file of stage 1, for stage
2: mmagic_stage1, hct_stage1), and vgg16 reads torchvision's for the encoder.

Expected on Composition-1k (SAD, MSE, Grad, Conn, unknown region, protocol dim): the paper 50.4,
0.014, 31.0, 50.8; without the refinement 54.6, .017, 36.7, 55.3; mmagic's stages 53.8, .017, 32.7,
54.5; 52.3, .016, 29.4, 52.4; 50.6, .015, 29.0, 50.7; hct's stage 1 of v1.4 54.42, .0175, 35.01,
54.85, of v1.5 52.99, .0171, 31.56, 53.24. Training is unstable: seeds differ widely, and what is
published is the best of many validations. Foamliu's SAD is 66.8. Cost: 60.4 10^9 multiply-adds at
320 x 320, the refinement 7.8 more; 26.3 million parameters (the paper's layout 130.6).

Departs from the ports and the paper, with the field that brings the other form:

- Ports have a 1 x 1 or 3 x 3 layer of 512 channels where the paper has fc6 as a convolution of
  7 x 7 and 4096; they add the refinement to the logit of alpha, where the paper adds it to alpha
  itself. `layout=paper` is built to the text. Its cut to 0..1 hands gradients on as they are (as
  the derivative in equation 2 does), and its refinement begins with corrections of zero.
- Composites are made anew for every example; the ports compose 43,100 once and keep them:
  `data.split=train_composed`, `data.backgrounds=""`, `data.pairing=fixed`,
  `data.backgrounds_per_foreground=1`.
- Stage 2 has fixed trimaps, as in the paper, not drawn ones: `data.trimap.redraw=True`.
- Stage 2 leaves encoder and decoder as they are (`optimizer.freeze`).
- The rule dim_hct resizes in floating point and rounds to levels; OpenCV resizes bytes in fixed
  point, which gives another level here and there.
- Foamliu's recipe: its jitter of colours by .125 and its cut of single gradient values at 5 are
  left out; pictures are cropped and trimaps made as for mmagic.
- PaddleSeg's network of this name is another one (other upsampling, a correction that cannot be
  negative): none of it is here.
- The best checkpoint is kept by SAD, and the last two.
"""

import ml_collections

from configs import common, routes

TRACKS = ("studio", "stage1", "stage2", "stage3")
LAYOUTS = ("mmagic", "hct_v12", "hct_v14", "hct_v15", "foamliu", "paper")
_REFINED = tuple(layout for layout in LAYOUTS if layout != "foamliu")
VARIANTS = (
    *(f"track={track},layout={layout}" for track in TRACKS for layout in _REFINED),
    *(f"track={track},layout=foamliu" for track in ("studio", "stage1")),
    *(f"track=studio,stage={stage}" for stage in (2, 3)),
    "track=stage3,segmenter=runs/bisenetv2_matting_trimap",
)


def get_config(arguments: str = "") -> ml_collections.ConfigDict:
    """The configuration of one track, stage and layout."""
    options = common.parse(arguments, track="studio", layout="mmagic", segmenter="", stage=0)
    track = common.choose("track", options.track, TRACKS)
    layout = common.choose("layout", options.layout, LAYOUTS)
    if options.stage and track != "studio":
        raise ValueError(f"stage={options.stage} with track={track}: only studio is asked for one")
    stage = TRACKS.index(track) or options.stage or 1
    common.choose("stage", str(stage), ("1", "2", "3"))
    if layout == "foamliu" and stage > 1:
        raise ValueError(f"stage={stage} with layout=foamliu, which has no refinement to train")
    config = common.base()
    config.paper = "dim"
    config.name = _name(track, stage, layout)
    config.model.layout = layout
    config.model.refine = stage > 1
    config.model.width = 1.0  # multiplies every number of channels; 1.0 is the paper
    config.model.dtype = "float32"
    config.model.bn_axis = ml_collections.config_dict.placeholder(str)
    config.objective.form = layout.partition("_")[0] if layout != "paper" else "mmagic"
    config.objective.stage = stage  # 0: as 1, with the alpha loss alone
    config.data.update(routes.dim())
    config.evaluation.protocol = "dim"
    config.evaluation.segmenter.workdir = options.segmenter
    config.evaluation.segmenter.widen = 2 if track == "studio" else 10
    if layout.startswith("hct"):
        config.data.crop.centre = "any"
        config.data.trimap.name = "hct"
        config.evaluation.rule = "dim_hct"
        config.evaluation.options.form = "whole"  # whole | crop | resize
        config.evaluation.options.longest = 1600
        config.evaluation.options.levels = "truncate"  # truncate | round | none
    else:
        config.evaluation.rule = "dim"
        config.evaluation.options.levels = "round"
    if track == "studio":
        _studio(config)
    else:
        _composition1k(config)
        _recipe(config)
    if stage > 1:
        before = track.replace(str(stage), str(stage - 1))
        config.init.weights = f"runs/{_name(before, stage - 1, layout)}"
        config.init.layout = "jaxmatte"
    elif track != "studio":
        config.init.layout = "vgg16"
    if stage == 2:
        config.optimizer.freeze = ("^(encoder|conv6|decoder)/",)
        config.data.trimap.redraw = False
    return config


def _name(track: str, stage: int, layout: str) -> str:
    return f"dim_{track}{stage if track == 'studio' and stage > 1 else ''}_{layout}"


def _composition1k(config: ml_collections.ConfigDict) -> None:
    """The authors' data set and measure."""
    config.data.source = "set"
    config.data.set = "composition1k"
    config.data.split = "train"
    config.data.backgrounds = "COCO/train2014"
    config.data.backgrounds_per_foreground = 100
    config.evaluation.set = "composition1k"
    config.evaluation.split = "test"
    config.evaluation.batch = 1
    config.checkpoint.best = "sad"


def _recipe(config: ml_collections.ConfigDict) -> None:
    """The recipe of a layout: that of mmagic, if there is no other."""
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-5
    config.train.batch = 1
    config.train.total = "1000000 steps"
    config.evaluation.every = "40000 steps"
    config.checkpoint.every = "10000 steps"
    if config.model.layout.startswith("hct"):
        config.train.total = "12 epochs"
        config.evaluation.every = "1 epochs"
    elif config.model.layout == "foamliu":
        config.optimizer.name = "sgd"
        config.optimizer.learning_rate = 0.01
        config.optimizer.weight_decay = 5e-4
        config.optimizer.decay_pattern = ""  # everything
        config.optimizer.schedule = "step"
        config.optimizer.step_at = ("20%", "40%", "60%", "80%")  # each 10 epochs
        config.train.batch = 32
        config.train.total = "50 epochs"
        config.evaluation.every = "1 epochs"
        config.checkpoint.every = "1 epochs"


def _studio(config: ml_collections.ConfigDict) -> None:
    """Minutes on two CPU cores: built-in scenes, a part of the channels, small pictures."""
    config.model.width = 0.25
    config.data.source = "studio"
    config.data.studio.scene = 128
    config.data.studio.mode = "natural"
    config.data.size = 96
    config.data.crop.sizes = (96, 128)
    config.data.trimap.mmagic.sizes = (3, 15)
    config.data.trimap.hct.iterations = (2, 6)
    config.data.trimap.fixed.size = 9
    config.data.backgrounds_per_foreground = 5
    config.data.threads = 1  # two cores: more would take them from the step
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup = "5%"
    config.train.batch = 8
    config.train.total = "1200 steps"
    config.evaluation.every = "50%"
    config.checkpoint.every = "25%"
