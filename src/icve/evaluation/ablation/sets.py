"""The sets of an ablation: the procedural world, exported and encoded where they are missing."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from icve.config_file import validate
from icve.data.encode import encode_clips
from icve.data.world_export import export_world
from icve.data.world_footage import export_footage
from icve.errors import InputError
from icve.evaluation.ablation.config import SetSpec
from icve.models.convolutions import use_fast_convolutions
from icve.pipelines.edit import InContextVideoEditPipeline
from icve.pipelines.models import COMPONENTS, device_and_dtype

SPEC = "spec.json"


def make_sets(sets: dict[str, SetSpec], folder: Path, model: str, progress: Callable[[str, int], None]) -> None:
    """Makes every set in `folder`; goes on with what an interrupted call has left.

    Args:
        model: whose autoencoder the runs have.
        progress: called with a set's name and 1 for each clip that is written or encoded.

    Raises:
        InputError: a set there is another one, or the disk is full.
    """
    for name, spec in sets.items():
        target = folder / name
        note = folder / f"{name}.{SPEC}"
        wanted = spec.model_dump(mode="json", exclude_defaults=True) | {"model": model}
        if note.is_file():
            if json.loads(note.read_text()) != wanted:
                raise InputError(f"{target} is a set of another ablation; name another folder with -o, or delete it.")
            continue  # the note is written last
        if spec.pairs is not None:
            export_world(
                target,
                spec.pairs,
                [spec.size],
                unpaired_clips=spec.unpaired,
                split=spec.split,
                operations=spec.operations,
                seed=spec.seed,
                progress=partial(_report, progress, name, 2),
            )
        elif spec.takes is not None:
            _curate(spec, spec.takes, folder / f"{name}.takes", target, partial(_report, progress, name, 2))
        device, dtype = device_and_dtype()
        left_out: dict[str, Any] = dict.fromkeys(set(COMPONENTS) - {"vae", "scheduler"})
        pipe = InContextVideoEditPipeline.from_pretrained(model, torch_dtype=dtype, **left_out).to(device)
        use_fast_convolutions(pipe.vae)
        encode_clips(target, pipe, model, progress=partial(_report, progress, name, 1))
        note.write_text(json.dumps(wanted))


def _curate(spec: SetSpec, takes: int, footage: Path, target: Path, progress: Callable[[int], None]) -> None:
    from icve.data.curation.config import CurationConfig
    from icve.data.curation.run import curate

    size = spec.size.height, spec.size.width
    export_footage(
        footage, takes, split=spec.split, operations=spec.operations, seed=spec.seed, size=size, progress=progress
    )
    curate([str(footage)], target, validate(CurationConfig, spec.curation, "curation"), progress=False)


def _report(progress: Callable[[str, int], None], name: str, clips: int, done: int) -> None:
    progress(name, clips * done)


def clips_to_make(sets: dict[str, SetSpec], folder: Path) -> int:
    """How often `make_sets` will report a clip: once when it is written, once when it is encoded; about, of takes."""
    return sum(
        4 * (spec.pairs or spec.takes or 0) for name, spec in sets.items() if not (folder / f"{name}.{SPEC}").is_file()
    )
