"""The accuracies that the study's are held against."""

from __future__ import annotations

#: Top-1 accuracy in per cent, plain and with a Gaussian mixture mask, one seed each, by Li and Zhang 2023 (arXiv
#: 2309.05375). The plain models end in a class token where the masked ones end in mean pooling, and the best epoch on
#: the test set was reported.
PUBLISHED_TOP1: dict[tuple[str, str], tuple[float, float]] = {
    ("vit", "cifar10"): (93.65, 95.06),
    ("swin", "cifar10"): (95.26, 95.39),
    ("cait", "cifar10"): (94.79, 95.15),
    ("pit", "cifar10"): (93.68, 94.41),
    ("t2t", "cifar10"): (95.32, 96.16),
    ("vit", "cifar100"): (75.36, 77.81),
    ("swin", "cifar100"): (77.88, 78.26),
    ("cait", "cifar100"): (78.42, 78.97),
    ("pit", "cifar100"): (72.82, 74.16),
    ("t2t", "cifar100"): (78.10, 79.91),
    ("vit", "svhn"): (97.93, 98.01),
    ("swin", "svhn"): (97.89, 97.90),
    ("cait", "svhn"): (98.13, 98.09),
    ("pit", "svhn"): (97.78, 97.82),
    ("t2t", "svhn"): (97.99, 97.98),
    ("vit", "tiny-imagenet"): (59.89, 62.27),
    ("swin", "tiny-imagenet"): (60.45, 61.03),
    ("cait", "tiny-imagenet"): (62.46, 63.64),
    ("pit", "tiny-imagenet"): (57.63, 58.37),
    ("t2t", "tiny-imagenet"): (61.50, 63.33),
}
