"""Tokens as encrypted text: Fernet, with the keys that Airflow has."""

from __future__ import annotations

import json
from dataclasses import asdict

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from sinew.auth.store import StoredToken
from sinew.errors import ConfigurationError

_MAKE_ONE = (
    "make one with `python -c 'from cryptography.fernet import Fernet; "
    "print(Fernet.generate_key().decode())'` and set it as AIRFLOW__CORE__FERNET_KEY everywhere"
)


class Sealer:
    """Encrypts and decrypts tokens.

    ``fernet_key`` may be several keys with commas between, as Airflow has it while keys are
    rotated: the first encrypts, all decrypt. Raises ConfigurationError for an empty or malformed one.
    """

    def __init__(self, fernet_key: str) -> None:
        keys = [key.strip() for key in (fernet_key or "").split(",")]
        if not all(keys):
            raise ConfigurationError(
                "the Fernet key is empty, so tokens would be kept in clear; allowed: the key of the "
                f"Airflow installation: {_MAKE_ONE}"
            )
        try:
            self._fernet = MultiFernet([Fernet(key) for key in keys])
        except (ValueError, TypeError):
            raise ConfigurationError(
                "the Fernet key is malformed; allowed: 32 bytes in URL-safe base64 (44 characters), or "
                f"several with commas between: {_MAKE_ONE}"
            ) from None

    def seal(self, token: StoredToken) -> str:
        """The token as encrypted text."""
        return self._fernet.encrypt(json.dumps(asdict(token)).encode()).decode()

    def open(self, body: str, age: float) -> StoredToken:
        """The token of such a text. Raises ConfigurationError when none of the keys fits."""
        try:
            said = json.loads(self._fernet.decrypt(body))
        except InvalidToken:
            raise ConfigurationError(
                "the stored token was encrypted with another Fernet key than this worker has; allowed: "
                "the same AIRFLOW__CORE__FERNET_KEY everywhere, while keys are rotated `new,old`: "
                "give this worker the key, or delete the row of sinew_auth.token and log in again"
            ) from None
        return StoredToken(**{**said, "age": age})
