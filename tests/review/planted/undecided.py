"""What a template leaves open until it is deployed: conditions, macros, parameters."""

from tests.review.planted.unlisted import PLACE, STORAGE
from tests.review.workshop import Edit, Planted

PUBLISHED_BY = (
    '                    principals=[iam.ServicePrincipal(service)],\n                    actions=["sns:Publish"],'
)
OPEN = '{"Effect": "Allow", "Principal": "*", "Action": "sns:Publish", "Resource": "*"}'
CLOSED = (
    '{"Effect": "Allow", "Principal": {"Service": "budgets.amazonaws.com"}, "Action": "sns:Publish", "Resource": "*"}'
)


def in_the_topic(statement: str) -> tuple[Edit, ...]:
    """The topic's policy is one statement, of whatever form."""
    made = (
        '        cdk.CfnCondition(self, "Later", expression=cdk.Fn.condition_equals(cdk.Aws.REGION, "us-east-1"))\n'
        "        topic_policy = [one for one in self.node.find_all() if isinstance(one, sns.CfnTopicPolicy)][0]\n"
        f'        topic_policy.add_property_override("PolicyDocument.Statement", {statement})\n'
    )
    return ((STORAGE, PLACE, PLACE[:-1] + made + "\n"),)


TABLE = (
    Planted(
        name="a topic for everybody under a condition",
        edits=in_the_topic(f'[{{"Fn::If": ["Later", {OPEN}, {CLOSED}]}}]'),
        expect={"exposure": "stop"},
        says="anybody may sns:Publish",
    ),
    Planted(
        name="a topic for budgets alone, either way",
        edits=in_the_topic(f'{{"Fn::If": ["Later", [{CLOSED}], [{CLOSED}]]}}'),
        expect={"exposure": "stop"},
        says="no longer denies sns:Publish",
    ),
    Planted(
        name="a policy that a macro writes",
        edits=in_the_topic('{"Fn::Transform": {"Name": "Ours", "Parameters": {}}}'),
        expect={"exposure": "stop", "broadening": "stop", "policy": "look"},
        says="which a macro writes",
    ),
    Planted(
        name="a policy whose action is a parameter",
        edits=(
            (
                STORAGE,
                '        """A topic\'s policy, once',
                '        chosen = cdk.CfnParameter(self, "Chosen", default="sns:Publish").value_as_string\n'
                '        """A topic\'s policy, once',
            ),
            (STORAGE, PUBLISHED_BY, PUBLISHED_BY.replace('"sns:Publish"', "chosen")),
        ),
        expect={"exposure": "look", "broadening": "stop", "safeguards": "look"},
        says="made up when it is deployed",
    ),
    Planted(
        name="a bucket that is there under a condition",
        edits=(
            (
                STORAGE,
                PLACE,
                PLACE[:-1]
                + '        later = cdk.CfnCondition(self, "Later", expression=cdk.Fn.condition_equals(cdk.Aws.REGION, "x"))\n'
                + "        self.data_bucket.node.default_child.cfn_options.condition = later\n\n",
            ),
        ),
        expect={"destructive": "stop", "policy": "look"},
        says="whether DataBucket is there depends on Later",
    ),
)
