"""An interactive picture of one mask: what it is as mask, kernel and filter, and what it does to a photograph."""

from retconv.explorer.choice import PARAMETERS, Choice, View, view
from retconv.explorer.plate import Plate
from retconv.explorer.widget import Explorer

__all__ = ["PARAMETERS", "Choice", "Explorer", "Plate", "View", "view"]
