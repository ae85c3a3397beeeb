"""The infrastructure: what one environment consists of. Imports aws_cdk and itself, nothing else."""
