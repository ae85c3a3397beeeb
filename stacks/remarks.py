"""What synthesis remarks on and does not refuse. The CDK's command line shows it, at synthesis and before a deployment.

`Annotations.add_warning_v2` does the same and keeps the place in the CDK's own unpacked code beside it: a path that
differs each time, so that the cloud assembly would too.
"""

from constructs import Construct


def remark(on: Construct, rule: str, what: str) -> None:
    """Warn of `what`, at this construct; `rule` is the name by which somebody can accept it."""
    on.node.add_metadata("aws:cdk:warning", f"{what} [ack: amplify:{rule}]")
