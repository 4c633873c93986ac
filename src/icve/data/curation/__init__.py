"""The unpaired data engine: raw footage in, pairs of clips of one scene with instructions out."""
