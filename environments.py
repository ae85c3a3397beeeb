"""The environments, as plain values: the one file a person edits.

`local` is AWS on this machine (account and region are the emulator's). The accounts of dev, staging and prod are
PLACEHOLDERS: put your own twelve digits there before the first `cdk bootstrap` and `cdk deploy '<env>/*'`. With a
region change the zones of its network, and the id of the list of S3's addresses there. Say who hears alarms:
`Monitoring(alarm_emails=("on-call@example.org",))`; budgets and ceilings are placeholders too.
"""

from stacks.config import (
    Delivery,
    Environment,
    ManagedSpot,
    Monitoring,
    Network,
    OnDemand,
    Promotion,
    RealTime,
    Training,
    WorkingHours,
    checked,
)

LOCAL = Environment(
    name="local",
    account="123456789012",
    region="us-east-1",
    training=Training(
        recipe="demo",
        image_target="cpu",
        instance_types=("ml.m5.xlarge", "ml.m5.2xlarge"),
        capacity=OnDemand(),  # a laptop has no spot market; ManagedSpot works too, see `python -m local_aws interrupt`
        max_instance_count=2,
        max_runtime_hours=1,
        evaluate_instance_type="ml.m5.xlarge",
        on_arrival=True,  # put proteins/READY into the data bucket, and a run begins
    ),
    endpoint=RealTime(instance_type="ml.m5.xlarge"),
    network=None,  # processes of this machine
    termination_protection=False,  # a folder on this machine: `make clean` is how it goes away
)

DEV = Environment(
    name="dev",
    account="111111111111",  # PLACEHOLDER: edit
    region="us-east-1",
    training=Training(
        recipe="120m_stage1",
        image_target="gpu",
        instance_types=("ml.g5.xlarge", "ml.g5.12xlarge", "ml.p4d.24xlarge"),
        volume_gb=200,
        capacity=ManagedSpot(max_wait_hours=72),
        max_runtime_hours=48,
        evaluate_instance_type="ml.g5.xlarge",
    ),
    # Nobody asks at night: the endpoint goes then, and comes back in the morning. Put your own hours and zone here.
    endpoint=RealTime(instance_type="ml.g5.xlarge", working_hours=WorkingHours(time_zone="UTC")),
    network=None,  # to save its hourly price; give a Network to have jobs and endpoint in one
    # A notebook wants a network too: workbench=Workbench(). Who trains and approves: people=People(trainers=(…,)).
    monitoring=Monitoring(monthly_budget_usd=1_000),  # of the account, runs included
    monthly_ceiling_usd=750,  # of what stands there when nobody works
)

STAGING = Environment(
    name="staging",
    account="222222222222",  # PLACEHOLDER: edit
    region="us-east-1",
    training=None,  # models arrive as releases
    promotion=Promotion(source="dev", loss_margin=0.01),  # nats a residue: what one seed differs from another
    endpoint=RealTime(instance_type="ml.g5.xlarge", min_instances=2, max_instances=2),
    network=Network(
        cidr="10.20.0.0/20",
        availability_zones=("us-east-1a", "us-east-1b", "us-east-1c"),
        s3_prefix_list="pl-63a5400a",
    ),
    monitoring=Monitoring(monthly_budget_usd=3_000),
    monthly_ceiling_usd=2_500,
)

PROD = Environment(
    name="prod",
    account="333333333333",  # PLACEHOLDER: edit
    region="us-east-1",
    training=None,
    promotion=Promotion(source="staging", loss_margin=0.01),
    endpoint=RealTime(instance_type="ml.g5.xlarge", min_instances=2, max_instances=4, max_latency_ms=2_000),
    network=Network(
        cidr="10.30.0.0/20",
        availability_zones=("us-east-1a", "us-east-1b", "us-east-1c"),
        s3_prefix_list="pl-63a5400a",
    ),
    # To look for drift, keep a share of the requests (endpoint: capture=Capture(percent=5)) and give drift=Drift().
    monitoring=Monitoring(monthly_budget_usd=5_000),
    monthly_ceiling_usd=4_500,
)

# Who deploys dev, staging and prod: a GitHub repository's workflows (.github/workflows/deploy.yml, nightly.yml), once
# there is Delivery(repository="owner/name") and its accounts trust it (docs/real-account.md). None: people do, by hand.
DELIVERY: Delivery | None = None

ENVIRONMENTS = checked(LOCAL, DEV, STAGING, PROD, delivery=DELIVERY)
