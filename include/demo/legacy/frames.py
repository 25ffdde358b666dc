"""The legacy system's tables as data frames: the real data, spoilt as decades of use would."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import numpy as np
import pandas as pd

from demo.legacy import people
from demo.legacy.wheel import RealData

REGIONS = {"NE": "North East", "MW": "Middle West", "SO": "South", "WE": "West"}
DESCRIBED = "{0} of the {1} range by maker {2}. Keep dry; {3} days from the date of packing. "


def all_frames(real: RealData, seed: int) -> Iterator[tuple[str, pd.DataFrame]]:
    """Every table but PROMO with its rows, one at a time, so that only one is in memory."""
    yield "CUST_MASTER", customers(real, seed)
    yield "RGN_CODES", pd.DataFrame({"RGN_CD": list(REGIONS), "RGN_NM": list(REGIONS.values())})
    yield "STORE_MASTER", stores(real)
    yield "PROD_MASTER", products(real)
    yield "TXN_HDR", headers(real)
    yield "TXN_LINE", lines(real)
    yield "CAMPGN", campaigns(real)
    yield "CAMPGN_HH", mailed(real)
    yield "COUPN", coupons(real)
    yield "COUPN_REDM", redemptions(real)
    yield "CUST_NOTE", people.notes(np.random.default_rng(seed + 11), real.households, seed)


def customers(real: RealData, seed: int) -> pd.DataFrame:
    """CUST_MASTER: made-up people with the real demographics; no referrer outside the database."""
    everyone = people.customers(seed)
    frame = everyone[everyone["HSHD_NO"].isin(real.households)].copy()
    frame.loc[~frame["REF_NO"].isin(real.households), "REF_NO"] = pd.NA
    names = {
        "household_id": "HSHD_NO",
        "age": "AGE_CD",
        "income": "INCOME_RNG",
        "home_ownership": "HOME_CD",
        "marital_status": "MARTL_CD",
        "household_size": "HSHD_SZ",
        "household_comp": "HSHD_CMP",
        "kids_count": "KIDS_CNT",
    }
    return frame.merge(real.demographics.rename(columns=names), on="HSHD_NO", how="left")


def stores(real: RealData) -> pd.DataFrame:
    """STORE_MASTER: the stores that have sold something."""
    number = np.sort(real.lines["store_id"].unique())
    mix = number * 2654435761 % 1000003
    frame = pd.DataFrame({"STORE_CD": _store_code(pd.Series(number))})
    frame["STORE_NM"] = [
        f" STORE  {n} / {'MALL' if m % 3 else 'High St'} " for n, m in zip(number, mix, strict=True)
    ]
    frame["RGN_CD"] = np.array([*REGIONS, None], dtype=object)[mix % 5]
    frame["OPEN_DT"] = [f"{m % 28 + 1:02d}.{m % 12 + 1:02d}.{1970 + m % 45}" for m in mix]
    frame["SQ_FT"] = (5000 + mix % 60000) / 2
    frame["HRS_JS"] = [json.dumps({"mon-sat": [7, 20 + int(m) % 4], "sun": None}) for m in mix]
    return frame


def products(real: RealData) -> pd.DataFrame:
    """PROD_MASTER: real products with made-up prices, shelf lives, barcodes and descriptions."""
    src, number = real.products, real.products["product_id"].to_numpy()
    mix = number * 2654435761 % 1000003
    frame = pd.DataFrame({"PROD_ID": number, "MFR_NO": src["manufacturer_id"].to_numpy()})
    frame["DEPT_NM"] = src["department"].to_numpy()
    frame["BRND_CD"] = np.where(src["brand"] == "Private", "P", "N")
    frame["CATG_NM"] = src["product_category"].to_numpy()
    frame["TYPE_NM"] = src["product_type"].to_numpy()
    frame["PKG_SZ"] = np.where(src["package_size"].isna() & (mix % 2 == 0), "", src["package_size"])
    frame["LIST_PRC"] = [
        _european(m % 3000 + (200_000 if m % 997 == 0 else 19)) for m in mix.tolist()
    ]
    frame["SHLF_DAYS"] = pd.array(np.where(mix % 7 == 0, None, mix % 720 + 1), dtype="Int64")
    frame["ALT_UPCS"] = [
        None if m % 3 == 0 else f"{{{n:013d},{m:013d}}}" for n, m in zip(number, mix, strict=True)
    ]
    frame["ATTR_JS"] = [
        f'{{"lot": {m}, "organic": {str(m % 9 == 0).lower()}}}' for m in mix.tolist()
    ]
    frame["DESC_TXT"] = _descriptions(frame, mix)
    frame["IMG_MD5"] = [
        "\\x" + hashlib.md5(b"%d" % n, usedforsecurity=False).hexdigest() for n in number.tolist()
    ]
    return frame


def _european(cents: int) -> str:
    whole, rest = divmod(cents, 100)
    return f"{whole:,}".replace(",", ".") + f",{rest:02d}"


def _descriptions(frame: pd.DataFrame, mix: np.ndarray) -> list[str | None]:
    """A sentence, or for one product in ten twenty, which the new system cuts at 400 characters."""
    parts = zip(frame["TYPE_NM"], frame["DEPT_NM"], frame["MFR_NO"], mix.tolist(), strict=True)
    return [
        None
        if isinstance(kind, float) or kind is None
        else DESCRIBED.format(kind, dept, maker, m % 720) * (20 if m % 10 == 0 else 1)
        for kind, dept, maker, m in parts
    ]


def headers(real: RealData) -> pd.DataFrame:
    """TXN_HDR: one row a basket."""
    src = real.lines.drop_duplicates("basket_id").sort_values("basket_id")
    utc = pd.DatetimeIndex(src["transaction_timestamp"]).tz_localize("UTC").floor("s")
    local = utc.tz_convert("America/New_York").tz_localize(None)
    mix = src["basket_id"].to_numpy() * 2654435761 % 1000003
    return pd.DataFrame(
        {
            "BASKET_ID": src["basket_id"].to_numpy(),
            "HSHD_NO": src["household_id"].to_numpy(),
            "STORE_CD": _store_code(src["store_id"]).to_numpy(),
            "TXN_DT": local.strftime("%Y%m%d"),
            "TXN_TS": local.strftime("%Y-%m-%d %H:%M:%S"),
            "REG_TS": (utc + pd.to_timedelta(mix % 90, unit="s")).strftime("%Y-%m-%d %H:%M:%S+00"),
            "WK_NO": src["week"].to_numpy(),
            "PAY_CD": np.array(["CA", "CC", "CK", " ", None], dtype=object)[mix % 5],
        }
    )


def lines(real: RealData) -> pd.DataFrame:
    """TXN_LINE: one row a product of a basket, amounts in cents."""
    src = real.lines.sort_values(["basket_id", "product_id"], kind="stable")
    private = real.products.loc[real.products["brand"] == "Private", "product_id"]
    return pd.DataFrame(
        {
            "BASKET_ID": src["basket_id"].to_numpy(),
            "LINE_NO": src.groupby("basket_id").cumcount().to_numpy() + 1,
            "HSHD_NO": src["household_id"].to_numpy(),
            "PROD_ID": src["product_id"].to_numpy(),
            "QTY": src["quantity"].to_numpy(),
            "SALES_CENTS": _cents(src["sales_value"]),
            "RTL_DISC_CENTS": _cents(src["retail_disc"]),
            "CPN_DISC_CENTS": _cents(src["coupon_disc"]),
            "CPN_MTCH_CENTS": _cents(src["coupon_match_disc"]),
            "PRIV_FLG": np.where(src["product_id"].isin(private), "Y", "N"),
        }
    )


def campaigns(real: RealData) -> pd.DataFrame:
    """CAMPGN."""
    src = real.campaigns
    return pd.DataFrame(
        {
            "CAMPGN_CD": _campaign_code(src["campaign_id"]),
            "CAMPGN_TYP": src["campaign_type"],
            "STRT_DT": src["start_date"].dt.strftime("%d-%b-%Y").str.upper(),
            "END_DT": src["end_date"].dt.strftime("%d-%b-%Y").str.upper(),
        }
    )


def mailed(real: RealData) -> pd.DataFrame:
    """CAMPGN_HH: which household was sent which campaign."""
    src = real.mailed
    channel = np.array(["MAIL", "mail", "E-Mail", "", None], dtype=object)[src["household_id"] % 5]
    return pd.DataFrame(
        {
            "CAMPGN_CD": _campaign_code(src["campaign_id"]),
            "HSHD_NO": src["household_id"],
            "CHNL": channel,
        }
    )


def coupons(real: RealData) -> pd.DataFrame:
    """COUPN: a coupon of a campaign is good for many products."""
    src = real.coupons
    return pd.DataFrame(
        {
            "COUPN_UPC": src["coupon_upc"],
            "CAMPGN_CD": _campaign_code(src["campaign_id"]),
            "PROD_ID": src["product_id"],
        }
    )


def redemptions(real: RealData) -> pd.DataFrame:
    """COUPN_REDM."""
    src = real.redemptions
    return pd.DataFrame(
        {
            "RDM_NO": src.index + 1,
            "HSHD_NO": src["household_id"],
            "COUPN_UPC": src["coupon_upc"],
            "CAMPGN_CD": _campaign_code(src["campaign_id"]),
            "RDM_DT": src["redemption_date"].dt.strftime("%m/%d/%Y"),
        }
    )


def _cents(amount: pd.Series) -> np.ndarray:
    return np.rint(amount.to_numpy() * 100).astype("int64")


def _store_code(number: pd.Series) -> pd.Series:
    return "S" + number.astype(str).str.zfill(5)


def _campaign_code(number: pd.Series) -> pd.Series:
    return "C" + number.astype(str).str.zfill(2)
