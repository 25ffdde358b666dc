"""A plain reader of the shop's lists, one function a style, written from the shop's description alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urljoin

import requests

Record = dict[str, Any]
Get = Callable[..., requests.Response]


def by_link(get: Get, url: str, asked: Record) -> Iterator[list[Record]]:
    response = get(url, params=asked)
    while True:
        yield response.json()
        if "next" not in response.links:
            return
        response = get(urljoin(response.url, response.links["next"]["url"]))


def by_next_url(get: Get, url: str, asked: Record) -> Iterator[list[Record]]:
    response = get(url, params=asked)
    while True:
        page = response.json()
        yield page["data"]
        if page["next"] is None:
            return
        response = get(urljoin(response.url, page["next"]))


def by_cursor(get: Get, url: str, asked: Record) -> Iterator[list[Record]]:
    more: Record = {}
    while True:
        page = get(url, params=asked | more).json()
        yield page["data"]
        if not page["meta"]["has_more"]:
            assert page["meta"]["next_cursor"] is None
            return
        more = {"cursor": page["meta"]["next_cursor"]}


def by_page(get: Get, url: str, asked: Record) -> Iterator[list[Record]]:
    number, last = 1, 1
    while number <= last:
        page = get(url, params=asked | {"page": number}).json()
        yield page["data"]
        number, last = number + 1, page["total_pages"]


def by_page_until_short(get: Get, url: str, asked: Record) -> Iterator[list[Record]]:
    number = 1
    while True:
        page = get(url, params=asked | {"page": number}).json()
        assert "total" not in page and "total_pages" not in page
        yield page["data"]
        if len(page["data"]) < page["per_page"]:
            return
        number += 1


def by_offset(get: Get, url: str, asked: Record) -> Iterator[list[Record]]:
    offset, total = 0, 1
    while offset < total:
        page = get(url, params=asked | {"offset": offset}).json()
        yield page["data"]
        offset, total = offset + len(page["data"]), page["total"]


def by_id(get: Get, url: str, asked: Record) -> Iterator[list[Record]]:
    after = 0
    while records := get(url, params=asked | {"after_id": after}).json()["data"]:
        yield records
        after = records[-1]["id"]


def by_updated(get: Get, url: str, asked: Record) -> Iterator[list[Record]]:
    more: Record = {}
    while True:
        page = get(url, params=asked | more).json()
        yield page["data"]
        if not page["has_more"]:
            return
        last = page["data"][-1]
        more = {"after_updated_at": last["updated_at"], "after_id": last["id"]}


READERS: dict[str, Callable[[Get, str, Record], Iterator[list[Record]]]] = {
    "link": by_link,
    "link_relative": by_link,
    "next_url": by_next_url,
    "next_url_relative": by_next_url,
    "cursor": by_cursor,
    "page": by_page,
    "page_no_total": by_page_until_short,
    "offset": by_offset,
    "keyset": by_id,
    "keyset_updated": by_updated,
}


def pages(
    session: requests.Session, url: str, style: str, limit: int = 100, **asked: Any
) -> Iterator[list[Record]]:
    """The pages of a list, one after the other; an answer other than 200 raises."""

    def get(address: str, params: Record | None = None) -> requests.Response:
        response = session.get(address, params=params, timeout=30)
        response.raise_for_status()
        return response

    return READERS[style](get, url, {"style": style, "limit": limit, **asked})


def ids(found: Iterator[list[Record]]) -> list[int]:
    """The ids of all records, in the order in which they came."""
    return [record["id"] for page in found for record in page]
