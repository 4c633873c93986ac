"""icve: instruction-based video editing by in-context learning from unpaired clips (arXiv 2510.14648).

Nothing heavy is imported until it is used, so that `icve --help` answers at once.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from icve.pipelines.edit import InContextVideoEditPipeline as InContextVideoEditPipeline

__version__ = "0.1.0"
__all__ = ["InContextVideoEditPipeline", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "InContextVideoEditPipeline":
        from icve.pipelines.edit import InContextVideoEditPipeline

        return InContextVideoEditPipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
