"""The model that the serving tests ask: tiny, from a seed, with weights that make every part tell in the output."""

from amplify_lm.config import ModelConfig
from amplify_lm.model import Amplify

from tests.model import reference_cases

CONFIG = ModelConfig(hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=40)
PROTEIN = "MKTAYIAKQRQISFVKSHFSRQ"


def tiny_model() -> Amplify:
    """16 wide, 3 blocks, the published length of 2048 tokens."""
    return reference_cases.model(CONFIG)
