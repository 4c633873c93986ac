"""Counts the bytes of tensors that are alive, operation by operation."""

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class Alive(TorchDispatchMode):
    """While active, counts the storages that operations make and forgets them when they are freed.

    Works on real tensors and on fake ones, which have no values: of those it answers, as a text mask of ones would,
    where the transformer asks which of the `ones` columns are text.

    Attributes:
        now: bytes alive of what was made while active.
        most: the largest value of `now`.
    """

    def __init__(self, ones: int = 0) -> None:
        super().__init__()
        self.ones = ones
        self.now = self.most = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.ones and func is torch.ops.aten.nonzero.default:
            return args[0].new_empty((args[0].numel(), args[0].ndim), dtype=torch.int64)
        if self.ones and func is torch.ops.aten._local_scalar_dense.default:
            return True if args[0].dtype == torch.bool else self.ones - 1
        kwargs = kwargs or {}
        self._meet((args, kwargs), made=False)
        result = func(*args, **kwargs)
        self._meet(result, made=True)
        return result

    def _meet(self, values: Any, made: bool) -> None:
        """Count storages seen for the first time; those that an operation is given were there before."""
        for tensor in tree_iter(values):
            if not isinstance(tensor, Tensor):
                continue
            storage = tensor.untyped_storage()
            if storage._cdata not in self._sizes:
                self._sizes[storage._cdata] = size = storage.nbytes() if made else 0
                self.now += size
                self.most = max(self.most, self.now)
                weakref.finalize(storage, self._free, storage._cdata)

    def _free(self, key: int) -> None:
        self.now -= self._sizes.pop(key)
