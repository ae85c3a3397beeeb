"""The regions that SageMaker is in, of every partition: a region that is misspelt is told before anything is made.

Source: https://docs.aws.amazon.com/general/latest/gr/sagemaker.html, as in botocore's endpoint data (a test holds the
two together); me-west-1 from the table of stacks/deep_learning_containers.py.
"""

REGIONS = frozenset(
    {
        *("us-east-1", "us-east-2", "us-west-1", "us-west-2", "ca-central-1", "ca-west-1", "mx-central-1", "sa-east-1"),
        *(
            "eu-central-1",
            "eu-central-2",
            "eu-north-1",
            "eu-south-1",
            "eu-south-2",
            "eu-west-1",
            "eu-west-2",
            "eu-west-3",
        ),
        *("af-south-1", "il-central-1", "me-central-1", "me-south-1", "me-west-1", "ap-south-1", "ap-south-2"),
        *("ap-east-1", "ap-east-2", "ap-northeast-1", "ap-northeast-2", "ap-northeast-3"),
        *(f"ap-southeast-{number}" for number in range(1, 8)),
        *("cn-north-1", "cn-northwest-1", "us-gov-east-1", "us-gov-west-1", "eusc-de-east-1"),
        *("us-iso-east-1", "us-isob-east-1", "us-isof-east-1", "us-isof-south-1", "eu-isoe-west-1"),
    }
)
