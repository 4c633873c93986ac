"""Fixtures of the judges' tests."""

import pytest

from tests.evaluation.judges.endpoint import Benchmark


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    """Clips, written once for all tests."""
    return Benchmark(tmp_path_factory.mktemp("bench"))
