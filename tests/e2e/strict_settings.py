"""What `local` is set to in strict runs, by name: unit tests look at the templates of what is deployed there.

The tree's own `local` has no role of capture, drift, hours and schedules; nor has any one setting all modes.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from environments import LOCAL
from stacks.config import (
    Async,
    Batch,
    Capture,
    Drift,
    Environment,
    Monitoring,
    RealTime,
    Rolling,
    Serverless,
    WorkingHours,
)
from stacks.config.delivery import BOUNDARY

FAR = f"{datetime.now(UTC) + timedelta(days=3):%a}".upper()  # a day on which nothing comes due while a test runs

assert LOCAL.training is not None
REALTIME = replace(
    LOCAL,
    training=replace(LOCAL.training, schedule=f"cron(0 3 ? * {FAR} *)"),
    endpoint=RealTime(instance_type="ml.m5.xlarge", capture=Capture(percent=100), working_hours=WorkingHours(days=FAR)),
    monitoring=Monitoring(drift=Drift()),
)
SETTINGS: dict[str, Environment] = {
    "realtime": REALTIME,
    # One instance that stays: to wait for scaling would show nothing of roles.
    "async": replace(LOCAL, endpoint=Async(instance_type="ml.m5.xlarge", allow_cpu=True, min_instances=1)),
    "serverless": replace(LOCAL, endpoint=Serverless(memory_mb=4096)),
    "batch": replace(LOCAL, endpoint=Batch(instance_type="ml.m5.xlarge", named_packages=True)),
    "rolling": replace(
        LOCAL,
        endpoint=RealTime(
            instance_type="ml.m5.xlarge",
            min_instances=2,
            max_instances=2,
            deployment=Rolling(batch_percent=50, wait_minutes=3),
        ),
    ),
    "bounded": replace(REALTIME, permissions_boundary=BOUNDARY),
}
