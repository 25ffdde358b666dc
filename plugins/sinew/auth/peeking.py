"""A look into a token without any proof, only for showing and for hints; ``checks`` proves."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from typing import Any


def unverified_claims(token: str) -> dict[str, Any] | None:
    """The payload of a JWT, or None when the token is none."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    return _object(parts[1]) if _object(parts[0]) is not None else None


def _object(part: str) -> dict[str, Any] | None:
    try:
        found = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
