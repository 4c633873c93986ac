"""The text side, against diffusers' HunyuanVideo pipeline, which encodes prompts on its own."""

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, HunyuanVideoPipeline
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from icve.errors import InputError
from icve.pipelines.text import encode_pooled, encode_prompts, text_overflow
from tests import tiny

PROMPTS = ["Make the ball red", "Remove the small blue square on the left of the picture", "🙂 שלום"]


@pytest.fixture(scope="module")
def llama():
    return tiny.tokenizer(), tiny.text_encoder()


@pytest.fixture(scope="module")
def clip():
    return tiny.tokenizer_2(), tiny.text_encoder_2()


@pytest.fixture(scope="module")
def diffusers_pipeline(llama, clip):
    return HunyuanVideoPipeline(
        text_encoder=llama[1],
        tokenizer=llama[0],
        text_encoder_2=clip[1],
        tokenizer_2=clip[0],
        transformer=tiny.transformer(),
        vae=tiny.vae(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


@pytest.mark.parametrize(
    ("template", "crop_start"), [("{}", 0), ("Describe: {} !", 11)], ids=["reference", "cropped template"]
)
@torch.no_grad()
def test_token_states_are_those_of_diffusers(diffusers_pipeline, llama, template, crop_start):
    expected, expected_mask, *_ = diffusers_pipeline._get_llama_prompt_embeds(
        PROMPTS, {"template": template, "crop_start": crop_start}
    )
    embeds, mask = encode_prompts(*llama, PROMPTS, template=template, crop_start=crop_start)
    length = expected_mask.sum(1).max()
    assert embeds.shape == (3, length, tiny.TEXT_WIDTH)
    assert torch.equal(mask, expected_mask[:, :length].bool())
    assert (embeds - expected[:, :length])[mask].abs().max() < 1e-5


@torch.no_grad()
def test_pooled_vectors_are_those_of_diffusers(diffusers_pipeline, clip):
    long_prompt = "make everything red and " * 9
    expected = diffusers_pipeline._get_clip_prompt_embeds([*PROMPTS, long_prompt])
    pooled = encode_pooled(*clip, [*PROMPTS, long_prompt])
    assert pooled.shape == (4, tiny.POOLED_WIDTH)
    assert (pooled - expected).abs().max() < 1e-5


@torch.no_grad()
def test_a_prompt_is_the_same_alone_and_in_a_batch(llama, clip):
    embeds, mask = encode_prompts(*llama, PROMPTS)
    pooled = encode_pooled(*clip, PROMPTS)
    for i, prompt in enumerate(PROMPTS):
        alone, alone_mask = encode_prompts(*llama, [prompt])
        assert alone_mask.all()
        assert (embeds[i][mask[i]] - alone[0]).abs().max() < 1e-5
        assert (pooled[i] - encode_pooled(*clip, [prompt])[0]).abs().max() < 1e-5


@torch.no_grad()
def test_the_last_layers_and_the_norm_are_not_read():
    tokenizer, encoder = tiny.tokenizer(), tiny.text_encoder()
    before, _ = encode_prompts(tokenizer, encoder, PROMPTS)
    for part in (encoder.layers[1], encoder.layers[2], encoder.norm):
        for parameter in part.parameters():
            parameter.normal_()
    after, _ = encode_prompts(tokenizer, encoder, PROMPTS)
    assert torch.equal(before, after)
    third_layer, _ = encode_prompts(tokenizer, encoder, PROMPTS, layer_skip=1)
    assert not torch.allclose(before, third_layer)


def test_gradients_flow_when_training(llama):
    encoder = llama[1]
    embeds, mask = encode_prompts(*llama, PROMPTS, layer_skip=1)
    (gradient,) = torch.autograd.grad(embeds[mask].square().sum(), encoder.layers[0].mlp.up_proj.weight)
    assert gradient.abs().max() > 0


def test_overflow_is_told_exactly_where_encoding_cuts(llama):
    tokenizer = llama[0]
    template = "Edit: {}"  # 6 tokens and the opening one are cropped; the prompts are one token a letter
    for letters, overflow in ((20, None), (21, (20, 21)), (50, (20, 50))):
        prompt = "a" * letters
        assert text_overflow(tokenizer, prompt, template, 20, crop_start=7) == overflow
        _, mask = encode_prompts(*llama, [prompt], template=template, crop_start=7, max_length=20)
        assert mask.sum() == min(letters, 20)


def test_a_template_does_not_format_the_prompt(llama):
    tokenizer = llama[0]
    _, mask = encode_prompts(*llama, ["{} {0.x}"], template="<{}>")
    assert mask.sum() == 1 + len(tokenizer.tokenize("<{} {0.x}>"))


def word_piece_tokenizer(**options) -> PreTrainedTokenizerFast:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "make", "the", "ball", "red", "blue", "##ish"]
    backend = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(tokenizer_object=backend, **options)


@pytest.mark.parametrize("options", [{}, {"padding_side": "left", "pad_token": "[PAD]"}], ids=["no pad", "left"])
@torch.no_grad()
def test_any_fast_tokenizer_serves_both_encoders(llama, options):
    tokenizer = word_piece_tokenizer(**options)
    prompts = ["make the ball red", "blueish"]
    embeds, mask = encode_prompts(tokenizer, llama[1], prompts)
    assert mask.tolist() == [[True] * 6, [True] * 4 + [False] * 2]
    alone, _ = encode_prompts(tokenizer, llama[1], ["blueish"])
    assert (embeds[1, :4] - alone[0]).abs().max() < 1e-5

    config = CLIPTextConfig(
        vocab_size=10, hidden_size=24, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=16, eos_token_id=3,
    )  # fmt: skip
    clip = CLIPTextModel(config).eval()
    red, blue = encode_pooled(tokenizer, clip, ["make the ball red", "make the ball blue"])
    assert not torch.allclose(red, blue)
    assert encode_pooled(tokenizer, clip, ["make the ball red " * 9]).isfinite().all()  # cut to 16 tokens


def test_a_tokenizer_without_the_pooling_token_is_refused(clip):
    with pytest.raises(ValueError, match="does not end a prompt with token 513"):
        encode_pooled(tiny.tokenizer(), clip[1], ["make it red"])


def test_a_prompt_without_tokens_is_refused(llama):
    with pytest.raises(InputError, match="no token"):
        encode_prompts(*llama, [""], crop_start=1)
