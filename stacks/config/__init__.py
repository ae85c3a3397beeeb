"""The settings of one environment: typed, frozen, and checked where they enter, all faults reported at once.

`environments.py` holds the values. Nothing below this door reads the environment or a context value for a setting.
"""

from stacks.config.capacity import InstancePreferences, ManagedSpot, OnDemand, TrainingPlan, WarmPool
from stacks.config.checks import SettingsError
from stacks.config.delivery import Delivery, targets
from stacks.config.endpoint import (
    AllAtOnce,
    Async,
    Batch,
    Canary,
    Capture,
    Endpoint,
    InferenceComponents,
    Linear,
    RealTime,
    Rolling,
    Serverless,
    Shadow,
    WorkingHours,
)
from stacks.config.environment import Environment
from stacks.config.monitoring import Drift, Monitoring
from stacks.config.network import Network
from stacks.config.people import People
from stacks.config.promotion import Promotion
from stacks.config.together import checked
from stacks.config.training import ImageTarget, Training
from stacks.config.workbench import Workbench

__all__ = [
    "AllAtOnce",
    "Async",
    "Batch",
    "Canary",
    "Capture",
    "Delivery",
    "Drift",
    "Endpoint",
    "Environment",
    "ImageTarget",
    "InferenceComponents",
    "InstancePreferences",
    "Linear",
    "ManagedSpot",
    "Monitoring",
    "Network",
    "OnDemand",
    "People",
    "Promotion",
    "RealTime",
    "Rolling",
    "Serverless",
    "SettingsError",
    "Shadow",
    "Training",
    "TrainingPlan",
    "WarmPool",
    "Workbench",
    "WorkingHours",
    "checked",
    "targets",
]
