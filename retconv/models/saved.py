"""Masked models as folders of weights and a description, for each library by its own means."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch
from timm.models import save_for_hf
from torch import Tensor, nn

from retconv.models.described import KEPT_AS, Masking, masking_of
from retconv.models.inputs import call, evaluating, example_input, running
from retconv.models.named import make_masks
from retconv.models.pretrained import load_pretrained, plain_pretrained
from retconv.models.surgery import add_masks, masked_modules, masks_of

_CONFIG, _WEIGHTS = "config.json", "model.safetensors"


def save_masked(model: nn.Module, folder: str | Path) -> Path:
    """Write a masked model into a folder: ``model.safetensors``, and ``config.json`` with what its masks are.

    A Hugging Face model is written by its own ``save_pretrained``, which alone does as much (so a checkpoint of
    ``Trainer`` is such a folder); a timm model by timm's ``save_for_hf``, which keeps the arguments that
    ``timm.create_model`` was given; of any other the weights are written.

    Args:
        model: A model that ``add_masks`` was called with.
        folder: Where to write.

    Returns:
        The folder.

    Raises:
        ValueError: If ``add_masks`` was not called with this model, or nothing describes its masks: they were made by a
            factory, or given as they are.

    Example:
        ``save_masked(add_masks(timm.create_model("vit_tiny_patch16_224"), "gmm"), folder)``

    Example:
        >>> import tempfile, timm
        >>> model = retconv.models.add_masks(timm.create_model("vit_tiny_patch16_224", depth=2), "gmm")
        >>> sorted(path.name for path in save_masked(model, tempfile.mkdtemp()).iterdir())
        ['config.json', 'model.safetensors']
    """
    masking = masking_of(model)
    if masking is None:
        raise ValueError(
            f"{type(model).__name__} was not given to add_masks: save the model that was, not what wraps it"
            if masks_of(model)
            else f"{type(model).__name__} has no masks: save it as its library does"
        )
    if masking.reason is not None:
        raise ValueError(
            f"{type(model).__name__} cannot be described, {masking.reason}: use a name of retconv.models.MASKS with "
            "plain options, or save the state_dict and put the masks in yourself before you load it"
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    described: Any = model
    if hasattr(getattr(model, "config", None), "to_json_string"):
        described.save_pretrained(folder)
    else:
        apart = model.register_state_dict_post_hook(_apart)
        try:
            if "architecture" in getattr(model, "pretrained_cfg", {}):
                save_for_hf(model, str(folder), safe_serialization=True)
            else:
                (folder / _CONFIG).write_text("{}", encoding="utf-8")
                safetensors.torch.save_file(model.state_dict(), folder / _WEIGHTS)
        finally:
            apart.remove()
    config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    (folder / _CONFIG).write_text(json.dumps(config | {KEPT_AS: masking.data()}, indent=2), encoding="utf-8")
    return folder


def _apart(module: nn.Module, state_dict: dict[str, Tensor], prefix: str, metadata: Any) -> None:
    """A hook: safetensors takes neither channels last nor tensors that share memory, as tied weights do."""
    if not prefix:
        state_dict.update({name: x.clone(memory_format=torch.contiguous_format) for name, x in state_dict.items()})


def load_masked(folder: str | Path, model: nn.Module | None = None) -> nn.Module:
    """Make a masked model again from what ``save_masked``, or a Hugging Face model's ``save_pretrained``, has written.

    Args:
        folder: A local folder.
        model: The plain model, or one with the same masks, whose weights are then loaded. By default it is built: by
            ``timm.create_model`` with the arguments that were kept, or by the class of ``transformers`` that the
            configuration names, in the dtype it was saved in. Of torchvision's and other models nothing names the
            builder: give them, in the dtype that they shall have.

    Returns:
        The model, in evaluation mode as transformers gives its models.

    Raises:
        ValueError: If the folder has no description of masks, nothing names the plain model, or the masks' weights are
            not those of the model's masks.

    Example:
        >>> import tempfile, timm
        >>> model = retconv.models.add_masks(timm.create_model("vit_tiny_patch16_224", depth=2), "gmm").eval()
        >>> again = load_masked(retconv.models.save_masked(model, tempfile.mkdtemp())).eval()
        >>> x = torch.rand(1, 3, 224, 224)
        >>> torch.equal(model(x), again(x))
        True
    """
    folder = Path(folder)
    config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    if KEPT_AS not in config:
        raise ValueError(
            f"{folder / _CONFIG} says nothing of masks: it must come from save_masked, or from save_pretrained after "
            "add_masks with a mask by name"
        )
    theirs, built = "architectures" in config, model is None
    model = _plain(config, folder) if model is None else model
    tensors = {} if theirs else safetensors.torch.load_file(folder / _WEIGHTS)
    if built and not theirs:
        # Before the masks, which are wider where a model is narrow.
        model.to(tensors[next(name for name, _ in model.named_parameters())].dtype)
    masking = Masking.read(config[KEPT_AS])
    if not masks_of(model):
        _mask(model, masking)
    elif (own := masking_of(model)) is not None:
        differing = [name for name in ("mask", "placement", "share") if getattr(own, name) != getattr(masking, name)]
        if own.mask is not None and not differing and not _is_made_alike(model, masking, tensors):
            differing = ["options"]
        if differing and own.mask is not None:
            says = ", ".join(f"{name}={getattr(masking, name)!r}, not {getattr(own, name)!r}" for name in differing)
            raise ValueError(
                f"the masks in {folder} have {says}: put in those that were saved, or give the plain model"
            )
    if theirs:
        load_pretrained(model, folder)
    else:
        _load(model, tensors, folder)
    return model.eval()


def _is_made_alike(model: nn.Module, masking: Masking, tensors: dict[str, Tensor]) -> bool:
    """Whether the model's first mask, with the weights that were saved, is that of the options that were.

    Some options are in no weight, such as the radius of a window. What does not fit in size is told by its names.
    """
    described: Any = masking
    name, module = next(masked_modules(model))
    own, grid = copy.deepcopy(module.mask), module.place.grid().without_prefix()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        (twin,) = make_masks(described.mask, [(grid, module.place.heads)], described.share, described.options)
        start = f"{name}.mask."
        state = {key.removeprefix(start): x for key, x in tensors.items() if key.startswith(start)} or own.state_dict()
        try:
            for mask in (own, twin):
                mask.load_state_dict(state)
        except RuntimeError:
            return True
        values = [mask.to(torch.float64).forms(grid).values.cpu() for mask in (own, twin)]
    return torch.equal(*values)


def _load(model: nn.Module, tensors: dict[str, Tensor], folder: Path) -> None:
    has, given = ({name: x.shape for name, x in of.items() if ".mask." in name} for of in (model.state_dict(), tensors))
    wrong = sorted({name for name, _ in has.items() ^ given.items()})
    if wrong:
        raise ValueError(
            f"the masks in {folder} are not those of {type(model).__name__}, as {', '.join(wrong[:3])}: put in those "
            "that it was saved with"
        )
    model.load_state_dict(tensors)


def _plain(config: dict[str, Any], folder: Path) -> nn.Module:
    if str(config.get("architecture")).startswith("retconv_"):
        return _small(config["architecture"], config["model_args"])
    if "architecture" in config:
        return timm.create_model(f"local-dir:{folder}")
    names = config.get("architectures") or [None]
    if names[0] is None:
        raise ValueError(
            f"{folder / _CONFIG} names no architecture of timm or transformers: build the plain model as it was, and "
            "give it as model="
        )
    return plain_pretrained(names[0], folder)


def _small(name: str, arguments: dict[str, Any]) -> nn.Module:
    """One of the small models, whose pooling and size timm notes in its own way."""
    size = arguments.get("img_size")
    sides = {} if size is None else {"img_size": size[0]}
    others = {key: value for key, value in arguments.items() if key not in ("global_pool", "img_size")}
    model: Any = timm.create_model(name, **(others | sides | {"pooling": arguments["global_pool"]}))
    if size is not None and len({*size}) > 1:  # they are built square
        model.set_input_size(size)
    return model


def _mask(model: nn.Module, masking: Masking) -> None:
    weight = next(model.parameters())
    assert masking.mask is not None
    assert masking.image is not None
    image = torch.zeros(masking.image, dtype=weight.dtype, device=weight.device)
    with _sized(model, image):
        add_masks(
            model,
            masking.mask,
            placement=masking.placement,
            share=masking.share,  # type: ignore[arg-type]
            where=masking.where,
            example=image,
            prefix=masking.prefix,
            grid=masking.grid,
            pooled=masking.pooled,
            **masking.options,
        )


@contextmanager
def _sized(model: Any, image: Tensor) -> Iterator[None]:
    """Inside, a model of timm that was given another image size after its masks takes the one that it had then."""
    own = example_input(model) if hasattr(model, "set_input_size") and not _takes(model, image) else None
    if own is not None:
        model.set_input_size(image.shape[-2:])
    try:
        yield
    finally:
        if own is not None:
            model.set_input_size(own.shape[-2:])
    if own is not None:
        with torch.no_grad(), evaluating(model):  # so that masks see the grid
            call(model, own)


def _takes(model: nn.Module, image: Tensor) -> bool:
    try:
        with torch.no_grad(), evaluating(model), running(model, image):
            call(model, image)
    except ValueError:
        return False
    return True
