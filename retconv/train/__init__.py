"""Training of small ViTs: recipes, replicas, exact resume. ``retconv train --help`` explains the command."""

from typing import TYPE_CHECKING

from retconv.lazy import lazily

if TYPE_CHECKING:
    from retconv.train.budget import Budget
    from retconv.train.config import RECIPES, Config
    from retconv.train.files import TrainError
    from retconv.train.folder import RunFolder
    from retconv.train.parsing import RecipeError, load, parse
    from retconv.train.replicas import Replicas
    from retconv.train.run import train
    from retconv.train.trainer import DivergedError, Trainer

lazily(__name__)

__all__ = [
    "RECIPES",
    "Budget",
    "Config",
    "DivergedError",
    "RecipeError",
    "Replicas",
    "RunFolder",
    "TrainError",
    "Trainer",
    "load",
    "parse",
    "train",
]
