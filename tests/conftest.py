"""What every test runs under: nothing of the AWS that the person at the keyboard uses."""

import os

for name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[name]
os.environ |= {
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    "NO_PROXY": "127.0.0.1,localhost",
    "no_proxy": "127.0.0.1,localhost",
}

# jsii starts Node at the first `import aws_cdk` and hands it the environment of that moment: so here, before any test.
os.environ["CDK_VALIDATION"] = "false"  # ten times faster; tests/stacks/test_synth.py keeps it on once
os.environ.setdefault("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "20")
