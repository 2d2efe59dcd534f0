"""The errors that are shown as one sentence: what, why, and what mends it."""

import re

# What Kedro, pydantic and OmegaConf write around the reason, and what is left of it.
NOISE = {
    r"Parameter validation failed:": "",
    r"- (Parameter '.*?': )Failed to instantiate .*": r"\1",
    r"\n(\S+)(?=\n  .*\[type=)": r"\n\1:",
    r"(?:Value error, )?(\S.*) \[type=.*\]": r"\1;",
    r"\s+For further information visit \S+": "",
    r"Failed while (\w+) data \w+ dataset .*?'(.*?)'.*\n": r"\1 \2 failed: ",
    r"(?s)Failed to enforce schema of data .*Error: ": "The model can't score this: ",
    r"No package metadata was found for (\S+)": r"\1 is not installed: `uv sync`.",
    r"BlueprintError raised while resolving interpolation: ": "",
    r"\n\s+full_key: .*(\n\s+object_type=.*)?": "",
}


class BlueprintError(Exception):
    """Something that can't be done, with a message for people."""


def in_one_sentence(error: BaseException) -> str:
    """Return the message in one line, without what libraries write around it."""
    text = str(error)
    for pattern, left in NOISE.items():
        text = re.sub(pattern, left, text)
    return " ".join(text.split()).rstrip(";")
