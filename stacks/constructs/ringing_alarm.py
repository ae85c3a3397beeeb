"""An alarm that a person hears: it says what is the matter, and which entry of the runbook says what to do."""

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_sns as sns
from constructs import Construct

MINUTE, FIVE_MINUTES, HOUR = cdk.Duration.minutes(1), cdk.Duration.minutes(5), cdk.Duration.hours(1)

RUNBOOK = "docs/runbook.md"


def with_runbook(description: str, entry: str) -> str:
    """An alarm's description, with the heading in the runbook that belongs to it."""
    return f"{description} Runbook: {RUNBOOK}#{entry}"


class RingingAlarm(cloudwatch.Alarm):
    """Rings on the topic, and says there when it is over. `runbook`: the heading in docs/runbook.md.

    No data is no alarm, unless `missing` says otherwise: most of what is counted here is there only when it happens.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        description: str,
        runbook: str,
        metric: cloudwatch.IMetric,
        threshold: float,
        evaluation_periods: int = 1,
        datapoints_to_alarm: int | None = None,
        missing: cloudwatch.TreatMissingData = cloudwatch.TreatMissingData.NOT_BREACHING,
        topic: sns.ITopic,
    ) -> None:
        super().__init__(
            scope,
            id,
            alarm_description=with_runbook(description, runbook),
            metric=metric,
            threshold=threshold,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            evaluation_periods=evaluation_periods,
            datapoints_to_alarm=evaluation_periods if datapoints_to_alarm is None else datapoints_to_alarm,
            treat_missing_data=missing,
        )
        self.add_alarm_action(actions.SnsAction(topic))
        self.add_ok_action(actions.SnsAction(topic))
