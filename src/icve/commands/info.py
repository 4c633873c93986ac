"""`icve info`: what a model is made of, what it takes and what it needs, without loading its weights."""

import argparse
import json
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `icve info`."""
    parser.add_argument(
        "model", nargs="?", default="mini", metavar="MODEL", help="a bundled model, a folder, or a hub id (mini)"
    )
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def run(args: argparse.Namespace) -> int:
    """Prints the description; returns 0."""
    description = describe(args.model)
    if args.json:
        print(json.dumps(description, indent=2, ensure_ascii=False))
        return 0
    print(f"{description['model']}  ({description['folder']})")
    if description["base"]:
        print(f"a LoRA on the base {description['base']}")
    print(f"licence: {description['licence'] or 'not stated'}")
    print("components:")
    for part in description["components"]:
        parameters = f"{part['parameters']:>16,} parameters" if part["parameters"] else ""
        print(f"  {part['name']:16}{part['class']:44}{parameters}")
    print(f"  {'all':60}{description['parameters']:>16,} parameters")
    print("sizes (frames x height x width), with the memory that an edit needs in float32:")
    for size in description["sizes"]:
        shape = " x ".join(map(str, size["size"]))
        weights, window = size["weights_bytes"] / 1e9, size["window_bytes"] / 1e9
        print(f"  {shape:20}{weights + window:.2f} GB ({weights:.2f} weights, {window:.2f} for a window)")
    print("defaults:")
    for name, value in description["defaults"].items():
        print(f"  {name:26}{value!r}")
    return 0


def describe(model: str) -> dict[str, Any]:
    """The description of a model, in plain types; what its index leaves out has the pipeline's defaults.

    Raises `InputError` for an unknown model or unreadable files.
    """
    from icve.pipelines.memory import memory_needed
    from icve.pipelines.models import fetch_model
    from icve.pipelines.summary import summarise

    summary = summarise(fetch_model(model, skip=set()))
    settings = dict(summary.settings)
    sizes = []
    for frames, height, width in settings.pop("sizes"):
        need = memory_needed(summary, frames, (height, width))
        sizes.append({"size": [frames, height, width], "weights_bytes": need.weights, "window_bytes": need.window})
    return {
        "model": model,
        "folder": str(summary.adapter or summary.folder),
        "base": str(summary.folder) if summary.adapter else None,
        "licence": settings.pop("licence"),
        "components": [
            {"name": part.name, "class": part.class_name, "parameters": part.parameters} for part in summary.components
        ],
        "parameters": summary.parameters,
        "sizes": sizes,
        "defaults": settings,
    }
