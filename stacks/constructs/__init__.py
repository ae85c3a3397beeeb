"""One idea each: a bucket that is safe by default, a role for one verb, a training pipeline, a model endpoint."""
