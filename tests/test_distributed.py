"""The helper that runs functions on several processes."""

import pytest
import torch
import torch.distributed as dist

from tests.distributed import run


def summed(number: int) -> torch.Tensor:
    value = torch.tensor([float(number + dist.get_rank())])
    dist.all_reduce(value)
    return value


def one_fails() -> None:
    if dist.get_rank() == 1:
        raise KeyError("wrong")
    dist.barrier()


def test_ranks_talk_and_answer():
    assert run(summed, 2, 10) == [torch.tensor([21.0])] * 2


def test_a_failing_rank_is_reported_while_others_wait():
    with pytest.raises(AssertionError, match="KeyError: 'wrong'"):
        run(one_fails, 2)
