"""Read a resource once for each record of a parent, several parents side by side."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from queue import SimpleQueue
from typing import Any

import requests

from sinew.api.documents import UnreadableError, read_document
from sinew.api.jsonpaths import MISSING, query
from sinew.api.pace import Stop
from sinew.api.pages import Page, pages_of, read_pages, with_parent
from sinew.api.transport import Policy, policy_of
from sinew.errors import (
    ApiRefusedError,
    ConfigurationError,
    FatalError,
    InterruptedStepError,
    SinewError,
)
from sinew.spec.pagination import Counted
from sinew.spec.resources import Each, Resource

_GONE = (404, 410)


def read_parents(
    session: requests.Session,
    each: Each,
    parameters: Mapping[str, Any],
    stop_requested: Stop | None = None,
) -> Iterator[Mapping[str, Any]]:
    """What ``each`` takes from every record of a parent that stands in the mapping with it."""
    if isinstance(each.of, str):
        raise ConfigurationError(
            f"the parents of a resource are those of {each.of!r}: give its records to read_each"
        )
    pages = read_pages(session, each.of, parameters, stop_requested=stop_requested)
    if isinstance(each.of.pagination, Counted):
        # Such pages may be replaced by later ones; only what is taken is held until they are sure.
        kept: dict[int, list[Mapping[str, Any]]] = {}
        for page in pages:
            for number in [number for number in kept if number >= page.number]:
                del kept[number]
            kept[page.number] = [taken(each, record.text) for record in page.records]
        for number in sorted(kept):
            yield from kept[number]
        return
    for page in pages:
        for record in page.records:
            yield taken(each, record.text)


def taken(each: Each, record: str | bytes) -> dict[str, Any]:
    """What ``each`` takes from a parent's record, given as its JSON text."""
    try:
        root = read_document(record.encode() if isinstance(record, str) else record).root
    except UnreadableError as error:
        raise FatalError(f"a parent's record is no JSON: {error}") from None
    found = {name: query(path).first(root) for name, path in each.take.items()}
    missing = [each.take[name] for name, value in found.items() if value in (None, MISSING)]
    if missing:
        raise FatalError(
            f"a parent's record has nothing at {', '.join(missing)}: correct `each.take` in the mapping"
        )
    return found


def read_each(
    session: requests.Session,
    resource: Resource,
    parents: Iterable[Mapping[str, Any]],
    parameters: Mapping[str, Any],
    *,
    stop_requested: Stop | None = None,
) -> Iterator[Page]:
    """The pages of a resource for each parent, in the order of the parents.

    ``parents`` are what ``taken`` gives; they are drawn as they are needed. As many parents are read side
    by side as limits.concurrency says, and each holds one page at most until its turn comes.
    """
    limit = resource.limits.concurrency
    halt = threading.Event()

    def stop() -> bool:
        return halt.is_set() or (stop_requested is not None and stop_requested())

    policy = policy_of(session, resource, stop)
    running: deque[_Reading] = deque()
    numbered = enumerate(parents, start=1)
    try:
        while True:
            while len(running) < limit and (drawn := next(numbered, None)) is not None:
                number, parent = drawn
                running.append(_Reading(session, resource, parameters, policy, number, parent))
            if not running:
                return
            yield from running[0].pages()
            running.popleft()
    finally:
        halt.set()
        for reading in running:
            reading.abandon()


class _Reading:
    """One parent's pages, read by a thread of its own, never more than one ahead of who takes them."""

    def __init__(
        self,
        session: requests.Session,
        resource: Resource,
        parameters: Mapping[str, Any],
        policy: Policy,
        number: int,
        parent: Mapping[str, Any],
    ) -> None:
        self._session, self._resource, self._policy = session, resource, policy
        self._values = {**parameters, **parent}
        self._number, self._parent = number, parent
        self._ready: SimpleQueue[Page | BaseException | None] = SimpleQueue()
        self._go_on = threading.Semaphore(1)
        self._thread = threading.Thread(
            target=self._run, name=f"sinew parent {number}", daemon=True
        )
        self._thread.start()

    def pages(self) -> Iterator[Page]:
        """The pages as they come; raises what the reading raised."""
        while (item := self._ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield with_parent(item, self._number, self._parent)
            self._go_on.release()
        self._thread.join()

    def abandon(self) -> None:
        """Wait until the thread has noticed that it is to stop."""
        self._go_on.release()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._read()
        except BaseException as error:
            self._ready.put(error)
        else:
            self._ready.put(None)

    def _read(self) -> None:
        pages = pages_of(self._session, self._resource, self._values, self._policy)
        each = self._resource.each
        while True:
            self._go_on.acquire()
            if self._policy.stop is not None and self._policy.stop():
                raise InterruptedStepError("stopped as asked, between two pages")
            try:
                page = next(pages, None)
            except SinewError as error:
                skips = each is not None and each.gone == "skip"
                if skips and isinstance(error, ApiRefusedError) and error.status in _GONE:
                    return
                raise
            if page is None:
                return
            self._ready.put(page)
