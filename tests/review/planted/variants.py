"""Trees that some changes start from: what environments.py does not show, and a person may choose."""

from tests.review.workshop import Edit

PROD_ENDPOINT = (
    'endpoint=RealTime(instance_type="ml.g5.xlarge", min_instances=2, max_instances=4, max_latency_ms=2_000),'
)
IMPORTS = "from stacks.config import (\n"
GATE = '                    "RightValue": _evaluation("baselines.letter_frequencies"),'

VARIANTS: dict[str, tuple[Edit, ...]] = {
    "with delivery": (
        ("environments.py", "DELIVERY: Delivery | None = None", 'DELIVERY = Delivery(repository="example/amplify")'),
    ),
    "with capture": (
        ("environments.py", IMPORTS, f"{IMPORTS}    Capture,\n"),
        ("environments.py", PROD_ENDPOINT, PROD_ENDPOINT.replace("),", ", capture=Capture(percent=20)),")),
    ),
    "with a literal gate": (("stacks/pipeline_steps.py", GATE, '                    "RightValue": 2.40,'),),
    "with a workbench": (
        ("environments.py", IMPORTS, f"{IMPORTS}    Workbench,\n"),
        (
            "environments.py",
            "    monitoring=Monitoring(monthly_budget_usd=5_000),\n    monthly_ceiling_usd=4_500,",
            "    monitoring=Monitoring(monthly_budget_usd=5_000),\n    monthly_ceiling_usd=9_000,\n    workbench=Workbench(),",
        ),
    ),
}
