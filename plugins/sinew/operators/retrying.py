"""Retries at the time that a server asked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from airflow.sdk.definitions.retry_policy import RetryDecision, RetryPolicy
from airflow.sdk.exceptions import AirflowException

from sinew.errors import RetriableError, ServerBusyError, ThrottledError

if TYPE_CHECKING:
    from airflow.sdk import Context


class ComeAgainException(AirflowException):
    """A failure that time mends; ``delay`` is how long the server asked us to stay away."""

    def __init__(self, message: str, delay: timedelta) -> None:
        super().__init__(message)
        self.delay = delay


def retriable(error: RetriableError) -> AirflowException:
    """Airflow's exception for an error of ours that a later try may not meet."""
    delay = asked_delay(error)
    return AirflowException(str(error)) if delay is None else ComeAgainException(str(error), delay)


def asked_delay(error: RetriableError) -> timedelta | None:
    """How long the server asked us to wait; None if it did not."""
    if isinstance(error, ThrottledError):
        return max(error.retry_at - datetime.now(UTC), timedelta(0))
    if isinstance(error, ServerBusyError) and error.retry_after is not None:
        return timedelta(seconds=error.retry_after)
    return None


class WaitAsAsked(RetryPolicy):
    """Wait as long as the server said, else as the task's own settings say."""

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,
        max_tries: int,
        context: Context | None = None,
    ) -> RetryDecision:
        """Called in the task's process, after each failure that may be retried."""
        if isinstance(exception, ComeAgainException):
            return RetryDecision.retry(exception.delay, "the server asked to come again then")
        return RetryDecision.default()
