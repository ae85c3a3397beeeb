"""Where in a network a job or an endpoint runs: SageMaker's VpcConfig, handed from the network stack to the others."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class VpcConfig:
    """Subnets of one VPC, and the security group of one kind of user: strings, or CDK tokens that become such."""

    subnets: tuple[str, ...]
    security_group: str

    def as_request(self) -> dict[str, list[str]]:
        """The value of `VpcConfig` in a request to SageMaker."""
        return {"Subnets": list(self.subnets), "SecurityGroupIds": [self.security_group]}
