"""Requests that are signed with a shared key, by a text of their own or by RFC 9421."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import Any

import pytest
import requests

from sinew.auth.models import Hmac
from sinew.auth.session import open_session
from sinew.auth.signing import _sign_rfc9421
from sinew.auth.store import MemoryTokenStore
from sinew.errors import AuthenticationError
from tests.fix_auth import Api, endpoint


def session_of(auth: dict[str, Any], url: str, **extra: Any) -> requests.Session:
    return open_session(endpoint({"auth": auth, **extra}, url), MemoryTokenStore())


def hmac_of(api: Api, **auth: Any) -> dict[str, str]:
    session = session_of({"type": "hmac", "key_id": "k1", "secret": "s3cret", **auth}, api.url)
    session.post("/orders?page=2", data=b'{"a": 1}')
    return api.requests[-1].headers


class TestASignature:
    def test_covers_method_path_time_and_body(self, api: Api) -> None:
        headers = hmac_of(api)
        digest = hashlib.sha256(b'{"a": 1}').hexdigest()
        text = f"POST\n/orders?page=2\n{headers['x-timestamp']}\n{digest}"
        assert headers["x-signature"] == hmac.new(b"s3cret", text.encode(), "sha256").hexdigest()
        assert (headers["x-content-sha256"], headers["x-key-id"]) == (digest, "k1")

    def test_is_written_as_the_server_wants_it(self, api: Api) -> None:
        headers = hmac_of(
            api, template="{key_id}:{method}:{host}{path}:{timestamp}", algorithm="sha512", encoding="base64",
            timestamp="rfc3339", signature="HMAC {key_id}:{signature}", signature_header="Authorization",
            timestamp_header="Date-Signed", digest_header=None, key_id_header=None, secret_encoding="hex", secret="00ff",
        )  # fmt: skip
        stamp = headers["date-signed"]
        host = api.url.removeprefix("http://")
        text = f"k1:POST:{host}/orders?page=2:{stamp}"
        mac = base64.b64encode(hmac.new(b"\x00\xff", text.encode(), "sha512").digest()).decode()
        assert headers["authorization"] == f"HMAC k1:{mac}"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", stamp)
        assert "x-content-sha256" not in headers

    def test_by_rfc_9421_has_the_signature_of_its_appendix_b_2_5(self) -> None:
        auth = Hmac(
            type="hmac", scheme="rfc9421", key_id="test-shared-secret", secret_encoding="base64",
            secret="uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==",
            components=("date", "@authority", "content-type"),
        )  # fmt: skip
        request = requests.Request(
            "POST", "https://example.com/foo?param=Value&Pet=dog",
            headers={"Date": "Tue, 20 Apr 2021 02:07:55 GMT", "Content-Type": "application/json"},
        ).prepare()  # fmt: skip
        _sign_rfc9421(request, auth, created=1618884473, label="sig-b25")
        assert (
            request.headers["Signature"] == "sig-b25=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:"
        )
        assert request.headers["Signature-Input"] == (
            'sig-b25=("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"'
        )

    def test_by_rfc_9421_covers_the_body(self, api: Api) -> None:
        headers = hmac_of(api, scheme="rfc9421")
        digest = base64.b64encode(hashlib.sha256(b'{"a": 1}').digest()).decode()
        assert headers["content-digest"] == f"sha-256=:{digest}:"
        params = headers["signature-input"].removeprefix("sig1=")
        host = api.url.removeprefix("http://")
        base = "\n".join(
            [
                '"@method": POST', f'"@authority": {host}', '"@path": /orders', '"@query": ?page=2',
                f'"content-digest": sha-256=:{digest}:', f'"@signature-params": {params}',
            ]
        )  # fmt: skip
        mac = base64.b64encode(hmac.new(b"s3cret", base.encode(), "sha256").digest()).decode()
        assert headers["signature"] == f"sig1=:{mac}:"

    def test_needs_a_body_that_is_there(self, api: Api) -> None:
        session = session_of({"type": "hmac", "key_id": "k", "secret": "s"}, api.url)
        with pytest.raises(AuthenticationError, match="a streamed body cannot be signed"):
            session.post("/", data=iter([b"a"]))

    def test_of_a_component_that_is_not_there_says_which(self, api: Api) -> None:
        with pytest.raises(AuthenticationError, match="names 'x-missing'"):
            hmac_of(api, scheme="rfc9421", components=["@method", "x-missing"])
