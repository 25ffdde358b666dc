"""What a contact must be like for the marketing system to take it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

BLOCKED_DOMAIN = "blocked.example"
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_COUNTRY = re.compile(r"[A-Z]{2}")
_MONEY = re.compile(r"-?\d{1,12}(\.\d{1,4})?")
_LONGEST_ID = 64


class Refused(Exception):
    """One record that is not taken: a status, a code for programs, a sentence that quotes no value."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail

    def error(self) -> dict[str, str]:
        """As it stands in an answer."""
        return {"code": self.code, "message": self.detail}


def parsed(body: bytes) -> dict[str, Any]:
    """The JSON object in a body; NaN and Infinity are no JSON."""
    try:
        found = json.loads(body.decode("utf-8"), parse_constant=_no_number)
    except ValueError as error:
        raise Refused(400, "bad_json", f"the body is no JSON in UTF-8: {error}") from None
    if not isinstance(found, dict):
        raise Refused(400, "bad_json", "the body is no JSON object")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number in JSON")


def external_id_of(contact: Mapping[str, Any]) -> str:
    """The sender's own number of a contact."""
    found = contact.get("external_id")
    if not isinstance(found, str) or not 0 < len(found) <= _LONGEST_ID or not found.isprintable():
        raise Refused(
            422,
            "invalid_external_id",
            f"external_id must be 1 to {_LONGEST_ID} printable characters",
        )
    return found


def check(contact: Mapping[str, Any], *, whole: bool) -> None:
    """Refuse a contact with a wrong member; a ``whole`` one needs an email too."""
    if whole or "email" in contact:
        _check_email(contact.get("email"))
    if not isinstance(contact.get("marketing_consent", False), bool):
        raise Refused(422, "invalid_consent", "marketing_consent must be true or false")
    _check_text(contact, "country", _COUNTRY, "two capital letters")
    _check_text(contact, "lifetime_value", _MONEY, "a decimal number as a string")


def _check_email(email: Any) -> None:
    if not isinstance(email, str) or not _EMAIL.fullmatch(email):
        raise Refused(422, "invalid_email", "email must be an address such as name@example.com")
    if email.endswith("@" + BLOCKED_DOMAIN):
        raise Refused(422, "email_blocked", "the email's domain is on the suppression list")


def _check_text(
    contact: Mapping[str, Any], member: str, pattern: re.Pattern[str], meant: str
) -> None:
    value = contact.get(member)
    if value is not None and (not isinstance(value, str) or not pattern.fullmatch(value)):
        raise Refused(422, f"invalid_{member}", f"{member} must be {meant} or null")
