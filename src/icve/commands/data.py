"""`icve data`: training sets in the shard format; each of its subcommands is a module `data_…` beside this one."""

COMMANDS = {
    "curate": "turn raw footage into unpaired clip pairs with instructions",
    "inspect": "say what a curation gave and why it dropped the rest",
    "preview": "open the page of random pairs of a curated set",
    "info": "say what a set holds",
    "encode": "add latents and text embeddings to a set",
    "import": "turn a downloaded public set of edit pairs into a set",
    "world": "write clips and edits of the procedural world as a set",
}
