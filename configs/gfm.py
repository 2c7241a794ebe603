"""GFM: Glance and Focus Matting.

Li, Zhang, Maybank, Tao: Bridging Composite and Real: Towards End-to-end Deep Image Matting,
International Journal of Computer Vision 130(2):246-266, 2022 (arXiv 2010.16188).

    python -m jaxmatte.main --config=configs/gfm.py
    python -m jaxmatte.main --config=configs/gfm.py:track=ori,encoder=d121 --config.data.root=DIR
    python -m jaxmatte.main --config=configs/gfm.py:track=rssn --config.data.root=DIR \
        --config.init.weights=resnet34.pth

Arguments: track studio | ori | comp_coco | rssn; encoder r34 | r34_2b | d121 | r101;
rosta TT | FT | BT | RIM. The studio track is the default: built-in scenes and a small model, so
that the command works on a fresh machine. The others are the paper's; DIR holds AM-2k/, and BG-20k/
or COCO/ for the composition tracks. Every folder name is a field of `config.data`.

Expected on AM-2k, ORI-Track (SAD, MSE, MAD, whole image, protocol gfm, rule gfm_hybrid): GFM(d)
TT 10.26, .0029, .0059; GFM(r) TT 10.89, .0029, .0064; GFM(r2b) TT 10.24, .0028, .0060; GFM(r') TT
9.66, .0024, .0056. Cost, by the authors: one V100, about two days.

Departs from the released code, with the field that brings the released behaviour back:

- The glance targets of FT and BT are swapped in the released single-mode training; here they are
  the paper's (FT: eroded foreground, BT: dilated). `objective.targets="released"`.
- The released RIM branch reads the FT prediction for BT too; here each mode reads its own.
  `objective.targets="released"`.
- Cross entropy is applied to sigmoid outputs as if they were logits; a target of 2 in 0..255 counts
  as foreground; the transition losses keep only pixels of exactly 128, add 1 to their denominator
  and 1e-6 for every known pixel; the Laplacian's kernel is a sum of two Gaussians, not a product.
  These are the forms that the published weights saw and stay the default on the paper's tracks:
  `objective.form="released"`; the studio track uses the well-behaved forms, "plain".
- The local loss of FT and BT is masked by the 25-pixel trimap, not by their own 50-pixel band, in
  both forms, as published.
- Labels are made at full resolution and shrunk with the crop. Resizing leaves values between the
  classes; here they all count as unknown. `data.labels.resized="released"` keeps them as they are.
- The crop rule looks for unknown pixels in the alpha instead of the trimap in the released code;
  here in the trimap. There is no switch: searching alpha == 128 finds next to nothing. The pixel
  found becomes the crop's corner, not its centre, as published.
- numpy's generator was not reseeded per worker: workers repeated their crops. Here every example
  has its own random numbers. There is no switch.
- Backgrounds are paired at random and anew each epoch, five a foreground. The released code pairs
  the i-th with the i-th for ever: `data.pairing="fixed"`, `data.backgrounds_per_foreground=1`.
- The foreground is never multiplied by alpha twice. Where there is no file of foreground colours it
  is estimated; the released "easier" option is `data.foreground="premultiplied"`.
- RSSN's noise is clipped to 0..255. The released uint8 cast wraps: `data.compose.noise_wraps=True`.
- Denoising is by non-local means (`data.compose.denoiser`), an offline step of `python -m
  jaxmatte.data prepare --denoise`; the paper's is BM3D with a strength that is not stated, and its
  package is not free for all uses. Denoised pairs are used where there are any: in a store, with
  the set, or in folders (`data.compose.denoised_*`); the released code asks for names that the
  download does not contain.
- RSSN's noise is drawn in whole levels, which the cut to 8 bits makes of it anyway.
- r34_2b: the published weights of 2020 were trained with dilation 2 in the sixth decoders; today's
  code has 1. `model.d6_dilation=2` for those weights.
- The PSP pyramid is concatenated in the glance decoder, as in the code; the paper's wording says
  summed. The published weights need the concatenation.
- The RIM output is clipped to 0..1 (`alpha`); the raw one is the output `rim`. The released script
  lets 8 bits wrap.
- The best checkpoint is kept too, not only the last.
"""

