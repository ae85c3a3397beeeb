"""AMPLIFY as Hugging Face models: `import amplify_lm.hf`, and the Auto classes know it.

    from transformers import AutoModelForMaskedLM, AutoTokenizer
    import amplify_lm.hf

    model = AutoModelForMaskedLM.from_pretrained("path/to/model")      # never with trust_remote_code
    tokenizer = AutoTokenizer.from_pretrained("path/to/model")

The modules carry the published names, q, k and v apart, so that the Hub's files load unchanged, `save_pretrained`
writes them back, and PEFT finds its targets `q, k, v, wo, w12, w3`. The forward pass is that of `amplify_lm.model`.
Not imported by training or serving: it needs transformers 5.
"""

# transformers annotates little of what is called here.
# mypy: disable-error-code="no-untyped-call,untyped-decorator"

from typing import Any, cast

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput, MaskedLMOutput
from transformers.utils.generic import can_return_tuple

from .config import MODEL_TYPE, ModelConfig
from .model import Block, Encoded, Trunk
from .tokenizer import PAD, SPECIAL_TOKENS, VOCABULARY, tokenizer_json

IGNORED_LABEL = -100


class AmplifyConfig(PreTrainedConfig):
    """The fields of the Hub's `config.json`; what they mean stands at `amplify_lm.config.ModelConfig`."""

    model_type = MODEL_TYPE

    hidden_size: int = 960
    num_hidden_layers: int = 32
    num_attention_heads: int = 15
    intermediate_size: int = 3840
    dropout_prob: float = 0.0
    embedding_init_range: float = 0.02
    decoder_init_range: float = 0.02
    rms_norm: bool = True
    norm_eps: float = 1e-5
    hidden_act: str = "SwiGLU"
    layer_norm_after_embedding: bool = False
    layer_norm_before_last_layer: bool = True
    vocab_size: int = len(VOCABULARY)
    ffn_bias: bool = False
    att_bias: bool = False
    pad_token_id: int = PAD
    max_length: int = 2048  # a field of ours, or transformers takes it for a parameter of text generation
    tie_word_embeddings: bool = False

    def shape(self) -> ModelConfig:
        """The checked configuration; raises ValueError as that does."""
        return ModelConfig.from_dict(self.to_dict())


class _Block(Block):
    """A layer whose projections are three matrices under their published names."""

    def build_projections(self, config: ModelConfig) -> None:
        width = config.hidden_size
        self.q = nn.Linear(width, width, bias=config.att_bias)
        self.k = nn.Linear(width, width, bias=config.att_bias)
        self.v = nn.Linear(width, width, bias=config.att_bias)

    def project(self, x: Tensor) -> Tensor:
        return torch.cat((self.q(x), self.k(x), self.v(x)), dim=-1)


class AmplifyPreTrainedModel(PreTrainedModel, Trunk):
    """What both models share: configuration, initialisation, embeddings, gradient checkpointing."""

    config_class = AmplifyConfig
    base_model_prefix = ""
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ["_Block"]  # noqa: RUF012  (transformers' own form)
    # Our loss is a mean over its own batch; the Trainer then sees to the mean over accumulated batches itself.
    accepts_loss_kwargs = False

    def get_input_embeddings(self) -> nn.Module:
        return self.encoder

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # transformers' `init` leaves alone what a checkpoint has filled.
        if isinstance(module, nn.Embedding):
            init.uniform_(module.weight, -self.config.embedding_init_range, self.config.embedding_init_range)
        elif isinstance(module, nn.Linear):
            init.uniform_(module.weight, -self.config.decoder_init_range, self.config.decoder_init_range)
            if module.bias is not None:
                init.zeros_(module.bias)
        else:
            super()._init_weights(module)

    def _encode(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        position_ids: Tensor | None,
        cu_seqlens: Tensor | None,
        output_hidden_states: bool | None,
        output_attentions: bool | None,
        others: dict[str, Any],
    ) -> Encoded:
        # Libraries pass arguments of other models as None; one with a value would change what is asked for.
        if unknown := [name for name, value in others.items() if value is not None]:
            raise TypeError(f"{', '.join(unknown)}: no argument of this model; a mask is attention_mask, 1 at tokens")
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        if output_attentions is None:
            output_attentions = self.config.output_attentions
        return self.encode(
            input_ids, attention_mask, cu_seqlens, position_ids, bool(output_hidden_states), bool(output_attentions)
        )


class AmplifyModel(AmplifyPreTrainedModel):
    """The blocks alone; `last_hidden_state` is the last block's output, the authors' embedding of each residue."""

    _keys_to_ignore_on_load_unexpected = [r"^decoder\.", r"^layer_norm_2\."]  # noqa: RUF012

    def __init__(self, config: AmplifyConfig) -> None:
        super().__init__(config)
        self.build(config.shape(), _Block)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cu_seqlens: Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        **others: Any,
    ) -> BaseModelOutput:
        """Arguments and shapes as `amplify_lm.model.Trunk.encode`."""
        encoded = self._encode(
            input_ids, attention_mask, position_ids, cu_seqlens, output_hidden_states, output_attentions, others
        )
        return BaseModelOutput(
            last_hidden_state=cast(Any, encoded.rows),
            hidden_states=cast(Any, encoded.hidden_states),
            attentions=cast(Any, encoded.attentions),
        )


class AmplifyForMaskedLM(AmplifyPreTrainedModel):
    """The whole model: logits of all 27 tokens at each position, and the loss where labels are given."""

    def __init__(self, config: AmplifyConfig) -> None:
        super().__init__(config)
        self.build(config.shape(), _Block)
        self.build_decoder()
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        return self.decoder

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        cu_seqlens: Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        **others: Any,
    ) -> MaskedLMOutput:
        """Arguments and shapes as `amplify_lm.model.Trunk.encode`; labels of -100 do not count."""
        encoded = self._encode(
            input_ids, attention_mask, position_ids, cu_seqlens, output_hidden_states, output_attentions, others
        )
        logits = self.decode(encoded.rows)
        loss = None
        if labels is not None:
            flat = logits.float().reshape(-1, logits.shape[-1])
            loss = F.cross_entropy(flat, labels.reshape(-1).to(logits.device), ignore_index=IGNORED_LABEL)
        return MaskedLMOutput(
            loss=cast(Any, loss),
            logits=cast(Any, logits),
            hidden_states=cast(Any, encoded.hidden_states),
            attentions=cast(Any, encoded.attentions),
        )


class AmplifyTokenizerFast(PreTrainedTokenizerFast):
    """The published tokenizer; made from a checkpoint's files, or from nothing."""

    def __init__(self, **keywords: Any) -> None:
        if not keywords.keys() & {"tokenizer_object", "tokenizer_file"}:
            keywords["tokenizer_object"] = Tokenizer.from_str(tokenizer_json())
        roles = {f"{token.strip('<>')}_token": token for token in SPECIAL_TOKENS}
        names = ["input_ids", "attention_mask"]
        super().__init__(
            **{**roles, "model_input_names": names, "model_max_length": ModelConfig.max_length, **keywords}
        )


AutoConfig.register(MODEL_TYPE, AmplifyConfig)
AutoModel.register(AmplifyConfig, AmplifyModel)
AutoModelForMaskedLM.register(AmplifyConfig, AmplifyForMaskedLM)
AutoTokenizer.register(AmplifyConfig, tokenizer_class=AmplifyTokenizerFast)
