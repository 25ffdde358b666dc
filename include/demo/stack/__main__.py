"""``python -m demo.stack up|down|status``, and ``airflow ...`` for any command of Airflow's own."""

from __future__ import annotations

import argparse
import os
import sys
import time

from demo.stack import Stack, StackError
from demo.stack.airflow_settings import USER


def up(stack: Stack) -> int:
    """Start the stack; prints the password on the first start only."""
    began = time.monotonic()
    first = stack.up(say=lambda line: print(line, flush=True))
    print(f"Up after {time.monotonic() - began:.0f} s: {stack.airflow.url}")
    file = stack.airflow.home / "passwords.json"
    if first:
        print(f"User {USER}, password {stack.airflow.password} (kept in {file}, mode 600)")
    else:
        print(f"User {USER}, password in {file}")
    return 0


def down(stack: Stack) -> int:
    """Stop the stack."""
    stack.down()
    print("Down.")
    return 0


def status(stack: Stack) -> int:
    """Print a line for each server; 3 if one of them does not run."""
    lines = stack.status()
    for line in lines:
        print(f"{line.name:<14}{line.state:<12}{line.pid or '-':<9}{line.detail}")
    running = all(line.state == "running" for line in lines)
    print(f"UI: {stack.airflow.url}" if running else "Not all is running: `make up` starts it.")
    return 0 if running else 3


def airflow(stack: Stack, arguments: list[str]) -> int:
    """Become the ``airflow`` command, with this stack's settings."""
    command = stack.airflow.command(*arguments)
    os.execve(command[0], command, stack.airflow.env())


def main(arguments: list[str]) -> int:
    """Run one command; 1 with a message when it fails."""
    parser = argparse.ArgumentParser(prog="python -m demo.stack", description=__doc__)
    parser.add_argument("command", choices=["up", "down", "status", "airflow"])
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="arguments of airflow")
    chosen = parser.parse_args(arguments)
    stack = Stack()
    try:
        if chosen.command == "airflow":
            return airflow(stack, chosen.rest)
        return {"up": up, "down": down, "status": status}[chosen.command](stack)
    except StackError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
