"""The data sets: what each one is, and under which names it lies on a disk."""

from __future__ import annotations

from dataclasses import dataclass

_FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
_DIGITS = tuple("0123456789")


@dataclass(frozen=True)
class Spec:
    """What is known of a data set before its files are read.

    Attributes:
        name: As ``load`` takes it.
        size: Height and width of an image, in pixels.
        classes: Number of classes.
        flip: Whether images may be mirrored.
        folders: Names of its folder below a root.
        names: A name for each class, where the files have none.
        test: How names of files and folders of the test split begin.
        reduce: Factor by which larger images are averaged down to ``size``.
        hub: Its repository on the Hugging Face hub, where torchvision cannot download it.
    """

    name: str
    size: int
    classes: int
    flip: bool
    folders: tuple[str, ...]
    names: tuple[str, ...] = ()
    test: str = "test"
    reduce: int = 1
    hub: str = ""


_TINY = ("tiny-imagenet", "tiny-imagenet-200")

SPECS = {
    spec.name: spec
    for spec in (
        Spec("cifar10", 32, 10, True, ("cifar10",)),
        Spec("cifar100", 32, 100, True, ("cifar100",)),
        Spec("svhn", 32, 10, False, ("svhn",), _DIGITS),
        Spec("tiny-imagenet", 64, 200, True, _TINY, test="val", hub="zh-plus/tiny-imagenet"),
        Spec(
            "tiny-imagenet-32",
            32,
            200,
            True,
            ("tiny-imagenet-32", *_TINY),
            test="val",
            reduce=2,
            hub="zh-plus/tiny-imagenet",
        ),
        Spec("fashion-mnist", 28, 10, True, ("fashion-mnist",), _FASHION),
        Spec("digits", 8, 10, False, (), _DIGITS),
    )
}
NAMES = tuple(SPECS)
