"""Get one page of a resource: its request from the mapping's texts, its records from the answer."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import requests

from sinew.api.addresses import shown
from sinew.api.documents import Document, compact
from sinew.api.filling import fill_body, fill_params, fill_path
from sinew.api.jsonpaths import query
from sinew.api.pagers import Ask, Came
from sinew.api.refusals import excerpt_of
from sinew.api.transport import Answer, Call, Policy, secrets_of, send
from sinew.api.windows import incremental_params
from sinew.errors import ApiRefusedError
from sinew.spec.resources import Resource

_MOST_NAMES = 8


class Fetcher:
    """Fetches pages of one resource, with the same parameters each time."""

    def __init__(
        self,
        session: requests.Session,
        resource: Resource,
        values: Mapping[str, Any],
        policy: Policy,
    ) -> None:
        self._session, self._resource, self._policy = session, resource, policy
        self._path = fill_path(resource.path, values)
        self._params = [
            *fill_params(resource.params, values),
            *incremental_params(resource.incremental, values),
        ]
        self._body = fill_body(resource.body, values)
        self._records = query(resource.records)
        self._in_body = getattr(resource.pagination, "send_in", "query") == "body"

    @property
    def name(self) -> str:
        """What is fetched, for messages."""
        return f"{self._resource.method} {self._path}"

    def __call__(self, ask: Ask) -> Came:
        """The page that is asked for."""
        call = self._call(ask)
        answer = send(self._session, call, self._policy)
        return Came(
            answer.document or Document(None),
            self._values(answer, call),
            answer.url,
            answer.headers,
            call.shown,
            answer.asked_at,
            getattr(self._session, "public_url", str),
        )

    def _call(self, ask: Ask) -> Call:
        headers = dict(self._resource.headers)
        body = self._body
        if self._in_body and ask.params:
            body = _with_members(body, ask.params)
        if self._resource.method == "POST":
            headers["Content-Type"] = "application/json"
        url, params = ask.url, []
        if url is None:
            url = self._path
            own = {} if self._in_body else ask.params
            params = [pair for pair in self._params if pair[0] not in own]
            params += [(name, str(value)) for name, value in own.items()]
        return Call(
            self._resource.method,
            url,
            self._shown(ask, params),
            params,
            headers,
            None if body is None else compact(body),
        )

    def _shown(self, ask: Ask, params: list[tuple[str, str]]) -> str:
        known = {name for name, _ in self._params} | set(ask.params)
        if ask.url is not None:
            return f"{self._resource.method} {shown(ask.url, known)}"
        request = requests.Request("GET", "http://x/", params=params).prepare()
        query_shown = shown(request.url or "", known).partition("?")[2]
        return self.name + (f"?{query_shown}" if query_shown else "")

    def _values(self, answer: Answer, call: Call) -> list[Any]:
        if answer.document is None:
            return []
        values = self._records.records(answer.document.root)
        if values is not None:
            return values
        if self._resource.no_records == "empty":
            return []
        said = excerpt_of(answer.document.root, secrets_of(self._session))
        seen = f"it says {said!r}" if said else f"it has {_members(answer.document.root)}"
        raise ApiRefusedError(
            f"{call.shown} answers {answer.status}, but there is nothing at {self._records.text}: {seen}; "
            "correct `records`, or write `no_records: empty` if the API leaves them out when there are none",
            answer.status,
        )


def _members(root: Any) -> str:
    if not isinstance(root, dict):
        return f"a {type(root).__name__} at its root" if root is not None else "null at its root"
    # Names of another kind may be keys of data, such as addresses.
    names = [name for name in root if name.isidentifier()][:_MOST_NAMES]
    return f"the members {', '.join(names)}" if names else "no member"


def _with_members(body: Any, members: Mapping[str, Any]) -> dict[str, Any]:
    """The body with members set; a dot in a name leads into a member."""
    result: dict[str, Any] = copy.deepcopy(body) if body is not None else {}
    for name, value in members.items():
        *outer, last = name.split(".")
        place = result
        for part in outer:
            inner = place.get(part)
            place[part] = inner = inner if isinstance(inner, dict) else {}
            place = inner
        place[last] = value
    return result
