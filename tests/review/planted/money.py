"""What gets dearer."""

from tests.review.workshop import Planted

TYPES = 'instance_types=("ml.g5.xlarge", "ml.g5.12xlarge", "ml.p4d.24xlarge")'
FLEET = 'instance_type="ml.g5.xlarge", min_instances=2, max_instances=4'
CEILING = "monthly_ceiling_usd=4_500"

TABLE = (
    Planted(
        name="machines a hundred times dearer",
        environment="dev",
        edits=(("environments.py", TYPES, 'instance_types=("ml.p5.48xlarge", "ml.g5.12xlarge", "ml.p4d.24xlarge")'),),
        expect={"cost": "stop"},
        says="instance_type of a run that names none: ml.g5.xlarge → ml.p5.48xlarge",
    ),
    Planted(
        name="a dearer machine that a run may ask for",
        environment="dev",
        edits=(("environments.py", TYPES, TYPES.replace(")", ', "ml.p5.48xlarge")')),),
        expect={"cost": "look"},
        says="a run may ask for ml.p5.48xlarge too",
    ),
    Planted(
        name="a machine without a price",
        environment="dev",
        edits=(("environments.py", TYPES, TYPES.replace(")", ', "ml.p4de.24xlarge")')),),
        expect={"cost": "look"},
        says="the price is unknown",
    ),
    Planted(
        name="many machines",
        environment="dev",
        edits=(("environments.py", "        volume_gb=200,", "        volume_gb=200,\n        instance_count=8,"),),
        expect={"cost": "stop", "policy": "look"},
    ),
    Planted(
        name="no spot",
        environment="dev",
        edits=(("environments.py", "capacity=ManagedSpot(max_wait_hours=72)", "capacity=OnDemand()"),),
        expect={"cost": "look"},
        says="managed spot on → off",
    ),
    Planted(
        name="five times the time",
        environment="dev",
        edits=(
            ("environments.py", "max_wait_hours=72", "max_wait_hours=240"),
            ("environments.py", "max_runtime_hours=48", "max_runtime_hours=240"),
        ),
        expect={"cost": "stop", "safeguards": "look"},
        says="MaxRuntimeInSeconds: 48 h → 240 h",
    ),
    Planted(
        name="a machine for evaluation",
        environment="dev",
        edits=(
            ("environments.py", 'evaluate_instance_type="ml.g5.xlarge"', 'evaluate_instance_type="ml.g5.12xlarge"'),
        ),
        expect={"cost": "look"},
        says="ClusterConfig.InstanceType: ml.g5.xlarge → ml.g5.12xlarge",
    ),
    Planted(
        name="a dearer endpoint",
        edits=(
            ("environments.py", FLEET, FLEET.replace("xlarge", "12xlarge")),
            ("environments.py", CEILING, "monthly_ceiling_usd=30_000"),
        ),
        expect={"cost": "stop", "safeguards": "look"},
        says="InstanceType: ml.g5.xlarge → ml.g5.12xlarge",
    ),
    Planted(
        name="a larger fleet",
        edits=(
            ("environments.py", FLEET, FLEET.replace("=4", "=6")),
            ("environments.py", CEILING, "monthly_ceiling_usd=7_000"),
        ),
        expect={"cost": "look", "safeguards": "look"},
        says="the ceiling is raised, $4,500 → $7,000",
    ),
    Planted(
        name="over the ceiling",
        edits=(("environments.py", FLEET, FLEET.replace("=4", "=40")),),
        expect={"policy": "stop"},
        says="monthly_ceiling_usd is 4500, but what stands there can cost",
    ),
    Planted(
        name="no ceiling",
        edits=(("environments.py", f"    {CEILING},\n", ""),),
        expect={"cost": "look"},
        says="the ceiling is gone; it was $4,500",
    ),
    Planted(
        name="day and night",
        environment="dev",
        edits=(
            ("environments.py", 'working_hours=WorkingHours(time_zone="UTC")', "min_instances=1"),
            ("environments.py", "monthly_ceiling_usd=750", "monthly_ceiling_usd=1_200"),
        ),
        expect={"destructive": "look", "cost": "look", "safeguards": "look"},
    ),
    Planted(
        name="a gateway that costs by the hour",
        edits=(
            (
                "stacks/constructs/private_network.py",
                "        self._let_in_and_out_of_s3(buckets)\n",
                '        self._let_in_and_out_of_s3(buckets)\n        ec2.CfnNatGateway(self, "Nat", subnet_id=self.vpc.isolated_subnets[0].subnet_id)\n',
            ),
        ),
        expect={"exposure": "stop"},
        says="there is a NAT gateway",
    ),
    Planted(
        name="a higher budget",
        edits=(("environments.py", "monthly_budget_usd=5_000", "monthly_budget_usd=50_000"),),
        expect={"safeguards": "look"},
        says="the budget warns at 5000 → 50000 US dollars",
    ),
)
