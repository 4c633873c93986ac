"""The preview of a set: one HTML file with pairs at random, playing side by side, and what is known of all.

The file asks for nothing else, and nothing that a set says is trusted: every text is escaped, clips are coded anew, and
the page's own policy lets no script run but its own and no request leave.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from icve.data.curation.preview_charts import draw
from icve.data.curation.preview_media import small_clip
from icve.data.curation.preview_scan import Scan, StoredClip, flatten, scan_set
from icve.data.curation.yields import read_yields
from icve.data.samples import BadSampleError
from icve.data.shard_index import SetFiles
from icve.data.shard_layout import PAIRS
from icve.data.shard_media import MAX_RATE
from icve.page import data_uri, short, text, write_page

YIELD_FILE = "curation/yield.json"
# Columns that have a place of their own in a pair's card; the others are listed as scores.
PLACED = {*PAIRS.names, "scores", "original_instruction", "method", "source", "scene", "source_caption"}
PLACED |= {"target_caption", "source_start", "source_end", "target_start", "target_end"}


def write_preview(
    folder: Path,
    output: Path,
    *,
    pairs: int = 50,
    seed: int = 0,
    side: int = 416,
    max_bytes: int = 64 * 2**20,
) -> None:
    """Writes the preview of a set; the same set and options give the same bytes.

    Args:
        folder: a set in the format of docs/format.md, on this machine, with any further columns.
        output: the HTML file, replaced if it exists.
        pairs: at most as many are shown, drawn at random.
        seed: of the draw.
        side: the longer side of the clips in the page, in pixels.
        max_bytes: of all clips in the page; those that come after are left out, and the page says so.

    Raises:
        InputError: the folder is no set, an index is damaged, or the file cannot be written.
    """
    files = SetFiles(str(folder))
    description = files.description()
    yields = read_yields(folder / YIELD_FILE) if (folder / YIELD_FILE).exists() else []
    scan = scan_set(folder, pairs, seed)
    clips = _Clips(files, scan.found, side, max_bytes)
    parts = {
        "title": text(description["name"]),
        "header": _header(description, scan),
        "yields": _yields(yields),
        "charts": _charts(scan),
        "types": _options(scan),
        "heading": _heading(scan),
        "pairs": "\n".join(_pair(row, clips) for row in scan.sample),
    }
    write_page(output, "icve.data.curation", "preview.html", parts)


class _Clips:
    """Clips as elements of the page, until they are too many bytes."""

    def __init__(self, files: SetFiles, found: dict[str, StoredClip], side: int, max_bytes: int) -> None:
        self.files, self.found, self.side, self.left = files, found, side, max_bytes

    def figure(self, role: str, clip_id: str | None, caption: Any, when: str) -> str:
        """A clip with what is said of it."""
        if clip_id is None:
            return f'<figure><p class="missing">none: text to video</p><figcaption><b>{role}</b></figcaption></figure>'
        caption = caption or (self.found[clip_id].caption if clip_id in self.found else None)
        try:
            body = self._media(role, clip_id)
        except (BadSampleError, ValueError) as error:
            body = f'<p class="missing">cannot be shown: {text(error)}</p>'
        said = f"<br><bdi>{text(caption)}</bdi>" if caption else ""
        return f"<figure>{body}<figcaption><b>{role}</b> {when}{said}</figcaption></figure>"

    def _media(self, role: str, clip_id: str) -> str:
        if clip_id not in self.found:
            raise BadSampleError(f"The clip {clip_id} is in no index.")
        if self.left <= 0:
            raise BadSampleError("The page would become too large.")
        clip = self.found[clip_id]
        if not 0 < clip.fps <= MAX_RATE:
            raise BadSampleError(f"The clip {clip_id} has {clip.fps} frames a second.")
        limit = 4 * clip.bucket.frames * clip.bucket.height * clip.bucket.width + 2**20  # as when it is trained on
        stored = clip.members.read(self.files, clip.row, f"The clip {clip_id}", limit)
        data, height, width = small_clip(stored, clip.bucket, clip.fps, self.side)
        kind = "image/png" if clip.bucket.frames == 1 else "video/mp4"
        uri = data_uri(kind, data)
        if len(uri) > self.left:
            self.left = 0
            raise BadSampleError("The page would become too large.")
        self.left -= len(uri)
        shared = f'src="{uri}" width="{width}" height="{height}"'
        if clip.bucket.frames == 1:
            return f'<img {shared} alt="{role}">'
        return f'<video {shared} aria-label="{role}" muted loop controls playsinline preload="metadata"></video>'


def _header(description: dict[str, Any], scan: Scan) -> str:
    length = f"{scan.seconds / 3600:,.1f} hours" if scan.seconds >= 3600 else f"{scan.seconds:,.0f} seconds"
    entries = {
        "Licence": text(description["licence"]),
        "Source": text(description["source"]),
        "Pairs": f"{scan.pairs:,}",
        "Clips": f"{scan.clips:,}, {length}",
        "Quarantined": f"{scan.quarantined:,}" if scan.quarantined else "",
    }
    listed = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in entries.items() if value)
    return f"<h1><bdi>{text(description['name'])}</bdi></h1><dl>{listed}</dl>"


def _heading(scan: Scan) -> str:
    if len(scan.sample) < scan.pairs:
        return f"{len(scan.sample):,} of {scan.pairs:,} pairs, at random"
    return f"All {scan.pairs:,} pairs" if scan.pairs else "The set has no pairs"


def _options(scan: Scan) -> str:
    names = [text(name) for name in sorted({row["type"] for row in scan.sample})]
    return "".join(f'<option value="{name}">{name}</option>' for name in names)


def _number(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}" if abs(value) < 1e15 else f"{value:.3g}"
    return short(value) if isinstance(value, float) else text(value)


def _yields(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    lines = []
    for row in rows:
        entered, left, seconds = row.get("in"), row.get("out"), row.get("seconds")
        rate = ""
        if isinstance(entered, int) and isinstance(seconds, int | float) and seconds >= 0.01:
            rate = f"{entered / seconds:,.1f}"
        dropped = "<br>".join(f"{text(reason)}: {_number(count)}" for reason, count in row["dropped"].items())
        cells = "".join(f"<td>{cell}</td>" for cell in (_number(entered), _number(left), _number(seconds), rate))
        lines.append(f'<tr><th scope="row">{text(row["stage"])}</th>{cells}<td class="words">{dropped}</td></tr>')
    names = "".join(f'<th scope="col">{name}</th>' for name in ("stage", "in", "out", "seconds", "in/s", "dropped"))
    return (
        '<section><h2>Yield</h2><div class="scroll"><table class="yield"><thead><tr>'
        f"{names}</tr></thead><tbody>{''.join(lines)}</tbody></table></div></section>"
    )


def _charts(scan: Scan) -> str:
    figures = [
        _types(scan),
        draw("instruction length", scan.words, "words"),
        draw("clip duration", scan.durations, "s"),
        *(draw(f"clip: {clean(name)}", histogram) for name, histogram in sorted(scan.clip_scores.items())),
        *(draw(f"pair: {clean(name)}", histogram) for name, histogram in sorted(scan.pair_scores.items())),
    ]
    return "".join(figures)


def clean(name: str) -> str:
    """A column's name for a title; `draw` escapes it."""
    return "".join(c if c.isprintable() else "\ufffd" for c in name[:60])


