"""What an account is meant to spend in a month, and who hears when it spends more."""

from aws_cdk import aws_budgets as budgets
from aws_cdk import aws_sns as sns
from constructs import Construct

BUDGETS = (("ACTUAL", 80), ("ACTUAL", 100), ("FORECASTED", 100))  # what is compared, at which percent it rings


class AccountBudget(Construct):
    """A monthly cost budget of the whole account. It tells and stops nothing: a day late, as bills are.

    By account and not by the tag `environment`: a tag counts in bills only once somebody activates it as a cost
    allocation tag, in the console of the paying account (docs/real-account.md).
    """

    def __init__(self, scope: Construct, id: str, *, name: str, usd: int, topic: sns.ITopic) -> None:
        super().__init__(scope, id)
        subscriber = budgets.CfnBudget.SubscriberProperty(subscription_type="SNS", address=topic.topic_arn)
        self.budget = budgets.CfnBudget(
            self,
            "Budget",
            budget=budgets.CfnBudget.BudgetDataProperty(
                budget_name=name,
                budget_type="COST",
                time_unit="MONTHLY",
                budget_limit=budgets.CfnBudget.SpendProperty(amount=usd, unit="USD"),
            ),
            notifications_with_subscribers=[
                budgets.CfnBudget.NotificationWithSubscribersProperty(
                    notification=budgets.CfnBudget.NotificationProperty(
                        notification_type=kind,
                        comparison_operator="GREATER_THAN",
                        threshold=percent,
                        threshold_type="PERCENTAGE",
                    ),
                    subscribers=[subscriber],
                )
                for kind, percent in BUDGETS
            ],
        )
