"""Lineage of every node: recorded by a hook, read back by commands."""
