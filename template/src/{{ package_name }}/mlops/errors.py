"""The error that is shown as one sentence: what, why, and the command that mends it."""


class BlueprintError(Exception):
    """Something that can't be done, with a message for people."""
