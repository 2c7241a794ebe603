"""BiSeNet V2: a fast segmenter, here of foregrounds, of trimaps and of streets.

Yu, Gao, Wang, Yu, Shen, Sang: BiSeNet V2: Bilateral Network with Guided Aggregation for Real-time
Semantic Segmentation, International Journal of Computer Vision 129:3051-3068, 2021
(arXiv 2004.02147).

    python -m jaxmatte.main --config=configs/bisenetv2.py
    python -m jaxmatte.main --config=configs/bisenetv2.py:task=trimap
    python -m jaxmatte.main --config=configs/bisenetv2.py:track=matting --config.data.root=DIR
    python -m jaxmatte.main --config=configs/bisenetv2.py:track=cityscapes --config.data.root=DIR

Arguments: track studio | matting | cityscapes | paper | mmseg; task foreground | trimap, what
studio and matting learn from alphas: 2 classes (background, foreground: alpha above one half) or 3
(background, unknown, foreground). The studio track is the default: built-in scenes and a small
model, so that the command works on a fresh machine. `matting` is the same on folders of your own,
AM-2k's by name; another set of the catalog is `--config.data.source=set --config.data.set=NAME`,
with `--config.evaluation.set=NAME`. The other three are recipes for Cityscapes (DIR holds
leftImg8bit/ and gtFine/): of CoinCheung's code, whose checkpoints are in use, of the paper, and of
mmsegmentation. Pictures and class maps of your own: `--config.data.set=segmentation`.

A run of task=trimap can make the trimaps of a paper that takes one: `evaluation.segmenter`. Foreign
weights: `--config.init.weights=model_final_v2_city.pth --config.init.layout=official`, or "mmseg"
with `model.booster=False`.

Expected on Cityscapes val, 19 classes, mIoU: paper 73.4 at half size (75.8 its Large, `model.width`
2, `model.depth` 3); CoinCheung 74.95 at full size, 76.53 over six sizes and mirrored
(`evaluation.options` of rule bisenetv2_multiscale: "scales", "flip"), runs vary from 73.1 to 75.1;
mmsegmentation 73.21 (OHEM 73.57). Cost: 24.6 G multiply-adds at 512x1024, 3.36 M parameters (5.23 M
with the heads that only training needs).

Departs from CoinCheung's code, with the field that brings it back:

- Values that are no class (a mask of 0/127 or 0/255) are refused when they are read; the code makes
  NaN of them. A batch in which nothing is labelled adds nothing; the code makes NaN of that too.
- `n_min` of OHEM is a sixteenth of the labelled pixels of all devices together; there, of each
  device by itself (`parallel.mode="pmap"`). Pixels of equal loss at its border share their place.
- The paper trains from scratch and so do we; the code starts from a backbone of its own, which
  `--config.init.weights=backbone_v2.pth --config.init.layout=backbone` brings.
- studio and matting start with small logits (`model.logits_init="fan_in"`): with two classes the
  code's rule draws weights of deviation 1 for the last convolutions, and logits of tens.
- Biases of the heads' last convolutions start as PyTorch's default draws them, not at 0.
- Arithmetic is float32, the code's is mixed: `model.dtype="bfloat16"`.

Departs from the paper (`track=paper`), where it is silent or cannot be told from its figures:

- The width of the main head is not given: 1024 channels, the code's guess (`model.head_channels`).
- Scales are drawn from a range, not from {0.75, 1, 1.25, 1.5, 1.75, 2}; its crop of 2048x1024 that
  is resized to 1024x512 is a crop of 1024x512 at half the scale, which is the same picture.
- What depth multiplies in its Large is not told in detail: here, the repeated layers of the
  semantic branch.

Departs from mmsegmentation (`track=mmseg`): the booster heads are CoinCheung's, so its checkpoints
load without them; the jitter of colours is CoinCheung's.
"""

import ml_collections

from configs import common, routes

TRACKS = ("studio", "matting", "cityscapes", "paper", "mmseg")
TASKS = ("foreground", "trimap")
VARIANTS = (
    *(f"track={track},task={task}" for track in ("studio", "matting") for task in TASKS),
    *(f"track={track}" for track in TRACKS[2:]),
)
CLASSES = {
    "foreground": ("background", "foreground"),
    "trimap": ("background", "unknown", "foreground"),
    "streets": (
        "road",
        "sidewalk",
        "building",
        "wall",
        "fence",
        "pole",
        "light",
        "sign",
        "vegetation",
        "terrain",
        "sky",
        "person",
        "rider",
        "car",
        "truck",
        "bus",
        "train",
        "motorcycle",
        "bicycle",
    ),
}


