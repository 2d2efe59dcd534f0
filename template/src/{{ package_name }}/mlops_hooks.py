"""The template's hooks, in the order in which Kedro is to call them.

A release adds to this file, so that settings.py stays as a team has left it.
"""

from typing import Any

from .mlops.guard import GuardHooks
from .mlops.lineage.hook import LineageHooks
from .mlops.packaging import PackagingHooks
from .mlops.promotion.hooks import PromotionHooks
from .mlops.tracking import TrackingHooks
from .start_up import StartUpHooks

HOOKS: tuple[Any, ...] = (
    LineageHooks(),
    TrackingHooks(),
    PackagingHooks(),
    PromotionHooks(),
    GuardHooks(),
    StartUpHooks(),
)