def _types(scan: Scan) -> str:
    if not scan.types:
        return ""
    most = max(scan.types.values())
    rows = "".join(
        f'<tr><th scope="row"><bdi>{text(name, 60)}</bdi></th><td>{count:,}</td><td>{count / scan.pairs:.1%}</td>'
        f'<td><svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect width="{max(0.5, 100 * count / most):.1f}" height="10"/></svg></td></tr>'
        for name, count in sorted(scan.types.items(), key=lambda item: (-item[1], item[0]))
    )
    return (
        f'<figure class="chart"><figcaption><strong>type</strong> of edit, {scan.pairs:,} pairs</figcaption>'
        f'<table class="types">{rows}</table></figure>'
    )


def _pair(row: dict[str, Any], clips: _Clips) -> str:
    scores = {name: value for name, value in row.items() if name not in PLACED} | flatten(row.get("scores"))
    listed = [(name, value) for name, value in scores.items() if value is not None]
    origin = [
        ("before rewriting", row.get("original_instruction")),
        ("made by", row.get("method")),
        ("file", row.get("source") or _clip_source(row, clips)),
        ("scene", row.get("scene")),
        ("pair", row["pair_id"]),
        ("source clip", row["source_clip"]),
        ("target clip", row["target_clip"]),
    ]
    return (
        f'<article data-type="{text(row["type"])}"><h3><bdi>{text(row["instruction"])}</bdi></h3>'
        f'<p class="tags"><span>{text(row["type"], 60)}</span> {text(row["bucket"], 60)}</p>'
        '<div class="clips">'
        f"{clips.figure('source', row['source_clip'], row.get('source_caption'), _when(row, 'source'))}"
        f"{clips.figure('target', row['target_clip'], row.get('target_caption'), _when(row, 'target'))}</div>"
        f'<dl class="scores">{_entries(listed)}</dl>'
        "<details><summary>Where it comes from</summary>"
        f"<dl>{_entries((name, value) for name, value in origin if value is not None)}</dl></details></article>"
    )


def _clip_source(row: dict[str, Any], clips: _Clips) -> str | None:
    clip = clips.found.get(row["target_clip"])
    return clip.source if clip else None


def _entries(entries: Iterable[tuple[str, Any]]) -> str:
    return "".join(f"<div><dt>{text(name, 60)}</dt><dd>{_number(value)}</dd></div>" for name, value in entries)


def _when(row: dict[str, Any], clip: str) -> str:
    start, end = row.get(f"{clip}_start"), row.get(f"{clip}_end")
    if not isinstance(start, int | float) or not isinstance(end, int | float):
        return ""
    return f"{start:.2f} to {end:.2f} s"
