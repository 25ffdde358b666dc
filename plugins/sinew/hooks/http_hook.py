"""The http provider's hook with our authentication: whatever runs over ``HttpHook`` runs over this one."""

from __future__ import annotations

from typing import Any

from airflow.providers.http.hooks.http import HttpHook

from sinew.errors import ConfigurationError, SinewError
from sinew.hooks.apis import TYPES, api_endpoint, tokens_of

# What the connection says, and a call must not weaken.
_OF_THE_CONNECTION = ("cert", "verify", "verify_ssl")


class OAuth2HttpHook(HttpHook):
    """Requests to an API whose connection says how they prove who they are.

    Connections of type ``sinew_http`` give this hook, so ``HttpOperator`` uses it by itself. ``run`` and
    ``run_with_advanced_retry`` are the provider's. There is no asynchronous variant: a deferrable
    ``HttpOperator`` and ``HttpSensor`` build the provider's own hooks, which know nothing of this
    authentication; use ``PythonSensor`` over this hook instead.
    """

    conn_name_attr = "http_conn_id"
    default_conn_name = "sinew_http_default"
    conn_type = TYPES[1]
    hook_name = "HTTP API (Sinew)"

    def __init__(
        self,
        method: str = "POST",
        http_conn_id: str = default_conn_name,
        auth_type: Any = None,
        tcp_keep_alive: bool = True,
        tcp_keep_alive_idle: int = 120,
        tcp_keep_alive_count: int = 20,
        tcp_keep_alive_interval: int = 30,
        adapter: Any = None,
    ) -> None:
        for name, value in (("auth_type", auth_type), ("adapter", adapter)):
            if value is not None:
                raise ConfigurationError(
                    f"{name} is given; allowed: None, because authentication and TLS are the connection's: put "
                    f"them into the extra of {http_conn_id!r} and remove {name}"
                )
        # An adapter of its own would replace the one that has the connection's certificates.
        super().__init__(method=method, http_conn_id=http_conn_id, tcp_keep_alive=False)

    def get_conn(
        self, headers: dict[Any, Any] | None = None, extra_options: dict[str, Any] | None = None
    ) -> Any:
        """A session that authenticates; of ``extra_options``, those that are not the connection's."""
        from sinew.auth.session import open_session

        self.merged_extra = self._options(extra_options or {})
        endpoint = api_endpoint(self.http_conn_id)
        self.base_url, self._base_url_initialized = endpoint.base_url, True
        session = open_session(endpoint, tokens_of(endpoint))
        session.proxies = self.merged_extra.get("proxies", self.merged_extra.get("proxy")) or {}
        session.stream = self.merged_extra.get("stream", False)
        for name in ("max_redirects", "trust_env"):
            if name in self.merged_extra:
                setattr(session, name, self.merged_extra[name])
        session.headers.update(self.default_headers)
        session.headers.update(headers or {})
        return session

    def _options(self, given: dict[str, Any]) -> dict[str, Any]:
        wrong = [name for name in _OF_THE_CONNECTION if given.get(name) not in (None, True)]
        if wrong:
            raise ConfigurationError(
                f"extra_options has {', '.join(wrong)}; allowed: none of these: put certificates and CA into tls "
                f"in the extra of {self.http_conn_id!r}"
            )
        return dict(given)

    def _set_base_url(self, connection: Any) -> None:
        """The endpoint's, read by us; called by the provider's hook where nothing was sent yet."""
        self.base_url = api_endpoint(self.http_conn_id).base_url
        self._base_url_initialized = True

    def test_connection(self) -> tuple[bool, str]:
        """One GET of the base URL: whether the API takes the proof, and what to do if not."""
        from sinew.auth.probing import probe

        try:
            endpoint = api_endpoint(self.http_conn_id)
            found = probe(endpoint, tokens_of(endpoint))
        except SinewError as error:
            return False, str(error)
        told = f"sent {found.sent}; the API answered {found.status} {found.reason}".rstrip()
        return found.good, f"{told}: {found.advice}" if found.advice else told
