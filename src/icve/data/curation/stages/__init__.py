"""The stages from a measured file to pairs of clips: basic filter, scenes, motion, clips, pairs.

Each is a small dataclass that declares what it takes, makes and costs, and is called with what the one before made and
a count to fill. None keeps anything between calls or touches a file, so each can be run again, anywhere, with the same
result.
"""
