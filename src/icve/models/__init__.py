"""Models: the in-context transformer and the conversion of original checkpoints."""

from icve.models.conversion import convert_reference_state_dict
from icve.models.options import with_options
from icve.models.transformer import InContextHunyuanVideoTransformer3DModel

__all__ = ["InContextHunyuanVideoTransformer3DModel", "convert_reference_state_dict", "with_options"]
