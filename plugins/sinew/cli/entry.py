"""From the words of a command line to an exit code.

0: done. 1: something is wrong with the mapping, the data or the target. 2: a word, a connection or
a file is wrong. 75: the same command may succeed later. 130: interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from sinew.cli.arguments import parser
from sinew.errors import ConfigurationError, RetriableError, SinewError

DONE, FAILED, MISCONFIGURED, TRY_AGAIN, INTERRUPTED = 0, 1, 2, 75, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; an error is one message on stderr."""
    options = parser().parse_args(arguments)
    try:
        code: int = options.command(options)
        sys.stdout.flush()
        return code
    except SinewError as error:
        if options.debug:
            raise
        print(f"sinew: {error}", file=sys.stderr)
        return exit_code(error)
    except KeyboardInterrupt:
        print("sinew: interrupted; what was begun goes on with the same command", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough; Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


def exit_code(error: SinewError) -> int:
    """What the shell is told about an error."""
    if isinstance(error, ConfigurationError):
        return MISCONFIGURED
    return TRY_AGAIN if isinstance(error, RetriableError) else FAILED
