"""The loss that names things: its labels are what is drawn, its gradient reaches both streams."""

from dataclasses import replace

import torch
from tests import tiny

from icve.data.world.names import COLOURLESS, UNKNOWN, name_tokens
from icve.data.world.scene import COLOURS, SHAPES, Background, Scene, Thing
from icve.training.naming import Naming

HEART = Thing("heart", "pink", "large", at=(-0.5, -0.5), velocity=(1.0, 0.0), radius=0.18)
SCENE = Scene(Background("plain", ("blue",)), (HEART,))


def test_tokens_are_named_where_the_thing_is_at_the_last_frame_of_their_latent():
    names = name_tokens(SCENE, 3, 64, 64, 8)
    assert names.shape == (3, 8, 8, 2)
    heart = list(SHAPES).index("heart") + 1, list(COLOURS).index("pink") + 1
    for t, column in enumerate((2, 4, 6)):  # u = -0.5, 0, 0.5 of the way
        assert tuple(names[t, 2, column - 1]) == heart
        assert tuple(names[t, 2, column]) == heart
        assert not names[t, 5:].any()
    assert set(names[..., 0].ravel()) == {0, heart[0]}
    assert not name_tokens(Scene(SCENE.background, ()), 1, 48, 80, 8).any()


def test_colours_that_a_look_takes_away_are_not_asked_for():
    names = name_tokens(replace(SCENE, look=COLOURLESS[0]), 1, 64, 64, 8)
    assert set(names[..., 1].ravel()) == {0, UNKNOWN}
    assert names[..., 0].any()


def test_the_gradient_reaches_the_first_half_through_target_and_source():
    transformer = tiny.transformer(guidance_embeds=False)
    naming = Naming(transformer)
    latents = torch.randn(2, 1, 16, 1, 16, 16)
    side = 16 // transformer.config.patch_size
    names = torch.ones(1, 1, side, side, 2, dtype=torch.int16)

    def gradient(source_names: torch.Tensor | None) -> float:
        transformer.zero_grad()
        transformer(
            hidden_states=latents[0],
            source_hidden_states=latents[1],
            timestep=torch.tensor([500.0]),
            encoder_hidden_states=torch.randn(1, 3, transformer.config.text_embed_dim),
            encoder_attention_mask=torch.ones(1, 3),
            pooled_projections=torch.randn(1, transformer.config.pooled_projection_dim),
        )
        naming(names, source_names).sum().backward()
        return float(naming.source_head[1].weight.grad.norm()) if source_names is not None else 0.0

    gradient(None)
    assert naming.source_head[1].weight.grad is None
    assert naming.target_head[1].weight.grad.norm() > 0
    assert transformer.x_embedder.proj.weight.grad.norm() > 0
    assert transformer.proj_out.weight.grad is None  # behind the middle
    assert gradient(names) > 0
