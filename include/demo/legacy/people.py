"""Personal data for the households: made up, and the same for the same seed at any scale."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pandas as pd
from faker import Faker

# Households are numbered up to 2,500 in the real data; everyone is made before any is left out, so
# that a household has the same name in a database of any scale.
HOUSEHOLDS = 2500
INTERESTS = np.array(
    ["baking", "barbecue", "coffee", "fish", "gardening", "kids", "pets", "vegan", "wine"]
)
NOTE_WORDS = (
    "asked about a refund for the late parcel, wants a call back before noon on Friday".split()
)


def customers(seed: int) -> pd.DataFrame:
    """CUST_MASTER without its demographic columns, one row a household, ordered by HSHD_NO."""
    draw = np.random.default_rng(seed)
    number = np.arange(1, HOUSEHOLDS + 1)
    first, last = _names(draw, seed)
    frame = pd.DataFrame({"HSHD_NO": number})
    frame["Cust_Name"] = _untidy_names(draw, first, last)
    frame["EMAIL_ADDR"] = _emails(draw, first, last, number)
    frame["PHONE_NO"] = [
        f"({a}) {b}-{c:04d}" for a, b, c in draw.integers(200, 999, (HOUSEHOLDS, 3))
    ]
    frame["CARD_NO"] = [f"60{n:014d}" for n in draw.integers(0, 10**14, HOUSEHOLDS)]
    frame["ADDR_TXT"], frame["POST_CD"] = _addresses(draw, seed)
    _dates(draw, frame)
    _codes(draw, frame)
    _wide(draw, frame)
    return frame


def notes(draw: np.random.Generator, households: np.ndarray, seed: int) -> pd.DataFrame:
    """CUST_NOTE: about two notes a household, some of nobody, some of them twice or thrice."""
    agents = _pool(seed + 3, lambda fake: fake.first_name(), 40)
    count = 2 * len(households)
    frame = pd.DataFrame({"HSHD_NO": pd.array(draw.choice(households, count), dtype="Int64")})
    frame["NOTE_TS"] = _moments(draw, count).strftime("%Y-%m-%d %H:%M:%S+00")
    frame["CHNL_CD"] = _pick(draw, ["P", "M", "T", " ", None], [0.4, 0.3, 0.2, 0.05, 0.05], count)
    frame["AGENT"] = np.where(draw.random(count) < 0.1, "", draw.choice(agents, count))
    lengths = np.where(draw.random(count) < 0.02, 1500, draw.integers(1, 30, count))
    frame["BODY"] = [" ".join(draw.choice(NOTE_WORDS, n)) for n in lengths]
    frame["TAGS"] = _pick(
        draw, ["{}", "{call}", '{late,"two words"}', "{refund,NULL}", None], [0.2] * 5, count
    )
    frame.loc[frame.index[::50], "HSHD_NO"] = pd.NA
    repeated = [frame, frame.iloc[::25], frame.iloc[::100]]
    return pd.concat(repeated, ignore_index=True)


def _pool(seed: int, make: Callable[[Faker], str], size: int) -> np.ndarray:
    fake = Faker("en_US")
    fake.seed_instance(seed)
    return np.array([make(fake) for _ in range(size)], dtype=object)


def _names(draw: np.random.Generator, seed: int) -> tuple[np.ndarray, np.ndarray]:
    first = _pool(seed, lambda fake: fake.first_name(), 300)
    last = _pool(seed + 1, lambda fake: fake.last_name(), 400)
    return draw.choice(first, HOUSEHOLDS), draw.choice(last, HOUSEHOLDS)


def _untidy_names(draw: np.random.Generator, first: np.ndarray, last: np.ndarray) -> list[str]:
    style = draw.integers(0, 3, HOUSEHOLDS)
    forms = ("{1}, {0}", "  {1} ,   {0}", "{1},{0}  ")
    return [forms[s].format(f, n).upper() for s, f, n in zip(style, first, last, strict=True)]


def _emails(
    draw: np.random.Generator, first: np.ndarray, last: np.ndarray, number: np.ndarray
) -> list[str | None]:
    host = draw.choice(np.array(["example.com", "Example.ORG", "mail.example.net"]), HOUSEHOLDS)
    form = draw.integers(0, 40, HOUSEHOLDS)
    made = [
        f"{f}.{n}{i}@{h}".replace(" ", "")
        for f, n, i, h in zip(first, last, number, host, strict=True)
    ]
    # One household in 40 has none, as NULL; another as an empty string; a quarter is in capitals.
    return [
        None if s == 0 else "" if s == 1 else (f" {e.upper()} " if s < 12 else e)
        for e, s in zip(made, form, strict=True)
    ]


def _addresses(draw: np.random.Generator, seed: int) -> tuple[list[str], list[str]]:
    street = _pool(seed + 2, lambda fake: f"{fake.street_name()}\n{fake.city()}", 300)
    houses = draw.integers(1, 9999, HOUSEHOLDS)
    lines = [f"{n} {s}" for n, s in zip(houses, draw.choice(street, HOUSEHOLDS), strict=True)]
    return lines, [f"{n:05d}" for n in draw.integers(501, 99950, HOUSEHOLDS)]


def _moments(draw: np.random.Generator, count: int) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(
        np.datetime64("2012-01-01T00:00:00") + draw.integers(0, 5 * 365 * 86400, count)
    )


def _dates(draw: np.random.Generator, frame: pd.DataFrame) -> None:
    made = _moments(draw, HOUSEHOLDS)
    frame["JOIN_DT"] = made.strftime("%Y%m%d")
    born = np.datetime64("1930-01-01") + draw.integers(0, 70 * 365, HOUSEHOLDS)
    known = pd.DatetimeIndex(born).strftime("%Y%m%d").to_numpy(dtype=object)
    blank = draw.integers(0, 20, HOUSEHOLDS)
    frame["BIRTH_DT"] = [
        {0: None, 1: "", 2: "00000000"}.get(b, k) for b, k in zip(blank, known, strict=True)
    ]
    # The old system booked wall-clock time; made from UTC, so that no hour is one that clocks skip.
    local = made.tz_localize("UTC").tz_convert("America/New_York").tz_localize(None)
    frame["CRT_TS"] = local.strftime("%Y-%m-%d %H:%M:%S")
    later = made + pd.to_timedelta(draw.integers(0, 10**8, HOUSEHOLDS), unit="s")
    frame["UPD_TS"] = later.strftime("%Y-%m-%d %H:%M:%S+00")


def _codes(draw: np.random.Generator, frame: pd.DataFrame) -> None:
    frame["STAT_CD"] = _pick(draw, ["A", "I", "X"], [0.9, 0.08, 0.02], HOUSEHOLDS)
    frame["LOY_TIER"] = _pick(draw, ["N", "B", "S", "G"], [0.4, 0.3, 0.2, 0.1], HOUSEHOLDS)
    frame["MAIL_FLG"] = _pick(draw, ["Y", "N", " ", None], [0.5, 0.4, 0.05, 0.05], HOUSEHOLDS)
    frame["CRDT_CENTS"] = draw.integers(0, 500_000, HOUSEHOLDS)
    referrer = draw.integers(1, HOUSEHOLDS + 1, HOUSEHOLDS)
    nobody = (draw.random(HOUSEHOLDS) < 0.7) | (referrer == frame["HSHD_NO"])
    frame["REF_NO"] = pd.array(np.where(nobody, None, referrer), dtype="Int64")


def _wide(draw: np.random.Generator, frame: pd.DataFrame) -> None:
    chosen = draw.integers(0, 4, HOUSEHOLDS)
    frame["PREF_TAGS"] = [
        None if n == 0 else "{" + ",".join(draw.choice(INTERESTS, n, replace=False)) + "}"
        for n in chosen
    ]
    frame["PREF_JS"] = [
        _preferences(i, int(n)) for i, n in enumerate(draw.integers(0, 100, HOUSEHOLDS))
    ]
    sizes = draw.integers(0, 400, HOUSEHOLDS)
    frame["PHOTO"] = [None if n < 20 else "\\x" + draw.bytes(int(n)).hex() for n in sizes]


def _preferences(index: int, number: int) -> str | None:
    if number < 5:
        return None
    return json.dumps(
        {
            "lang": "es" if number < 20 else "en",
            "news": {"per_week": number % 5},
            "seen": [index, None],
        }
    )


def _pick(
    draw: np.random.Generator, values: list[str | None], shares: list[float], count: int
) -> np.ndarray:
    return draw.choice(np.array(values, dtype=object), count, p=shares)
