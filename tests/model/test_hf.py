"""AMPLIFY in Hugging Face's hands: Auto classes, saving, tokenizer, pipeline, LoRA, gradient checkpointing."""

import json
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

import amplify_lm.hf as hf
import pytest
import torch
from amplify_lm.checkpoint import load_model, save_model
from amplify_lm.model import Amplify
from amplify_lm.tokenizer import encode
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer, Trainer, TrainingArguments, pipeline

from tests.model import checkpoints
from tests.model import reference_cases as cases

ROOT = Path(__file__).parents[2]
LORA_TARGETS = ["q", "k", "v", "wo", "w12", "w3"]


@pytest.fixture(scope="module")
def core() -> Amplify:
    return cases.model(cases.CASES["published"])


@pytest.fixture(scope="module")
def saved(core: Amplify, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ours")
    save_model(core, folder)
    return folder


@pytest.fixture
def model(saved: Path) -> Any:
    return AutoModelForMaskedLM.from_pretrained(saved)


@pytest.mark.parametrize("case", list(cases.CASES))
def test_the_auto_class_gives_the_cores_numbers(tmp_path: Path, case: str) -> None:
    core = cases.model(cases.CASES[case])
    save_model(core, tmp_path)
    model = AutoModelForMaskedLM.from_pretrained(tmp_path)
    input_ids, mask, labels = cases.batch()
    output = model(input_ids, mask, labels=labels, output_hidden_states=True, output_attentions=True)
    ours = core(input_ids, mask, output_hidden_states=True, output_attentions=True)
    assert isinstance(model, hf.AmplifyForMaskedLM)
    torch.testing.assert_close(output.logits, ours.logits, rtol=0, atol=1e-6)
    torch.testing.assert_close(output.hidden_states, ours.hidden_states, rtol=0, atol=1e-6)
    torch.testing.assert_close(output.attentions, ours.attentions, rtol=0, atol=1e-6)
    loss = torch.nn.functional.cross_entropy(ours.logits.flatten(0, 1), labels.flatten())
    torch.testing.assert_close(output.loss, loss)


def test_packed_input_is_taken_too(core: Amplify, model: Any) -> None:
    tokens, cu_seqlens = torch.randint(5, 26, (20,)), torch.tensor([0, 8, 20])
    with torch.no_grad():
        ours = core(tokens, cu_seqlens=cu_seqlens).logits
        torch.testing.assert_close(model(tokens, cu_seqlens=cu_seqlens).logits, ours)


def test_what_it_saves_is_what_the_core_saves(model: Any, saved: Path, tmp_path: Path, core: Amplify) -> None:
    model.save_pretrained(tmp_path)
    theirs, ours = load_file(tmp_path / "model.safetensors"), load_file(saved / "model.safetensors")
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[name], ours[name]) for name in ours)
    published = core.config.to_dict()
    written = json.loads((tmp_path / "config.json").read_text())
    assert {key: written[key] for key in published if key != "architectures"} == {
        key: value for key, value in published.items() if key != "architectures"
    }
    assert load_model(tmp_path).config == core.config


