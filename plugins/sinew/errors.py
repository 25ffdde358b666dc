"""Every exception that Sinew raises, in one tree named by what the scheduler must do.

    SinewError
    ├── ConfigurationError       a person changes a file, a connection or a privilege; no retry
    │   ├── SpecError            the mapping is wrong: every problem with file:line:column
    │   ├── PreflightError       a database cannot serve the plan: every finding with its remedy
    │   ├── PlanChangedError     what the task reads is not what the run planned
    │   ├── ApiAccessError       an HTTP API does not let us in
    │   ├── EndpointError        a connection says wrongly how to reach an API: every problem at once
    │   └── AuthenticationError  who we are was refused: a person mends a secret, a right or a clock
    │       ├── TokenRefusedError   the authorization server named an error code
    │       ├── LoginNeededError    a person has to log in (again)
    │       ├── TokenInvalidError   a token that we were given does not stand up to its checks
    │       └── TlsError            a certificate or key is refused, by them or by us
    ├── FatalError               retrying cannot help; data or target must change first
    │   ├── GateFailedError      a batch did not pass its contract
    │   ├── MismatchError        evidence disagrees: source, ledger or target
    │   ├── ConstraintError      the target refused rows
    │   ├── StatementError       a statement failed for a reason that repeats
    │   ├── ApiRefusedError      an HTTP API refuses a request, or answers what cannot be used
    │   └── PaginationError      an API's pages lead astray: in a circle, elsewhere, without end
    └── RetriableError           the same call may succeed later
        ├── InputLostError       what an earlier step left is gone or changed: the batch is read again
        ├── UnavailableError     a server is down, full or out of connections
        │   └── ServerBusyError     it said so itself, and perhaps when to come again
        ├── InterruptedStepError the connection or the statement was ended from outside
        ├── FencedError          another attempt of the same batch has taken over
        ├── ThrottledError       an API asks to wait longer than a task may: it says until when
        ├── BrokenAnswerError    an API's answer was cut short or is no JSON
        ├── CollectionChangedError  an API's collection kept changing while its pages were read
        └── OutcomeUnknownError  a request that must not arrive twice may have arrived

All of them survive pickling, so that they can cross process borders. None carries a row's values.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any


class SinewError(Exception):
    """Root of all errors of this package."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Rebuild from the instance's state, whatever the subclass's constructor takes."""
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(cls: type[SinewError], args: tuple[Any, ...], state: dict[str, Any]) -> SinewError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigurationError(SinewError):
    """Something that a person declared is wrong; no retry can help."""


@dataclass(frozen=True)
class Location:
    """A place in a file; line and column count from 1."""

    file: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: what, the value seen, what is allowed, what to do."""

    location: Location | None
    message: str

    def __str__(self) -> str:
        return f"{self.location}: {self.message}" if self.location else self.message


class ProblemsError(ConfigurationError):
    """A configuration error that lists all its problems at once."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class SpecError(ProblemsError):
    """A mapping is wrong; every problem carries file:line:column."""


class PreflightError(ProblemsError):
    """A database cannot serve the plan; every finding says its remedy."""


class PlanChangedError(ConfigurationError):
    """A task reads another mapping, SQL file or function than the run planned with."""


class ApiAccessError(ConfigurationError):
    """An HTTP API refuses who we are (401) or what we may do (403)."""


class EndpointError(ProblemsError):
    """An Airflow connection says wrongly how to reach an API; every problem names its path in the extra."""


class AuthenticationError(ConfigurationError):
    """Who we are was refused; asking again with the same secrets cannot help."""


class TokenRefusedError(AuthenticationError):
    """The authorization server answered with an error code of RFC 6749 §5.2 or its extensions.

    ``code`` is that code, such as ``invalid_client``; ``status`` is the HTTP status.
    """

    def __init__(self, message: str, code: str, status: int) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class LoginNeededError(AuthenticationError):
    """There is no token that could be used or renewed; a person logs in."""


class TokenInvalidError(AuthenticationError):
    """A token failed a check: signature, issuer, audience, time, nonce or binding; ``claim`` says which."""

    def __init__(self, message: str, claim: str) -> None:
        super().__init__(message)
        self.claim = claim


class TlsError(AuthenticationError):
    """A certificate or a key was refused: ours by them, or theirs by us."""


class FatalError(SinewError):
    """The same call would fail again: data, target or mapping must change first."""


class GateFailedError(FatalError):
    """A batch did not pass its contract and was kept out of the target."""


class MismatchError(FatalError):
    """Two sides that must agree do not."""


class ConstraintError(FatalError):
    """The target refused rows: a constraint, a trigger or row security."""


class StatementError(FatalError):
    """A statement failed for a reason that will repeat."""


class ApiRefusedError(FatalError):
    """An HTTP API refuses a request, or its answer cannot be used; the same one would be again."""

    def __init__(self, message: str, status: int | None = None) -> None:
        self.status = status
        super().__init__(message)


class PaginationError(FatalError):
    """An API's pages lead in a circle, to another server, or never end."""


class RetriableError(SinewError):
    """The same call may succeed later."""


class UnavailableError(RetriableError):
    """A server is down, starting, full or out of connections."""


class ServerBusyError(UnavailableError):
    """A server answered that it cannot now; ``retry_after`` is the seconds that it asked for, or None."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class InterruptedStepError(RetriableError):
    """A connection broke, or a statement was cancelled or timed out."""


class FencedError(RetriableError):
    """Another attempt of the same batch has taken over; this one must leave no trace."""


class InputLostError(RetriableError):
    """What an earlier step left is gone or changed, as after a crash; the batch is read again."""


class OvertakenError(InputLostError):
    """What a step is about to write is older than what another run has written; the batch is read again."""


class ThrottledError(RetriableError):
    """An API asks to wait longer than a task may; ``retry_at`` (UTC) says until when."""

    def __init__(self, message: str, retry_at: datetime) -> None:
        self.retry_at = retry_at
        super().__init__(message)


class BrokenAnswerError(RetriableError):
    """An API's answer was cut short, or is not the JSON that it should be."""


class CollectionChangedError(RetriableError):
    """An API's collection kept changing while its pages were read."""


class OutcomeUnknownError(RetriableError):
    """A request may have been carried out, and must not be sent twice: look before sending again.

    ``attempts`` is how often it was sent, ``status`` what the last answer said, if one came.
    """

    def __init__(self, message: str, attempts: int = 1, status: int | None = None) -> None:
        self.attempts = attempts
        self.status = status
        super().__init__(message)
