"""What a mask does, measured: its spectrum, its locality, and the kernel that attention amounts to.

It is imported by name, ``from retconv import analysis``, so that building a mask does not wait for it.
"""

from retconv.analysis import effective, locality, spectrum
from retconv.analysis.description import Description, describe

__all__ = ["Description", "describe", "effective", "locality", "spectrum"]
