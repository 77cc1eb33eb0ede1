"""What a placement costs, by name: `make("fgd", workload)`. One idea per file; score.py says what a score is.

fits.py            first_fit, best_fit, worst_fit, spread, dot_product
packing.py         gpu_packing
fragmentation.py   fgd, fill, fgd_fill: they know the workload
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from loggos.base.errors import ConfigError
from loggos.fleet.scheduler.scores.fits import BestFit, DotProduct, FirstFit, Spread, WorstFit
from loggos.fleet.scheduler.scores.fragmentation import Class, Fill, Fragmentation, FragmentationFill, FragmentationGradient
from loggos.fleet.scheduler.scores.packing import GpuPacking
from loggos.fleet.scheduler.scores.score import Potential, Score

KINDS: Final = (FirstFit, BestFit, WorstFit, Spread, DotProduct, GpuPacking)
BLIND: Final[dict[str, type[Score]]] = {score.name: score for score in KINDS}
KNOWING: Final[dict[str, type[Fragmentation]]] = {score.name: score for score in (FragmentationGradient, Fill, FragmentationFill)}
NAMES: Final = (*BLIND, *KNOWING)


def make(name: str, workload: Sequence[Class]) -> Score:
    """A score. `workload`: the classes that tasks usually come from; only the knowing ones look at it. ConfigError: no such
    score."""
    if name in BLIND:
        return BLIND[name]()
    if name in KNOWING:
        return KNOWING[name](workload)
    raise ConfigError(f"no score {name}: there are {', '.join(NAMES)}")


__all__ = ["NAMES", "Class", "FragmentationGradient", "Potential", "Score", "make"]
