"""The settings of one environment: typed, frozen, and checked where they enter, all faults reported at once.

`environments.py` holds the values. Nothing below this door reads the environment or a context value for a setting.
"""

from stacks.config.checks import SettingsError
from stacks.config.endpoint import Endpoint
from stacks.config.environment import Environment
from stacks.config.network import Network
from stacks.config.training import ImageTarget, Training

__all__ = ["Endpoint", "Environment", "ImageTarget", "Network", "SettingsError", "Training"]
