"""Signatures over requests with a shared key: a canonical text of one's own, or RFC 9421."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from base64 import b64decode, b64encode
from collections.abc import MutableMapping
from datetime import UTC, datetime
from urllib.parse import urlsplit

import requests

from sinew.auth.models import Hmac
from sinew.errors import AuthenticationError

_FIELD = re.compile(r"\{(method|host|path|timestamp|digest|key_id|signature)\}")


def sign(request: requests.PreparedRequest, auth: Hmac) -> None:
    """Add the signature's headers to a request that is otherwise ready to be sent."""
    if auth.scheme == "rfc9421":
        _sign_rfc9421(request, auth, created=int(time.time()))
    else:
        _sign_canonical(request, auth, now=time.time())


def header_names(auth: Hmac) -> list[str]:
    """The headers that a signature adds."""
    if auth.scheme == "rfc9421":
        return ["Signature", "Signature-Input", "Content-Digest"]
    named = (auth.signature_header, auth.timestamp_header, auth.digest_header, auth.key_id_header)
    return [name for name in named if name]


def _body(request: requests.PreparedRequest) -> bytes:
    body = request.body
    if body is None:
        return b""
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, bytes | bytearray):
        return bytes(body)
    raise AuthenticationError(
        "a streamed body cannot be signed, for its digest comes before it; allowed: text, bytes, JSON or a "
        "form: read it into memory first"
    )


def _secret(auth: Hmac) -> bytes:
    text = auth.secret.get_secret_value()
    try:
        if auth.secret_encoding == "hex":
            return bytes.fromhex(text)
        if auth.secret_encoding == "base64":
            return b64decode(text, validate=True)
    except ValueError:
        raise AuthenticationError(
            f"auth.secret is no {auth.secret_encoding}, as auth.secret_encoding says; allowed: text, hex, base64: "
            "correct either"
        ) from None
    return text.encode()


def _target(request: requests.PreparedRequest) -> tuple[str, str, str]:
    """Host with its port unless it is the scheme's own, path, query with its question mark."""
    url = urlsplit(request.url or "")
    port = "" if url.port in (None, {"http": 80, "https": 443}.get(url.scheme)) else f":{url.port}"
    host = url.hostname or ""
    return (f"[{host}]" if ":" in host else host) + port, url.path or "/", f"?{url.query}"


def _sign_canonical(request: requests.PreparedRequest, auth: Hmac, now: float) -> None:
    host, path, query = _target(request)
    fields = {
        "method": request.method or "",
        "host": host,
        "path": path + (query if query != "?" else ""),
        "timestamp": _timestamp(auth, now),
        "digest": _encoded(hashlib.new(auth.algorithm, _body(request)).digest(), auth),
        "key_id": auth.key_id,
    }
    text = _filled(auth.template, fields)
    mac = hmac.new(_secret(auth), text.encode(), auth.algorithm).digest()
    request.headers[auth.signature_header] = _filled(
        auth.signature, fields | {"signature": _encoded(mac, auth)}
    )
    request.headers[auth.timestamp_header] = fields["timestamp"]
    if auth.digest_header:
        request.headers[auth.digest_header] = fields["digest"]
    if auth.key_id_header:
        request.headers[auth.key_id_header] = auth.key_id


def _filled(template: str, fields: dict[str, str]) -> str:
    # One pass, so that a value with braces in it is never read as a field.
    return _FIELD.sub(lambda match: fields[match[1]], template)


def _timestamp(auth: Hmac, now: float) -> str:
    if auth.timestamp == "epoch":
        return str(int(now))
    if auth.timestamp == "epoch_millis":
        return str(int(now * 1000))
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _encoded(raw: bytes, auth: Hmac) -> str:
    return raw.hex() if auth.encoding == "hex" else b64encode(raw).decode()


def _sign_rfc9421(
    request: requests.PreparedRequest, auth: Hmac, created: int, label: str = "sig1"
) -> None:
    """HTTP Message Signatures §3.1 with hmac-sha256 (§3.3.3), and Content-Digest of RFC 9530."""
    headers = request.headers
    if "content-digest" in auth.components:
        digest = b64encode(hashlib.sha256(_body(request)).digest()).decode()
        headers["Content-Digest"] = f"sha-256=:{digest}:"
    key_id = auth.key_id.replace("\\", "\\\\").replace('"', '\\"')
    listed = " ".join(f'"{name}"' for name in auth.components)
    params = f'({listed});created={created};keyid="{key_id}"'
    lines = [f'"{name}": {_component(request, name, headers)}' for name in auth.components]
    base = "\n".join([*lines, f'"@signature-params": {params}'])
    mac = hmac.new(_secret(auth), base.encode(), "sha256").digest()
    headers["Signature-Input"] = f"{label}={params}"
    headers["Signature"] = f"{label}=:{b64encode(mac).decode()}:"


def _component(
    request: requests.PreparedRequest, name: str, headers: MutableMapping[str, str]
) -> str:
    host, path, query = _target(request)
    derived = {
        "@method": request.method or "",
        "@authority": host,
        "@path": path,
        "@query": query,
        "@target-uri": request.url or "",
        "@scheme": urlsplit(request.url or "").scheme,
    }
    if name in derived:
        return derived[name]
    if name.startswith("@") or name not in headers:
        raise AuthenticationError(
            f"auth.components names {name!r}, which this request does not have; allowed: {', '.join(derived)} and the "
            "request's own headers in lower case: correct it"
        )
    return " ".join(str(headers[name]).split())
