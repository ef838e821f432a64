"""Variants of a target, priced: which numbers of a chip are worth how much."""
