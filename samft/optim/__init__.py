"""What is trained how fast: settings, parameter groups, schedules and the Muon optimiser."""

from samft.optim.groups import build_optimizer, describe
from samft.optim.schedules import build_schedule, lightning_optimizers, rate_curve
from samft.optim.settings import OptimizerSettings

__all__ = [
    "OptimizerSettings",
    "build_optimizer",
    "build_schedule",
    "describe",
    "lightning_optimizers",
    "rate_curve",
]
