"""`icve edit`: edits video files by instruction."""

import argparse
import re
from pathlib import Path

from icve.commands.arguments import not_negative, positive, seed
from icve.commands.jobs import Plan, plan_jobs
from icve.commands.outcomes import Outcome, ProgressLine, draw_contact_sheet, print_outcomes
from icve.errors import InputError

EXAMPLES = """\
several outputs:
  With several instructions, a folder of videos, or a CSV file, -o names a folder, made if missing. In it an
  output has its video's name (clip.mp4), and a number where one video has several (clip-1.mp4, clip-2.mp4).
  A CSV file has the columns video (relative to the file) and instruction.
  A folder or CSV is a batch: a row that fails does not stop it, a row whose output exists is left as it is
  (so that an interrupted batch can go on), and a table is printed at the end.

exit code: 0 done, 1 some rows of a batch failed, 2 refused (one sentence says why), 130 interrupted

examples:
  icve edit clip.mp4 "make the circle blue" -o edited.mp4
  icve edit clip.mp4 "remove the star" "make it sepia" -o edits --contact-sheet edits.png
  icve edit rows.csv -o edits --json
"""
SIDE_MULTIPLE = 16  # the autoencoder's 8 times the transformer's patch of 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `icve edit`."""
    parser.epilog = EXAMPLES
    parser.add_argument("input", type=Path, metavar="IN", help="a video; or a folder of videos; or a CSV file")
    parser.add_argument(
        "instructions", nargs="*", metavar="INSTRUCTION", help='what to do, as in "remove the star"; each is an output'
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT", help="a .mp4, .mov or .mkv file; or a folder"
    )
    parser.add_argument("--model", default="mini", help="a bundled model, a folder, or a hub id (default: mini)")
    parser.add_argument("--steps", type=positive, metavar="N", help="denoising steps (default: the model's)")
    parser.add_argument(
        "--guidance", type=not_negative, metavar="G", help="how closely to follow the instruction (the model's)"
    )
    parser.add_argument("--seed", type=seed, default=0, help="of the noise; the same seed repeats an edit (0)")
    parser.add_argument(
        "--size",
        type=_size,
        metavar="HxW",
        help="height and width at which the model works, multiples of 16 (the model's own that fits best)",
    )
    parser.add_argument(
        "--frames", type=_frames, default=(0, None), metavar="A:B", help="only frames A to B-1, counted from 0"
    )
    parser.add_argument(
        "--preserve",
        default="auto",
        metavar="auto|off|MASK",
        help="auto (default): the source's own pixels wherever nothing changed; off: the model's output as it is; "
        "a mask (.png, .mp4 …): the source's pixels outside its white",
    )
    parser.add_argument(
        "--quality", type=_quality, default=18, metavar="CRF", help="0 (best) to 51 (smallest file), default 18"
    )
    parser.add_argument("--lossless", action="store_true", help="store every pixel exactly (large; few players)")
    parser.add_argument("--contact-sheet", type=Path, metavar="PNG", help="a picture of sources and edits")
    parser.add_argument("--overwrite", action="store_true", help="replace outputs that exist")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def _quality(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 51:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 51")
    return value


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)[xX](\d+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not HEIGHTxWIDTH, such as 480x768")
    height, width = int(match[1]), int(match[2])
    if height < SIDE_MULTIPLE or width < SIDE_MULTIPLE or height % SIDE_MULTIPLE or width % SIDE_MULTIPLE:
        raise argparse.ArgumentTypeError(f"{text!r}: both sides must be multiples of {SIDE_MULTIPLE}")
    return height, width


def _frames(text: str) -> tuple[int, int | None]:
    match = re.fullmatch(r"(\d*):(\d*)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not A:B, such as 0:90 or 30:")
    start, stop = int(match[1] or 0), int(match[2]) if match[2] else None
    if stop is not None and stop <= start:
        raise argparse.ArgumentTypeError(f"{text!r} holds no frame")
    return start, stop


def run(args: argparse.Namespace) -> int:
    """Edits; returns 1 when rows of a batch failed, else 0."""
    plan = plan_jobs(args.input, args.instructions, args.output)
    _check_files(plan, args)
    outcomes: list[Outcome] = []
    try:
        _edit_all(plan, args, outcomes)
    except KeyboardInterrupt:
        print_outcomes(outcomes, as_json=args.json)
        raise
    if args.contact_sheet is not None:
        draw_contact_sheet(outcomes, args.contact_sheet)
    print_outcomes(outcomes, as_json=args.json)
    return 1 if any(outcome.status == "failed" for outcome in outcomes) else 0


def _check_files(plan: Plan, args: argparse.Namespace) -> None:
    """Refuses what needs no model to be refused; a batch's videos are left to their turn."""
    from icve.pipelines.masks import MaskReader
    from icve.video import probe
    from icve.video.files import check_output

    own_mask = args.preserve not in ("auto", "off")
    if not plan.batch:
        info = probe(plan.jobs[0].video)
        if own_mask:
            MaskReader(args.preserve, info)
    elif own_mask and not Path(args.preserve).is_file():
        raise InputError(f"The mask {args.preserve} does not exist; check the name.")
    if plan.folder is not None:
        try:
            plan.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"The folder {plan.folder} cannot be made ({error.strerror}); name another.") from error
    if args.contact_sheet is not None:  # which may stand in the folder
        check_output(args.contact_sheet, args.overwrite)
    for job in plan.jobs:
        check_output(job.output, args.overwrite or plan.batch)


def _edit_all(plan: Plan, args: argparse.Namespace, outcomes: list[Outcome]) -> None:
    """Runs the jobs, adding to `outcomes`; one that fails ends the call, or in a batch is noted."""
    from icve.commands.editing import Editor

    editor: Editor | None = None
    for number, job in enumerate(plan.jobs, 1):
        if plan.batch and job.output.exists() and not args.overwrite:
            outcomes.append(Outcome(job, "kept", reason=f"{job.output} exists (--overwrite replaces it)"))
            continue
        if editor is None:
            editor = Editor(args)
            if not plan.batch:
                editor.check_memory(job.video)
            editor.load()
            if not plan.batch:
                editor.check_instructions([each.instruction for each in plan.jobs])
        try:
            with ProgressLine(f"[{number}/{len(plan.jobs)}] {job.output.name}") as progress:
                outcomes.append(Outcome(job, "done", editor.edit(job, progress)))
        except Exception as error:
            if not plan.batch:
                raise
            reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
            outcomes.append(Outcome(job, "failed", reason=reason))