import itertools

import ml_collections

from configs import common, routes

ENCODERS = ("r34", "r34_2b", "d121", "r101")
ROSTAS = ("TT", "FT", "BT", "RIM")
TRACKS = ("studio", "ori", "comp_coco", "rssn")
VARIANTS = tuple(  # what can be asked for
    f"track={track},encoder={encoder},rosta={rosta}"
    for track, encoder, rosta in itertools.product(TRACKS, ENCODERS, ROSTAS)
)


def get_config(arguments: str = "") -> ml_collections.ConfigDict:
    """The configuration of one track, encoder and mode of RoSTa."""
    options = common.parse(arguments, track="studio", encoder="r34", rosta="TT")
    track = common.choose("track", options.track, TRACKS)
    config = common.base()
    config.paper = "gfm"
    config.name = f"gfm_{track}_{options.encoder}_{options.rosta}".lower()
    config.model.encoder = common.choose("encoder", options.encoder, ENCODERS)
    config.model.rosta = common.choose("rosta", options.rosta, ROSTAS)
    config.model.d6_dilation = 1
    config.model.width = 1.0  # multiplies every number of channels; 1.0 is the paper
    config.model.dtype = "float32"
    config.model.bn_axis = ml_collections.config_dict.placeholder(str)
    config.objective.form = "released"  # released | plain
    config.objective.targets = "paper"  # paper | released
    config.objective.rosta = config.model.get_ref("rosta")
    config.data.update(routes.gfm())
    config.data.labels.bands = options.rosta != "TT"
    if track == "studio":
        _studio(config)
    else:
        _paper(config, track)
    return config


def _paper(config: ml_collections.ConfigDict, track: str) -> None:
    """The paper's recipe: AM-2k, Adam at 1e-5, batches of 32, crops of 320."""
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-5
    config.train.batch = 32
    config.train.total = "500 epochs" if track == "ori" else "100 epochs"
    config.data.images = "AM-2k/train/original"
    config.data.alphas = "AM-2k/train/mask"
    config.evaluation.images = "AM-2k/validation/original"
    config.evaluation.alphas = "AM-2k/validation/mask"
    config.evaluation.rule = "gfm_hybrid"
    config.evaluation.options.choice = "rim"  # of RIM's mattes: rim, tt, ft or bt
    config.evaluation.every = "2%"
    config.checkpoint.every = "1 epochs"
    if track == "comp_coco":
        config.data.backgrounds = "COCO/train_bg"
        config.data.compose.route = "blend"
    if track == "rssn":
        config.data.backgrounds = "BG-20k/train"
        config.data.compose.route = "rssn"
    if track != "ori":
        config.data.backgrounds_per_foreground = 5


def _studio(config: ml_collections.ConfigDict) -> None:
    """Minutes on two CPU cores: built-in scenes, a quarter of the channels, small pictures."""
    config.model.width = 0.25
    config.objective.form = "plain"
    config.data.source = "studio"
    config.data.studio.scene = 160
    config.data.studio.mode = "natural"
    config.data.compose.route = "blend"
    config.data.compose.share = 0.5
    config.data.backgrounds_per_foreground = 5
    config.data.crop.sizes = (128, 160)
    config.data.crop.fallback = 128
    config.data.size = 128
    config.data.threads = 1  # two cores: more would take them from the step
    config.data.labels.trimap = 9
    config.data.labels.band = 17
    config.optimizer.learning_rate = 2e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup = "5%"
    config.train.batch = 8
    config.train.total = "1500 steps"
    config.evaluation.every = "500 steps"
    config.checkpoint.every = "250 steps"
