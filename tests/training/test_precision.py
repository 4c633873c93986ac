"""MasterOptimizer: bf16 weights follow fp32 masters, and its state goes through a file."""

import pytest
import torch
from torch import nn

from icve.training.precision import MasterOptimizer


def make(kind, dtype=torch.bfloat16):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.SiLU(), nn.Conv2d(8, 3, 3)).to(dtype)
    return model, MasterOptimizer([model], kind=kind, lr=1e-2, weight_decay=0.01, ema=0.9)


def step(model, optimizer, seed):
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed)).to(model[0].weight.dtype)
    loss = (model(x) - x[..., 2:-2, 2:-2]).float().square().mean()
    loss.backward()
    optimizer.step(1e-2, clip=1.0)
    return loss.item()


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_learns_and_keeps_masters_in_float32(kind):
    model, optimizer = make(kind)
    losses = [step(model, optimizer, i) for i in range(80)]
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])
    assert all(m.dtype == torch.float32 for m in optimizer.masters)
    for param, master in zip(model.parameters(), optimizer.masters, strict=True):
        assert torch.equal(param, master.view(param.shape).bfloat16())


def test_adamw_in_float32_is_torchs_own():
    model, optimizer = make("adamw", torch.float32)
    other, _ = make("adamw", torch.float32)
    matrices = [p for p in other.parameters() if p.ndim > 1]
    vectors = [p for p in other.parameters() if p.ndim == 1]
    reference = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}],
        lr=1e-2,
        betas=(0.9, 0.98),
    )
    for i in range(5):
        step(model, optimizer, i)
        x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(i))
        (other(x) - x[..., 2:-2, 2:-2]).square().mean().backward()
        nn.utils.clip_grad_norm_(other.parameters(), 1.0)
        reference.step()
        reference.zero_grad()
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_state_restores_exactly(kind):
    model, optimizer = make(kind)
    for i in range(3):
        step(model, optimizer, i)
    state = {k: v.clone() for k, v in optimizer.state_tensors().items()}
    other, restored = make(kind)
    restored.load_state_tensors(state)
    for i in range(3, 6):
        assert step(model, optimizer, i) == step(other, restored, i)
    assert all(torch.equal(a, b) for a, b in zip(optimizer.averages, restored.averages, strict=True))


def test_averages_go_in_and_out():
    model, optimizer = make("adamw")
    for i in range(20):
        step(model, optimizer, i)
    trained = [p.clone() for p in model.parameters()]
    optimizer.load_averages()
    assert not all(torch.equal(a, b) for a, b in zip(trained, model.parameters(), strict=True))
    optimizer.load_masters()
    assert all(torch.equal(a, b) for a, b in zip(trained, model.parameters(), strict=True))