def test_what_it_saves_in_shards_loads_in_the_core(model: Any, tmp_path: Path, core: Amplify) -> None:
    model.save_pretrained(tmp_path, max_shard_size="8KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    assert torch.equal(load_model(tmp_path).decoder.weight, core.decoder.weight)


def test_the_hubs_configuration_is_read_with_its_remote_code_left_alone(
    saved: Path, tmp_path: Path, core: Amplify
) -> None:
    values = json.loads((saved / "config.json").read_text())
    values["auto_map"] = {"AutoConfig": "amplify.AMPLIFYConfig", "AutoModel": "amplify.AMPLIFY"}
    values |= {"torch_dtype": "float32", "transformers_version": "4.38.2", "vocab_path": "conf/amplify_vocab.txt"}
    (tmp_path / "config.json").write_text(json.dumps(values))
    (tmp_path / "amplify.py").write_text("raise SystemExit('remote code ran')")
    (tmp_path / "model.safetensors").symlink_to(saved / "model.safetensors")
    model = AutoModelForMaskedLM.from_pretrained(tmp_path, trust_remote_code=False)
    assert isinstance(model, hf.AmplifyForMaskedLM)
    assert model.config.max_length == core.config.max_length
    assert torch.equal(model.decoder.weight, core.decoder.weight)


def test_the_model_without_a_head_gives_the_authors_embedding(saved: Path, core: Amplify) -> None:
    model = AutoModel.from_pretrained(saved)
    input_ids, mask, _ = cases.batch()
    with torch.no_grad():
        ours = core.encode(input_ids, mask)
        torch.testing.assert_close(model(input_ids, mask).last_hidden_state, ours.rows)
    assert isinstance(model, hf.AmplifyModel)
    assert not hasattr(model, "decoder")


def test_a_fresh_model_has_the_published_initialisation() -> None:
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    config = hf.AmplifyConfig(**shape, embedding_init_range=0.5)
    model = hf.AmplifyForMaskedLM(config)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            assert parameter.unique().tolist() == [1.0]
        elif name.endswith("bias"):
            assert parameter.abs().max() == 0
        else:
            range_of_it = 0.5 if name == "encoder.weight" else 0.02
            assert 0.75 * range_of_it < parameter.abs().max() <= range_of_it


def test_a_wrong_configuration_is_refused_in_the_cores_words() -> None:
    with pytest.raises(ValueError, match="vocab_size 32: not an AMPLIFY checkpoint of the published tokenizer"):
        hf.AmplifyForMaskedLM(hf.AmplifyConfig(vocab_size=32))


def test_an_argument_of_another_model_is_refused_unless_it_says_nothing(model: Any) -> None:
    input_ids, mask, _ = cases.batch()
    with pytest.raises(TypeError, match="pad_mask: no argument of this model; a mask is attention_mask"):
        model(input_ids, pad_mask=mask)  # as the Hub's remote code calls it
    with torch.no_grad():
        wanted = model(input_ids, mask).logits
        assert torch.equal(model(input_ids, mask, inputs_embeds=None, return_dict=True).logits, wanted)
        assert torch.equal(model(input_ids, mask, return_dict=False)[0], wanted)


# ---- tokenizer -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["AutoTokenizer", "from nothing"])
def tokenizer(request: pytest.FixtureRequest, saved: Path) -> Any:
    if request.param == "from nothing":
        return hf.AmplifyTokenizerFast()
    return AutoTokenizer.from_pretrained(saved)


def test_the_fast_tokenizer_agrees_with_ours_on_every_printable_character(tokenizer: Any) -> None:
    assert tokenizer.is_fast
    for character in [*string.printable, "é", "蛋"]:
        assert tokenizer(character).input_ids == encode(character).tolist(), repr(character)


@settings(deadline=None, max_examples=50)
@given(text=st.text(alphabet=string.ascii_letters + "|*-. 0", max_size=60))
def test_the_fast_tokenizer_agrees_with_ours_on_text(tokenizer: Any, text: str) -> None:
    assert tokenizer(text).input_ids == encode(text).tolist()


def test_special_tokens_are_known_by_their_roles(tokenizer: Any) -> None:
    ids = [tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.mask_token_id]
    assert [*ids, tokenizer.bos_token_id, tokenizer.eos_token_id] == [0, 1, 2, 3, 4]
    assert tokenizer("MK<mask>A").input_ids == [3, 22, 17, 2, 7, 4]
    assert tokenizer.decode(tokenizer("MKTA").input_ids, skip_special_tokens=True) == "MKTA"


def test_a_batch_is_padded_and_masked(tokenizer: Any) -> None:
    batch = tokenizer(["MKT", "M"], padding=True, return_tensors="pt")
    assert batch.input_ids.tolist() == [[3, 22, 17, 13, 4], [3, 22, 4, 0, 0]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]


def test_truncation_stops_where_the_model_does(tmp_path: Path, core: Amplify) -> None:
    save_model(core, tmp_path)
    batch = AutoTokenizer.from_pretrained(tmp_path)("A" * 500, truncation=True, return_tensors="pt")
    assert batch.input_ids.shape == (1, core.config.max_length)
    assert hf.AmplifyTokenizerFast()("A" * 5000, truncation=True).input_ids[-1] == 4
    assert len(hf.AmplifyTokenizerFast()("A" * 5000, truncation=True).input_ids) == 2048


def test_the_tokenizer_survives_saving(tokenizer: Any, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path)("MK<mask>|X").input_ids == [3, 22, 17, 2, 5, 1, 4]


# ---- in use --------------------------------------------------------------------------------------------------------


def test_the_fill_mask_pipeline_ranks_residues(saved: Path, core: Amplify) -> None:
    best = pipeline("fill-mask", model=str(saved))("MKT<mask>YIAK", top_k=1)[0]
    input_ids = torch.from_numpy(encode("MKTXYIAK")).long()[None]
    input_ids[0, 4] = 2
    with torch.no_grad():
        probabilities = core(input_ids).logits[0, 4].softmax(-1)
    assert best["token"] == probabilities.argmax().item()
    assert best["score"] == pytest.approx(probabilities.max().item(), abs=1e-5)


# peft 0.21 asks by the name that transformers 5.23 has begun to retire.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_lora_trains_its_own_weights_only_and_merges_back(model: Any, tmp_path: Path, saved: Path) -> None:
    input_ids, mask, labels = cases.batch()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    adapted = get_peft_model(model, LoraConfig(r=2, lora_alpha=8, target_modules=LORA_TARGETS))
    optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=0.05)
    losses = []
    for _ in range(8):
        loss = adapted(input_ids=input_ids, attention_mask=mask, labels=labels).loss
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0] - 0.1
    trained = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert len(trained) == 2 * len(LORA_TARGETS) * model.config.num_hidden_layers
    adapted.save_pretrained(tmp_path / "adapter")
    again = PeftModel.from_pretrained(AutoModelForMaskedLM.from_pretrained(saved), tmp_path / "adapter")
    with torch.no_grad():
        tuned = adapted.eval()(input_ids=input_ids, attention_mask=mask).logits
        torch.testing.assert_close(again.eval()(input_ids=input_ids, attention_mask=mask).logits, tuned)
        merged = again.merge_and_unload()
        merged.save_pretrained(tmp_path / "merged")
        merged_core = load_model(tmp_path / "merged")
        torch.testing.assert_close(merged_core(input_ids, mask).logits, tuned, rtol=0, atol=1e-4)
    assert torch.equal(merged_core.decoder.weight, before["decoder.weight"])
    assert not torch.equal(merged.transformer_encoder[0].q.weight, before["transformer_encoder.0.q.weight"])


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_lora_for_features_may_pass_what_it_passes_to_any_model(saved: Path) -> None:
    config = LoraConfig(task_type="FEATURE_EXTRACTION", r=2, target_modules=LORA_TARGETS)
    features = get_peft_model(AutoModel.from_pretrained(saved), config)
    input_ids, mask, _ = cases.batch()
    rows = features(input_ids=input_ids, attention_mask=mask).last_hidden_state
    assert rows.shape == (*input_ids.shape, 16)


