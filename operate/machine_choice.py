"""What a run may choose of its machines: refused here with what the environment allows, before anything is started."""

from operate.errors import OperateError
from stacks.config import Environment


def check(environment: Environment, instance_type: str | None, instance_count: int | None) -> None:
    """Raises OperateError where environments.py does not let a run have these machines.

    The pipeline itself refuses other types too. Of counts only this command knows: a parameter of the type Integer has
    no list of values, and SageMaker bounds it by the account's quota alone.
    """
    training = environment.training
    if training is None:
        raise OperateError(
            f"No models are made in {environment.name}: they arrive there as releases.",
            todo="Train in an environment that has `training` in environments.py.",
        )
    types = ", ".join(training.instance_types)
    change = "or change environments.py, and deploy"
    if instance_type is not None and not training.run_chooses_type:
        raise OperateError(
            f"In {environment.name} SageMaker takes the first of {types} that it has.",
            todo=f"Leave --instance-type out, {change}.",
        )
    if instance_type is not None and instance_type not in training.instance_types:
        raise OperateError(
            f"--instance-type {instance_type} is none that {environment.name} allows.",
            todo=f"Give one of {types}, {change}.",
        )
    if instance_count is not None and instance_count > training.most_instances:
        raise OperateError(
            f"--instance-count {instance_count} is more than {environment.name} allows.",
            todo=f"Give at most {training.most_instances}, {change} (max_instance_count).",
        )
