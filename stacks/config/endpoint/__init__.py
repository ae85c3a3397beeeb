"""How an approved model is served: one class of settings for each mode, so that a wrong mixture cannot be written.

All of them serve the model package that releases/<env>.json names. What each can do is in modes.py. A mode is changed
by taking the endpoint stack away and deploying it anew: docs/endpoint-modes.md.
"""

from stacks.config.endpoint.asynchronous import Async
from stacks.config.endpoint.batch import Batch
from stacks.config.endpoint.components import InferenceComponents
from stacks.config.endpoint.deployment import AllAtOnce, Canary, Deployment, Linear, Rolling
from stacks.config.endpoint.realtime import Capture, RealTime, Shadow
from stacks.config.endpoint.serverless import Serverless
from stacks.config.endpoint.working_hours import WorkingHours

Endpoint = RealTime | Async | Serverless | InferenceComponents | Batch

__all__ = [
    "AllAtOnce",
    "Async",
    "Batch",
    "Canary",
    "Capture",
    "Deployment",
    "Endpoint",
    "InferenceComponents",
    "Linear",
    "RealTime",
    "Rolling",
    "Serverless",
    "Shadow",
    "WorkingHours",
]
