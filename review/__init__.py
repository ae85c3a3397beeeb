"""What a pull request does to the infrastructure, on one page: what happens, what it opens, what it costs.

Two cloud assemblies are compared, the base's and the head's, both synthesised offline; no AWS account is asked.
`python -m review --base <git ref>` (or `make review BASE=<git ref>`) writes review.md and review.json.
"""
