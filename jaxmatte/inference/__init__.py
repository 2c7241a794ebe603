"""Test-time rules: how a paper turns its network into a matte of a whole picture.

`rule(predict, *inputs, **options) -> alpha [B, H, W, 1]` in 0..1, at the picture's own size.
`inputs` are what the paper's `Model` names: the image [B, H, W, 3], and the trimap or the plate
where it is guided by one. `predict(*inputs) -> outputs` is the network, ready to call; its
outputs are the dict of the paper's `Model`. Shapes are static, so a rule compiles once a picture
size. A paper's rules are the `RULES` of its module here; `direct` fits every paper.
"""

import importlib
import pkgutil

from jaxmatte.inference.rules import Predict, Rule, direct, require

__all__ = ["RULES", "SAME_SIZE", "Predict", "Rule", "direct", "get"]

RULES: dict[str, Rule] = {"direct": direct}
for _module in pkgutil.iter_modules(__path__):
    if _module.name != "rules":
        RULES |= importlib.import_module(f"{__name__}.{_module.name}").RULES

# Rules that resize by the picture's size: a batch must not pad smaller pictures to a larger one's.
SAME_SIZE = frozenset(RULES) - {"direct"}


def get(name: str) -> Rule:
    """The rule of that name."""
    require("rule", name, RULES)
    return RULES[name]
