"""The local stack: PostgreSQL and Airflow on this machine alone."""

from demo.stack.errors import StackError
from demo.stack.stack import Stack

__all__ = ["Stack", "StackError"]
