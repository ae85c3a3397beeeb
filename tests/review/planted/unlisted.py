"""Types and forms that no list of the review names: found by what they hold, or said to be unknown."""

from tests.review.workshop import Edit, Planted

STORAGE = "stacks/storage.py"
PLACE = "        self._let_them_publish()\n\n"
EVERYTHING = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'
FOR_ALL = '{"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "sns:Publish", "Resource": "*"}]}'
KEY_FOR_ALL = '{"Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "kms:*", "Resource": "*"}]}'


def one_more(type_: str, properties: str) -> tuple[Edit, ...]:
    """A resource of this type in the stack of data."""
    made = f'        cdk.CfnResource(self, "OneMore", type="{type_}", properties={properties})\n'
    return ((STORAGE, PLACE, PLACE[:-1] + made + "\n"),)


TABLE = (
    Planted(
        name="an administrator by a policy of its own type",
        edits=one_more(
            "AWS::IAM::RolePolicy", f'{{"RoleName": "leads", "PolicyName": "all", "PolicyDocument": {EVERYTHING}}}'
        ),
        expect={"broadening": "stop"},
        says="leads, which is new, may * on everything",
    ),
    Planted(
        name="a person more in a group",
        edits=one_more("AWS::IAM::UserToGroupAddition", '{"GroupName": "administrators", "Users": ["ada"]}'),
        expect={"broadening": "look"},
        says="what administrators may do is given to ada as well",
    ),
    Planted(
        name="a topic for everybody by a policy of its own type",
        edits=one_more(
            "AWS::SNS::TopicInlinePolicy",
            f'{{"TopicArn": self.alarm_topic.topic_arn, "PolicyDocument": {FOR_ALL}}}',
        ),
        expect={"exposure": "stop"},
        says="anybody may sns:Publish",
    ),
    Planted(
        name="a key for everybody in a replica",
        edits=one_more("AWS::KMS::ReplicaKey", f'{{"PrimaryKeyArn": self.key.key_arn, "KeyPolicy": {KEY_FOR_ALL}}}'),
        expect={"exposure": "stop"},
        says="anybody may kms:*",
    ),
    Planted(
        name="an event bus for everybody",
        edits=one_more(
            "AWS::Events::EventBusPolicy", '{"StatementId": "all", "Action": "events:PutEvents", "Principal": "*"}'
        ),
        expect={"exposure": "stop"},
        says="anybody may events:PutEvents",
    ),
    Planted(
        name="a layer for everybody",
        edits=one_more(
            "AWS::Lambda::LayerVersionPermission",
            '{"LayerVersionArn": f"arn:aws:lambda:{self.region}:{self.account}:layer:x:1",'
            ' "Action": "lambda:GetLayerVersion", "Principal": "*"}',
        ),
        expect={"exposure": "stop"},
        says="anybody may lambda:GetLayerVersion",
    ),
    Planted(
        name="logs for everybody by a policy that is a text",
        edits=one_more(
            "AWS::Logs::ResourcePolicy",
            '{"PolicyName": "all", "PolicyDocument": cdk.Fn.sub(\'{"Statement": [{"Effect": "Allow",'
            ' "Principal": "*", "Action": "logs:*", "Resource": "arn:aws:logs:${AWS::Region}:*"}]}\')}',
        ),
        expect={"exposure": "stop"},
        says="anybody may logs:*",
    ),
    Planted(
        name="a nested stack",
        edits=one_more("AWS::CloudFormation::Stack", '{"TemplateURL": "https://s3.amazonaws.com/a/b.json"}'),
        expect={"exposure": "stop"},
        says="what is in it lies in another template",
    ),
    Planted(
        name="images copied to another account",
        edits=one_more(
            "AWS::ECR::ReplicationConfiguration",
            '{"ReplicationConfiguration": {"Rules": [{"Destinations":'
            ' [{"Region": "us-east-1", "RegistryId": "999999999999"}]}]}}',
        ),
        expect={"exposure": "stop"},
        says="account 999999999999",
    ),
    Planted(
        name="a function of a stranger during a deployment",
        edits=one_more("Custom::Helper", '{"ServiceToken": "arn:aws:lambda:us-east-1:999999999999:function:helper"}'),
        expect={"exposure": "stop"},
        says="account 999999999999",
    ),
    Planted(
        name="a secret in a parameter",
        edits=one_more("AWS::SSM::Parameter", '{"Name": "/db/password", "Type": "String", "Value": "hunter2hunter2"}'),
        expect={"exposure": "stop"},
        says="holds a secret",
    ),
    Planted(
        name="a parameter without a secret",
        edits=one_more("AWS::SSM::Parameter", '{"Name": "/db/size", "Type": "String", "Value": "large"}'),
        expect={"exposure": "look"},
        says="no rule of the review knows this type",
    ),
    Planted(
        name="another name for the key",
        edits=one_more("AWS::KMS::Alias", '{"AliasName": "alias/proteins", "TargetKeyId": self.key.key_id}'),
    ),
)
