"""A search for secrets, in every form in which one could have been written down."""

from __future__ import annotations

import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus

import psycopg
from cryptography.fernet import Fernet
from psycopg import sql

# Assertions, ID tokens and access tokens, without knowing them: two parts of base64url that are JSON.
JWT = re.compile(rb"eyJ[\w-]{10,}\.eyJ[\w-]{10,}")
# A line of PEM shorter than this says nothing about the key.
_PEM_LINE = 40


def forms(secret: str) -> Iterator[tuple[str, str]]:
    """(what it is called, text) for each way to write a secret."""
    yield "as it is", secret
    yield "as JSON", json.dumps(secret)[1:-1]
    yield "as JSON in UTF-8", json.dumps(secret, ensure_ascii=False)[1:-1]
    yield "as JSON in JSON", json.dumps(json.dumps(secret))[3:-3]
    yield "as a Python literal", repr(secret)[1:-1]
    yield "as a Python literal in JSON", json.dumps(repr(secret)[1:-1], ensure_ascii=False)[1:-1]
    yield "in a URL", quote(secret, safe="")
    yield "in a form", quote_plus(secret)
    yield "in hex", secret.encode().hex()
    for offset in range(3):
        yield "in base64", _inside_base64(secret.encode(), offset)
        yield "in base64url", _inside_base64(secret.encode(), offset, urlsafe=True)
    for line in secret.splitlines() if "-----BEGIN" in secret else ():
        if len(line) >= _PEM_LINE:
            yield "a line of it", line


def _inside_base64(secret: bytes, offset: int, urlsafe: bool = False) -> str:
    """The characters that do not depend on what stands before and after, such as a user's name."""
    encode = urlsafe_b64encode if urlsafe else b64encode
    text = encode(b"\0" * offset + secret).decode()
    return text[-(-offset * 8 // 6) : (offset + len(secret)) * 8 // 6]


def find(secrets: Mapping[str, str], places: Mapping[str, bytes]) -> set[tuple[str, str, str]]:
    """(secret, place, form) for everything that is found; JWTs are found without being given."""
    found = {
        (name, place, form)
        for name, secret in secrets.items()
        for form, text in forms(secret)
        for place, content in places.items()
        if text.encode() in content
    }
    return found | {
        ("a token", place, "as a JWT") for place, content in places.items() if JWT.search(content)
    }


def dump(dsn: str) -> bytes:
    """Every row of every table of a database, as text; binary columns are in hex."""
    lines: list[str] = []
    with psycopg.connect(dsn) as conn:
        tables = conn.execute(
            "SELECT schemaname, tablename FROM pg_tables "
            "WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2"
        ).fetchall()
        for name in tables:
            query = sql.SQL("SELECT t::text FROM {} AS t").format(sql.Identifier(*name))
            lines += [f"{name[1]} {row[0]}" for row in conn.execute(query)]
    # A row's text doubles backslashes and quotes.
    text = "\n".join(lines)
    return (text + text.replace('""', '"').replace("\\\\", "\\")).encode()


def files_below(folder: Path, besides: Iterable[str] = ()) -> dict[str, bytes]:
    """The content of every file, but of those with these names."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name not in set(besides)
    }


def stored_tokens(dsn: str, key: str | None) -> dict[str, str]:
    """What the store of tokens keeps, decrypted (None: it is not encrypted): proof that there is something to find."""
    found = {}
    with psycopg.connect(dsn) as conn:
        rows = conn.execute("SELECT key, body FROM sinew_auth.token WHERE body IS NOT NULL")
        for slot, body in rows:
            said = json.loads(body if key is None else Fernet(key).decrypt(body))
            for kind in ("access_token", "refresh_token", "id_token"):
                if said[kind]:
                    found[f"{kind} of {slot.partition(':')[0]}"] = said[kind]
    return found
