"""AMPLIFY, the protein language model of Fournier et al. (2024): model, checkpoints, data, training, prediction.

Named `amplify_lm` because the authors' own package is called `amplify`, and people want both in one interpreter.
Nothing is imported here, so that a data job never pays for torch and a server only for what it uses.
"""
