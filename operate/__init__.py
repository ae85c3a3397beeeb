"""The `amplify` command and what it is made of: this machine's AWS, deployment, data, runs, releases, questions."""
