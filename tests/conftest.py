"""What every test runs under."""

import os

# jsii starts Node at the first `import aws_cdk` and hands it the environment of that moment: so here, before any test.
os.environ["CDK_VALIDATION"] = "false"  # ten times faster; tests/stacks/test_synth.py keeps it on once
os.environ.setdefault("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "20")
