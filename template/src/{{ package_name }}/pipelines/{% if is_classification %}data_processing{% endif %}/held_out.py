"""Held-out rows, chosen by a salted hash of the row key."""

import hashlib

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field


class HeldOut(BaseModel):
    """How held-out rows are chosen; fixed for good, or versions can't be compared."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    salt: str
    fraction: float = Field(gt=0, lt=1)


def is_held_out(rows: pd.DataFrame, held_out: HeldOut, source: str) -> pd.Series:
    """Return a boolean per row: the same key always falls on the same side.

    A key's SHA-256, read as a fraction of its range, is compared with
    ``held_out.fraction``; adding or removing rows moves no other row.
    """

    def position(key: object) -> float:
        digest = hashlib.sha256(f"{held_out.salt}:{key}".encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64

    positions = [position(key) for key in rows.index]
    return pd.Series(positions, index=rows.index) < held_out.fraction
