"""Muon's orthogonalisation: whichever way it is computed, it is the same iteration."""

import pytest
import torch

from icve.training import muon


def matrix(rows, columns):
    """Singular values over four decades, as gradients have them."""
    generator = torch.Generator().manual_seed(rows)
    u, _, v = torch.linalg.svd(
        torch.randn(rows, columns, generator=generator, dtype=torch.float64), full_matrices=False
    )
    return (u * torch.logspace(0, -4, min(rows, columns), dtype=torch.float64)) @ v


@pytest.mark.parametrize(("rows", "columns"), [(32, 96), (64, 1024), (1, 8)])
def test_on_the_gram_matrix_it_is_the_same_iteration(rows, columns):
    x = matrix(rows, columns)
    x = x / x.norm()
    expected = muon._iterate(x)
    assert torch.allclose(muon._iterate_gram(x), expected, atol=1e-9)
    assert torch.allclose(muon._iterate_gram(x.float()).double(), expected, atol=1e-3)


@pytest.mark.parametrize(("rows", "columns"), [(24, 24), (96, 24), (24, 96)])
def test_the_large_singular_values_come_near_one(rows, columns):
    values = torch.linalg.svdvals(muon.orthogonalize(matrix(rows, columns).float()).float())
    assert 0.6 < values[10] <= values[0] < 1.3
