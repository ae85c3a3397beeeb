"""An endpoint without instances: SageMaker starts the container when somebody asks.

Its model has a network, unlike all others here: serverless inference knows neither isolation nor a VPC, and its
container could reach the internet with the role's credentials. The role can read its one artefact and nothing else.
"""

from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from stacks.config.endpoint import Serverless
from stacks.constructs.served_model import VARIANT_NAME, ServedModel
from stacks.constructs.service_role import ServiceRole


class ServerlessEndpoint(Construct):
    """Model, endpoint configuration and endpoint."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        name: str,
        model_package_arn: str,
        settings: Serverless,
        role: ServiceRole,
    ) -> None:
        super().__init__(scope, id)
        model = ServedModel(self, "Model", model_package_arn=model_package_arn, role=role, vpc=None, isolated=False)
        config = sagemaker.CfnEndpointConfig(
            self,
            "EndpointConfig",
            production_variants=[
                sagemaker.CfnEndpointConfig.ProductionVariantProperty(
                    variant_name=VARIANT_NAME,
                    model_name=model.attr_model_name,
                    initial_variant_weight=1,
                    serverless_config=sagemaker.CfnEndpointConfig.ServerlessConfigProperty(
                        memory_size_in_mb=settings.memory_mb,
                        max_concurrency=settings.max_concurrency,
                        provisioned_concurrency=settings.provisioned_concurrency,
                    ),
                )
            ],
        )
        self.endpoint = sagemaker.CfnEndpoint(
            self, "Endpoint", endpoint_name=name, endpoint_config_name=config.attr_endpoint_config_name
        )
        self.endpoint.node.add_dependency(role.policy)
