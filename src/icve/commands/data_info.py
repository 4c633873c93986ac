"""`icve data info`: what a set holds, from its indices alone."""

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `icve data info`."""
    parser.add_argument("set", metavar="SET", help="the set's folder, or an address that fsspec knows")
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def run(args: argparse.Namespace) -> int:
    """Prints the summary; returns 0."""
    from icve.data.shard_summary import summarise_set

    summary = summarise_set(args.set)
    if args.json:
        print(json.dumps(summary, indent=2, ensure_ascii=False))
        return 0
    print(f"{summary['name']}  ({args.set})")
    print(f"licence: {summary['licence']}")
    if summary["source"]:
        print(f"source: {summary['source']}")
    print(f"{'bucket':16}{'clips':>10}{'captions':>10}{'latents':>10}{'pairs':>10}{'GB':>10}")
    for row in summary["buckets"]:
        counts = "".join(f"{row[key]:>10,}" for key in ("clips", "captions", "latents", "pairs"))
        print(f"{row['bucket']:16}{counts}{row['bytes'] / 1e9:>10.3f}")
    print(f"pairs by type: {', '.join(f'{name} {count:,}' for name, count in summary['types'].items()) or 'none'}")
    print(f"texts: {summary['texts']:,}, {summary['embedded']:,} of them embedded")
    for part, encoder in (("latents", summary["latent_encoder"]), ("text", summary["text_encoder"])):
        if encoder is not None:
            print(f"{part} made by: {encoder['model']}, {encoder['dtype']}")
    if summary["quarantined"]:
        print(f"quarantined: {summary['quarantined']:,} (quarantine.jsonl says why)")
    return 0
