"""Column functions of the retail migration: products."""

from __future__ import annotations

import pandas as pd

HEAVIEST = 100_000
GRAMS = {"OZ": 28.349523125, "LB": 453.59237, "KG": 1000.0, "G": 1.0, "GR": 1.0}
WEIGHT = r"^\s*(\d+(?:\.\d+)?)\s*(OZ|LB|KG|GR|G)\s*$"


def package_grams(frame: pd.DataFrame) -> pd.Series:
    """Whole grams of a package such as '14.5 OZ' or '22 LB'; NULL for every other text.

    Also NULL for less than a gram and for more than 100 kg: such sizes are slips of the pen.
    """
    parts = frame["PKG_SZ"].astype("string").str.extract(WEIGHT)
    grams = (
        (parts[0].astype("Float64") * parts[1].map(GRAMS).astype("Float64")).round().astype("Int64")
    )
    return grams.mask((grams < 1) | (grams > HEAVIEST))