def test_the_trainer_accumulates_batches_to_the_same_step(saved: Path, tmp_path: Path) -> None:
    input_ids, mask, labels = cases.batch()
    labels[:, 2:] = hf.IGNORED_LABEL  # one guessed token in each row, so that the mean of means is the mean
    rows = [
        {"input_ids": ids, "attention_mask": seen, "labels": wanted}
        for ids, seen, wanted in zip(input_ids, mask, labels, strict=True)
    ]

    def trained(rows_at_once: int) -> torch.Tensor:
        arguments = TrainingArguments(
            output_dir=str(tmp_path),
            per_device_train_batch_size=rows_at_once,
            gradient_accumulation_steps=len(rows) // rows_at_once,
            max_steps=1,
            optim="sgd",
            learning_rate=1.0,
            max_grad_norm=0.0,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
        )
        model = AutoModelForMaskedLM.from_pretrained(saved)
        Trainer(model=model, args=arguments, train_dataset=rows).train()
        return model.decoder.weight.detach()

    torch.testing.assert_close(trained(1), trained(len(rows)), rtol=0, atol=1e-5)


def test_gradient_checkpointing_computes_blocks_twice_and_changes_no_gradient(model: Any) -> None:
    input_ids, mask, labels = cases.batch()
    calls = []
    model.transformer_encoder[0].register_forward_pre_hook(lambda *_: calls.append(1))

    def gradient() -> torch.Tensor:
        model.zero_grad()
        model(input_ids, mask, labels=labels).loss.backward()
        return model.encoder.weight.grad.clone()

    kept = gradient()
    assert len(calls) == 1
    model.train().activation_checkpointing_enable()
    torch.testing.assert_close(gradient(), kept)
    assert len(calls) == 3


def test_a_mila_checkpoint_becomes_a_hugging_face_one(tmp_path: Path, core: Amplify) -> None:
    (tmp_path / "mila").mkdir()
    checkpoints.write_mila(tmp_path / "mila", core)
    save_model(load_model(tmp_path / "mila"), tmp_path / "hub")
    model = AutoModelForMaskedLM.from_pretrained(tmp_path / "hub")
    assert torch.equal(model.transformer_encoder[1].k.weight, core.transformer_encoder[1].qkv.weight[16:32])


def test_the_core_never_imports_transformers() -> None:
    program = (
        "import sys, amplify_lm.checkpoint; sys.exit(bool({'transformers', 'huggingface_hub'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": str(ROOT / "model_code")}).returncode == 0