def get_config(arguments: str = "") -> ml_collections.ConfigDict:
    """The configuration of one track and task."""
    options = common.parse(arguments, track="studio", task="foreground")
    track = common.choose("track", options.track, TRACKS)
    task = common.choose("task", options.task, TASKS)
    if track not in ("studio", "matting"):
        task = "streets"
    names = CLASSES[task]
    config = common.base()
    config.paper = "bisenetv2"
    config.name = f"bisenetv2_{track}" + ("" if task == "streets" else f"_{task}")
    config.model.classes = len(names)
    config.model.layout = "coincheung"  # coincheung | mmseg | paper
    config.model.booster = True  # the auxiliary heads; nothing but training needs them
    config.model.dropout = 0.1
    config.model.normalisation = "cityscapes"  # cityscapes | imagenet | matting | custom
    config.model.head_channels = 1024
    config.model.logits_init = "fan_out"  # fan_out | fan_in
    config.model.width = 1.0  # multiplies every number of channels; 1.0 is the paper
    config.model.depth = 1.0  # multiplies the repeated layers of the semantic branch
    config.model.dtype = "float32"
    config.model.bn_axis = ml_collections.config_dict.placeholder(str)
    config.objective.form = "ohem"  # ohem | cross_entropy
    config.objective.threshold = 0.7
    config.objective.class_weights = ()  # one a class; (): all 1
    config.data.update(routes.bisenetv2())
    config.data.classes = config.model.get_ref("classes")
    config.evaluation.kind = "classes"
    config.evaluation.names = names
    config.evaluation.protocol = "miou"
    config.evaluation.rule = "bisenetv2"
    config.checkpoint.best = "miou"
    _recipe(config)
    tracks = (_studio, _matting, _cityscapes, _paper, _mmseg)
    dict(zip(TRACKS, tracks, strict=True))[track](config)
    return config


def _recipe(config: ml_collections.ConfigDict) -> None:
    """CoinCheung's optimizer: SGD, ten times faster in the heads, warm-up, polynomial decay."""
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 5e-3
    config.optimizer.groups = (("^head/|^auxiliary", 10.0),)
    config.optimizer.weight_decay = 5e-4
    config.optimizer.schedule = "polynomial"
    config.optimizer.warmup = "1000 steps"
    config.optimizer.warmup_shape = "exponential"
    config.optimizer.warmup_from = 0.1
    config.train.batch = 16
    config.evaluation.every = "5%"
    config.checkpoint.every = "1%"


def _streets(config: ml_collections.ConfigDict) -> None:
    """Cityscapes, its 19 classes on file."""
    config.data.source = "set"
    config.data.set = "cityscapes"
    config.data.shape = (512, 1024)
    config.data.compose.route = "none"
    config.evaluation.set = "cityscapes"
    config.evaluation.split = "val"
    config.evaluation.batch = 1
    config.train.total = "150000 steps"


def _cityscapes(config: ml_collections.ConfigDict) -> None:
    """CoinCheung's recipe and evaluation."""
    _streets(config)
    config.evaluation.rule = "bisenetv2_multiscale"
    config.evaluation.options.scales = (1.0,)
    config.evaluation.options.flip = False
    config.evaluation.protocol = "coincheung"


def _paper(config: ml_collections.ConfigDict) -> None:
    """The paper's recipe and evaluation, at half size."""
    _streets(config)
    config.model.layout = "paper"
    config.data.scale = (0.375, 1.0)  # half of the paper's, whose crops are halved
    config.data.jitter.each = 0.0
    config.optimizer.learning_rate = 5e-2
    config.optimizer.groups = ()
    config.optimizer.warmup = "0 steps"
    config.evaluation.rule = "bisenetv2_half"


def _mmseg(config: ml_collections.ConfigDict) -> None:
    """The recipe and evaluation of mmsegmentation, at full size."""
    _streets(config)
    config.model.layout = "mmseg"
    config.model.normalisation = "imagenet"
    config.objective.form = "cross_entropy"
    config.data.shape = (1024, 1024)
    config.data.scale = (0.5, 2.0)
    config.optimizer.learning_rate = 5e-2
    config.optimizer.groups = ()
    config.optimizer.decay_pattern = ""  # everything
    config.optimizer.warmup_shape = "linear"
    config.optimizer.final = 0.002  # 1e-4
    config.train.total = "160000 steps"


def _matting(config: ml_collections.ConfigDict) -> None:
    """Folders of pictures and alphas; as photographed, and composed where backgrounds are named."""
    config.model.logits_init = "fan_in"
    config.data.images = "AM-2k/train/original"
    config.data.alphas = "AM-2k/train/mask"
    config.data.compose.route = "none"
    config.evaluation.images = "AM-2k/validation/original"
    config.evaluation.alphas = "AM-2k/validation/mask"
    config.evaluation.batch = 1
    config.train.total = "40000 steps"


def _studio(config: ml_collections.ConfigDict) -> None:
    """Minutes on two CPU cores: built-in scenes, a quarter of the channels, small pictures."""
    config.model.width = 0.25
    config.model.normalisation = "matting"
    config.model.logits_init = "fan_in"
    config.data.source = "studio"
    config.data.studio.scene = 160
    config.data.studio.mode = "natural"
    config.data.compose.share = 0.5
    config.data.backgrounds_per_foreground = 5
    config.data.size = 128
    config.data.scale = (0.7, 1.2)
    config.data.trimap.fixed.size = 9
    config.data.threads = 1  # two cores: more would take them from the step
    config.objective.form = "cross_entropy"  # all pixels teach from the first step on
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 2e-3
    config.optimizer.groups = ()
    config.optimizer.weight_decay = 0.0
    config.optimizer.warmup = "5%"
    config.train.batch = 8
    config.train.total = "1600 steps"
    config.evaluation.every = "800 steps"
    config.checkpoint.every = "200 steps"
