"""Masked models of ``transformers`` from their folders, by its own ``from_pretrained``.

Its loading renames weights on their way (a file may hold the names of an older version), splits and joins them, and
ties some. So it is asked to load masks as well: into a model of the same class that has their modules and nothing else.
"""

from __future__ import annotations

import copy
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from torch import nn

from retconv.models.surgery import masks_of


def plain_pretrained(architecture: str, folder: Path) -> nn.Module:
    """A plain model by the name of its class, with the weights of a folder, silent about masks it has no place for.

    Raises:
        ValueError: If ``transformers`` has no such class.
    """
    import transformers

    plain: Any = getattr(transformers, architecture, None)
    if not hasattr(plain, "_keys_to_ignore_on_load_unexpected"):
        raise ValueError(f"transformers has no {architecture}: build the plain model as it was, and give it as model=")
    unexpected = [*(plain._keys_to_ignore_on_load_unexpected or []), r"\.mask\."]
    quiet = _like(plain, _keys_to_ignore_on_load_unexpected=unexpected)
    model: nn.Module = quiet.from_pretrained(folder)
    model.__class__ = plain
    return model


def load_pretrained(model: nn.Module, folder: Path) -> None:
    """Load all weights of a folder into a masked model of ``transformers``.

    Raises:
        ValueError: If a mask's are not there, or are of another shape.
    """
    plain: Any = type(model)
    # Without tensors, as from_pretrained makes a model itself.
    masks = {name: copy.deepcopy(mask).to("meta") for name, mask in masks_of(model).items()}
    owners = {name: mask for name, mask in masks.items() if "mask" in model.get_submodule(name)._modules}

    def start(self: Any, config: Any, *args: Any, **kwargs: Any) -> None:
        plain.__init__(self, config, *args, **kwargs)
        for name, mask in owners.items():
            self.get_submodule(name).mask = copy.deepcopy(mask)

    # Masks are wider than a narrow model, and from_pretrained has one dtype for all.
    wide = reduce(torch.promote_types, {x.dtype for x in model.state_dict().values() if x.is_floating_point()})
    loaded, report = _like(plain, __init__=start).from_pretrained(
        folder, output_loading_info=True, ignore_mismatched_sizes=True, dtype=wide
    )
    strange = [*report["missing_keys"], *report["unexpected_keys"], *(key for key, *_ in report["mismatched_keys"])]
    wrong = sorted({key for key in strange if ".mask." in key})
    if wrong:
        raise ValueError(
            f"the masks in {folder} are not those of {plain.__name__}, as {', '.join(wrong[:3])}: put in those that it "
            "was saved with"
        )
    model.load_state_dict(loaded.state_dict())


def _like(plain: Any, **changes: Any) -> Any:
    """A class with changes, which ``transformers`` takes for its own: of others it does not rename weights."""
    return type(plain.__name__, (plain,), {"__module__": plain.__module__, **changes})
