"""cfn-lint over every template: what CloudFormation itself would refuse, which the emulator lets pass."""

import copy
import json

import pytest
from cfnlint.api import lint
from cfnlint.config import ManualArgs

from environments import ENVIRONMENTS
from tests.stacks.synthesis import VARIANTS, Template, all_templates, templates

UNWANTED = [
    "W3005",  # "obsolete DependsOn": the CDK writes one for the role of each function
    "W3010",  # "avoid hardcoding availability zones": ours are literals so that synthesis looks nothing up
]
REGIONS = sorted({environment.region for environment in ENVIRONMENTS.values()})


def findings(template: Template) -> list[str]:
    found = lint(json.dumps(template), config=ManualArgs(regions=REGIONS, ignore_checks=UNWANTED))
    return [str(match) for match in found]


@pytest.mark.parametrize("environment", [*ENVIRONMENTS, *VARIANTS, "modes", "delivery"])
def test_cloudformation_would_accept_every_template(environment: str) -> None:
    of_it = {stack: template for stack, template in all_templates().items() if stack.startswith(f"{environment}/")}
    assert {stack: found for stack, template in of_it.items() if (found := findings(template))} == {}


def test_a_property_that_does_not_exist_is_found() -> None:
    broken: Template = copy.deepcopy(templates()["prod/registry"])
    broken["Resources"]["ModelPackageGroup"]["Properties"]["ModelPackageGroupNmae"] = "x"
    assert any("ModelPackageGroupNmae" in finding for finding in findings(broken))
