"""The words of instructions: what they mean, whether they will do, how else to say them, and the mix of types."""
