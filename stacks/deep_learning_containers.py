"""Where AWS keeps its Deep Learning Containers: one account for each region, whose images every account may pull.

Source: the table "Deep Learning Containers" of docs/reference/region_availability.md in the repository
aws/deep-learning-containers, August 2026. (The CDK's own `region_info` lacks some of these regions.) Which image of
theirs the GPU target begins with is written in model_code/Dockerfile, so that the digest of the code says it too.
"""

ACCOUNT_OF_MOST = "763104351884"
REGIONS_OF_MOST = frozenset(
    {
        *("us-east-1", "us-east-2", "us-west-1", "us-west-2", "ca-central-1", "sa-east-1"),
        *("eu-central-1", "eu-north-1", "eu-west-1", "eu-west-2", "eu-west-3"),
        *("ap-northeast-1", "ap-northeast-2", "ap-south-1", "ap-southeast-1", "ap-southeast-2"),
    }
)
OTHER_ACCOUNTS = {
    "af-south-1": "626614931356",
    "ap-east-1": "871362719292",
    "ap-east-2": "975050140332",
    "ap-northeast-3": "364406365360",
    "ap-south-2": "772153158452",
    "ap-southeast-3": "907027046896",
    "ap-southeast-4": "457447274322",
    "ap-southeast-5": "550225433462",
    "ap-southeast-6": "633930458069",
    "ap-southeast-7": "590183813437",
    "ca-west-1": "204538143572",
    "cn-north-1": "727897471807",
    "cn-northwest-1": "727897471807",
    "eu-central-2": "380420809688",
    "eu-south-1": "692866216735",
    "eu-south-2": "503227376785",
    "il-central-1": "780543022126",
    "me-central-1": "914824155844",
    "me-south-1": "217643126080",
    "me-west-1": "124382933778",
    "mx-central-1": "637423239942",
}
ACCOUNTS = dict.fromkeys(REGIONS_OF_MOST, ACCOUNT_OF_MOST) | OTHER_ACCOUNTS

REPOSITORY = "pytorch"


def registry_account(region: str) -> str:
    """The account whose registry serves `region`. Raises ValueError where there is none."""
    if region not in ACCOUNTS:
        raise ValueError(
            f"AWS keeps no Deep Learning Containers in {region!r}, and GPU images are built from one: give one of the "
            f"regions {', '.join(sorted(ACCOUNTS))}"
        )
    return ACCOUNTS[region]
