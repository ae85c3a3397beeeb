"""The private network of an environment: where its jobs and endpoints run, and the little that they reach there."""

from typing import Any

import aws_cdk as cdk
from constructs import Construct

from stacks.config import Environment, Network
from stacks.constructs.flow_log import FlowLog
from stacks.constructs.private_network import PrivateNetwork
from stacks.constructs.service_endpoints import ServiceEndpoints
from stacks.storage import StorageStack
from stacks.vpc_config import VpcConfig


class NetworkStack(cdk.Stack):
    """Holds no state but the record of its traffic, which is retained."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        environment: Environment,
        network: Network,
        storage: StorageStack,
        **kwargs: Any,
    ) -> None:
        self._zones = list(network.availability_zones)
        super().__init__(scope, id, description="AMPLIFY: a network without a way to the internet", **kwargs)
        self.private = PrivateNetwork(self, "Private", network=network, buckets=list(storage.buckets))
        ServiceEndpoints(
            self,
            "Services",
            vpc=self.private.vpc,
            services=network.interface_endpoints,
            security_group=self.private.endpoints_group,
            resource_name=environment.resource_name,
            key_arn=storage.key.key_arn,
        )
        FlowLog(self, "FlowLog", vpc=self.private.vpc, key_arn=storage.key.key_arn, keep_days=network.flow_log_days)

        jobs = self.private.add_group("JobsGroup", description="Jobs: each reaches AWS services, and its own instances")
        self.private.let_talk_among_themselves(jobs)
        serving = self.private.add_group("ServingGroup", description="Instances of endpoints: they reach AWS services")
        workbench = self.private.add_group("WorkbenchGroup", description="The notebook: it reaches AWS services")
        self.jobs: VpcConfig = self.private.vpc_config(jobs)
        self.serving: VpcConfig = self.private.vpc_config(serving)

        self.workbench: VpcConfig = self.private.vpc_config(workbench)

        # Exported whether or not a stack of today reads them, as in storage.py.
        users = (self.jobs, self.serving, self.workbench)
        for value in (*self.private.subnet_ids, *(user.security_group for user in users)):
            self.export_value(value)

        cdk.CfnOutput(self, "VpcId", value=self.private.vpc.vpc_id)

    @property
    def availability_zones(self) -> list[str]:
        """Those of the settings. The CDK's Vpc asks its stack even when it was told the zones, and a stack left to
        itself has the command line look them up in the account."""
        return self._zones
