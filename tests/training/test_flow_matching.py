"""The training step by its definition."""

import pytest
import torch
from tests import tiny

from icve.data.buckets import Bucket
from icve.data.samples import Batch
from icve.training.conditions import Conditions
from icve.training.config import FlowConfig
from icve.training.flow_matching import Draw, InContextFlowMatching, sample_generator
from icve.training.naming import Naming

CPU = torch.device("cpu")


def method(pipe, dtype=torch.float32, naming=None, **flow) -> InContextFlowMatching:
    conditions = Conditions(
        settings=dict(pipe.config),
        tokenizer=pipe.tokenizer,
        tokenizer_2=pipe.tokenizer_2,
        text_encoder=pipe.text_encoder,
        text_encoder_2=pipe.text_encoder_2,
        vae=pipe.vae,
        spatial_compression=pipe.vae.spatial_compression_ratio,
        guidance_embeds=pipe.transformer.config.guidance_embeds,
        device=CPU,
        dtype=dtype,
    )
    return InContextFlowMatching(pipe.transformer, conditions, FlowConfig(**flow), 0, CPU, dtype, naming)


def latents(count=2, side=4, source=True, names=False) -> Batch:
    generator = torch.Generator().manual_seed(1)
    target, before = torch.randn(2, count, 16, 1, side, side, generator=generator)
    labels = {}
    if names:
        labels = {
            k: torch.randint(0, 9, (count, 1, 2, 2, 2), generator=generator) for k in ("target_names", "source_names")
        }
    return Batch(
        step=0,
        bucket=Bucket(1, 8 * side, 8 * side),
        slots=list(range(count)),
        ids=[str(i) for i in range(count)],
        texts=["make it red", "remove the star and all that is around it"][:count],
        target=target,
        source=before if source else None,
        valid=torch.ones(count, dtype=torch.bool),
        labels=labels,
    )


def test_the_loss_is_the_flow_matching_loss(monkeypatch):
    """With a transformer that answers the true velocity, the loss is 0; with one that answers 0, its mean square."""
    pipe, batch, seen = tiny.pipeline(), latents(), {}
    trained = method(pipe, changed_weight=3.0)

    def oracle(hidden_states, source_hidden_states, timestep, **others):
        seen.update(source=source_hidden_states, timestep=timestep, guidance=others["guidance"])
        sigma = (timestep / 1000).view(-1, 1, 1, 1, 1)
        return ((hidden_states - batch.target) / sigma,)  # x_s = target + s (noise - target)

    monkeypatch.setattr(pipe.transformer, "forward", oracle)
    assert trained.loss(batch, 2).total < 1e-5
    assert torch.equal(seen["source"], batch.source)
    assert ((seen["timestep"] > 0) & (seen["timestep"] < 1000)).all()
    assert seen["guidance"].tolist() == [1000.0, 1000.0]  # the distilled base's input, at the value that editing uses
    monkeypatch.setattr(pipe.transformer, "forward", lambda hidden_states, **_: (torch.zeros_like(hidden_states),))
    total, number = trained.loss(batch, 2).sums["loss"]
    assert number == 2
    assert total / number == pytest.approx(2.0, rel=0.15)  # variance of noise - target, both unit Gaussians


def test_parts_of_a_batch_make_the_whole():
    """The step does not depend on how a share is cut, nor on which rank has which slot."""
    pipe, batch = tiny.pipeline(), latents()
    trained = method(pipe, changed_weight=3.0)
    whole = trained.loss(batch, 2)
    parts = [trained.loss(batch.rows(i, i + 1), 2) for i in range(2)]
    assert torch.allclose(whole.total, parts[0].total + parts[1].total, atol=1e-6)
    for name, (total, number) in whole.sums.items():
        sums = [part.sums[name] for part in parts]
        assert torch.allclose(total, sums[0][0] + sums[1][0], atol=1e-5)
        assert number == sums[0][1] + sums[1][1]


def test_the_loss_is_logged_by_noise_level():
    sums = method(tiny.pipeline(), draws=4).loss(latents(), 2).sums
    levels = [sums[f"loss/{low}"] for low in ("0.00-0.25", "0.25-0.50", "0.50-0.75", "0.75-1.00")]
    assert sum(float(number) for _, number in levels) == 8
    assert sum(float(total) for total, _ in levels) == pytest.approx(float(sums["loss"][0]), rel=1e-5)


def test_a_sample_that_could_not_be_read_has_no_part_in_it():
    pipe, batch = tiny.pipeline(), latents()
    trained = method(pipe)
    batch.valid[1] = False
    batch.target[1], batch.source[1] = 0, 0
    alone = trained.loss(batch.rows(0, 1), 2)
    both = trained.loss(batch, 2)
    assert torch.allclose(both.total, alone.total, atol=1e-6)
    assert both.sums["loss"][1] == 1


def test_the_weight_is_on_what_changed():
    pipe, batch = tiny.pipeline(), latents()
    batch.source[:] = batch.target
    batch.source[:, :, :, :2] += 1  # half of the clip differs
    plain, weighted = (method(pipe, changed_weight=w) for w in (1.0, 3.0))
    draw = plain.draw(batch, tuple(batch.target.shape[1:]))
    with torch.no_grad():
        one, three = (m.loss_at(batch, batch.target, batch.source, draw, 2) for m in (plain, weighted))
    assert one.total < three.total < 3 * one.total
    assert torch.equal(one.sums["loss"][0], three.sums["loss"][0])  # what is logged has no weight


def test_dropped_texts_are_the_empty_prompt(monkeypatch):
    pipe, batch, seen = tiny.pipeline(), latents(), {}
    monkeypatch.setattr(
        pipe.transformer, "forward", lambda hidden_states, **kwargs: seen.update(kwargs) or (hidden_states,)
    )
    method(pipe, text_dropout=1.0).loss(batch, 2)
    empty = pipe.encode_text(["", ""])
    assert torch.allclose(seen["pooled_projections"], empty["pooled_projections"], atol=1e-5)
    assert seen["encoder_hidden_states"].shape == empty["encoder_hidden_states"].shape


def test_randomness_is_of_the_seed_the_step_and_the_slot_alone():
    numbers = {
        torch.rand((), generator=sample_generator(*key)).item() for key in [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    }
    assert len(numbers) == 4
    again = torch.rand((), generator=sample_generator(0, 1, 0))
    assert again == torch.rand((), generator=sample_generator(0, 1, 0))


@pytest.mark.parametrize("names", [False, True])
def test_several_draws_share_the_source_and_change_nothing_else(names):
    """Draws of a step, their source computed once, give the loss and the gradients of as many samples side by side."""

    def run(draws: int) -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(0)
        pipe = tiny.pipeline(source_attention="self", guidance_embeds=False)
        naming = Naming(pipe.transformer) if names else None
        trained = method(pipe, naming=naming, changed_weight=3.0, naming_weight=0.5, text_dropout=0, draws=draws)
        batch = latents(names=names)
        sigma = torch.tensor([[0.2, 0.7], [0.4, 0.9]])
        noise = torch.randn(2, 2, *batch.target.shape[1:], generator=torch.Generator().manual_seed(2))
        if draws == 1:
            rows = [0, 0, 1, 1]
            batch = Batch(
                0,
                batch.bucket,
                [0, 1, 2, 3],
                batch.ids * 2,
                [batch.texts[i] for i in rows],
                batch.target[rows],
                batch.source[rows],
                batch.valid[rows],
                labels={k: v[rows] for k, v in batch.labels.items()},
            )
            sigma, noise = sigma.view(4, 1), noise.view(4, 1, *noise.shape[2:])
        draw = Draw(sigma, noise, [False] * len(sigma))
        loss = trained.loss_at(batch, batch.target, batch.source, draw, len(sigma))
        loss.total.backward()
        return loss.total, pipe.transformer.transformer_blocks[0].attn.to_k.weight.grad

    for shared, apart in zip(run(draws=2), run(draws=1), strict=True):
        assert torch.allclose(shared, apart, atol=1e-5)


def test_text_to_video_has_no_source(monkeypatch):
    pipe, seen = tiny.pipeline(), {}
    monkeypatch.setattr(
        pipe.transformer, "forward", lambda hidden_states, **kwargs: seen.update(kwargs) or (hidden_states,)
    )
    method(pipe).loss(latents(source=False), 2)
    assert seen["source_hidden_states"] is None
    assert "source_cache" not in seen
