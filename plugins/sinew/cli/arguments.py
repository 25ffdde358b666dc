"""The words that each command takes. A command's module is imported when the command runs."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from sinew import __version__

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

Command = Callable[[argparse.Namespace], int]

_CONNECTIONS = (
    "Connections are taken from the variables AIRFLOW_CONN_<ID> (a URI or JSON), else from Airflow."
)


def parser() -> argparse.ArgumentParser:
    """The parser of all commands; ``command`` of its result runs the chosen one."""
    top = argparse.ArgumentParser(
        prog="sinew",
        description="Move databases in phases, and keep databases and APIs alike, in gated batches, with "
        "every row accounted for.",
        epilog=f"{_CONNECTIONS} Each command tells more: sinew COMMAND --help.",
    )
    top.add_argument("--version", action="version", version=f"sinew {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for add in (
        _lint,
        _schema,
        _explain,
        _audit,
        _reversibility,
        _run,
        _status,
        _redeliver,
        _diff,
        _report,
        _auth,
    ):
        add(commands)
    return top


def _add(
    commands: Commands, name: str, function: str, short: str, example: str, *, mapping: bool = True
) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = commands.add_parser(
        name,
        help=short,
        description=f"{short[0].upper()}{short[1:]}.",
        epilog=f"Example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if mapping:
        made.add_argument(
            "mapping",
            metavar="MAPPING",
            help="name of a migration or a sync in include/mappings, or a file's path",
        )
    made.add_argument("--debug", action="store_true", help="show an error's traceback")
    made.set_defaults(command=_later(function))
    return made


def _later(function: str) -> Command:
    """``module:function`` of this package, imported when it is called."""

    def command(options: argparse.Namespace) -> int:
        module, _, name = function.partition(":")
        code: int = getattr(import_module(f"sinew.cli.{module}"), name)(options)
        return code

    return command


def _lint(commands: Commands) -> None:
    made = _add(
        commands,
        "lint",
        "reading:lint",
        "find what is wrong with mappings and contracts, without a database",
        "sinew lint include/mappings/migrations/retail.yaml",
        mapping=False,
    )
    made.add_argument(
        "paths",
        metavar="PATH",
        nargs="*",
        help="files or folders; default: include/mappings/migrations and include/mappings/syncs",
    )


def _schema(commands: Commands) -> None:
    made = _add(
        commands,
        "schema",
        "reading:schema",
        "print the JSON Schema of mapping files",
        "sinew schema sync > include/mappings/sync.schema.json",
        mapping=False,
    )
    made.add_argument(
        "kind",
        nargs="?",
        choices=["migration", "sync"],
        default="migration",
        help="of which mapping files; default: migration",
    )


def _explain(commands: Commands) -> None:
    made = _add(
        commands,
        "explain",
        "reading:explain",
        "tell a mapping's plan in plain words; with --sql, the statements of each step",
        "sinew explain retail --sql --entity customers",
    )
    made.add_argument(
        "--sql",
        action="store_true",
        help="show every statement; reads both databases' catalogs, writes nothing",
    )
    made.add_argument("--entity", metavar="E", help="only this entity")


def _audit(commands: Commands) -> None:
    _add(
        commands,
        "audit",
        "auditing:audit",
        "ask both databases whether the plan can work, and what it would move; writes nothing",
        "sinew audit retail",
    )


def _reversibility(commands: Commands) -> None:
    made = _add(
        commands,
        "reversibility",
        "reversing:tell_reversibility",
        "tell of every column of the source whether the target could give it back; writes nothing",
        "sinew reversibility retail --json",
    )
    made.add_argument("--json", action="store_true", help="the same as JSON")


def _run(commands: Commands) -> None:
    made = _add(
        commands,
        "run",
        "moving:run",
        "move the phases of a migration, or one window of a sync, without Airflow",
        "sinew run retail --phase pilot --parallelism 4\n"
        "  sinew run shop_orders --from 2026-03-01T00:00:00+00:00 --to 2026-03-02T00:00:00+00:00",
    )
    _phases(made, "phases to move, in the mapping's order; default: all")
    made.add_argument(
        "--batch-rows", type=_positive, metavar="N", help="rows of a batch, for batches not yet cut"
    )
    made.add_argument(
        "--parallelism", type=_positive, metavar="N", help="steps that work at the same time"
    )
    made.add_argument(
        "--approved-by", metavar="PERSON", help="who approves the phases that need an approval"
    )
    made.add_argument(
        "--from",
        dest="lower",
        metavar="MOMENT",
        help="of a sync: beginning of the window; default: where the last complete one ends",
    )
    made.add_argument(
        "--to", dest="upper", metavar="MOMENT", help="of a sync: its end, exclusive; default: now"
    )
    made.add_argument(
        "--keep-answers",
        action="store_true",
        help="of a sync: transform what an earlier run over the same window fetched",
    )


def _status(commands: Commands) -> None:
    made = _add(
        commands,
        "status",
        "telling:status",
        "tell how far a migration or a sync is, from its ledger",
        "sinew status retail --json",
    )
    made.add_argument("--json", action="store_true", help="the same as JSON")


def _redeliver(commands: Commands) -> None:
    made = _add(
        commands,
        "redeliver",
        "syncing:redeliver",
        "let the next run of a sync send again what the API refused",
        "sinew redeliver crm_contacts --entity contacts",
    )
    made.add_argument("--entity", metavar="E", help="only rows of this entity")


def _diff(commands: Commands) -> None:
    made = _add(
        commands,
        "diff",
        "moving:diff",
        "compare source, row ledger and target now, and name the rows that differ; writes nothing",
        "sinew diff retail --phase pilot",
    )
    _phases(made, "phases to compare; default: all that were proved before")


def _report(commands: Commands) -> None:
    made = _add(
        commands,
        "report",
        "telling:report",
        "print the newest report as HTML, or write it to a file",
        "sinew report retail --phase pilot --output pilot.html",
    )
    made.add_argument("--phase", metavar="P", help="of this phase; default: the newest of all")
    made.add_argument("--output", metavar="FILE", help="write it here")


def _auth(commands: Commands) -> None:
    short = "log in to APIs, try connections, show tokens and revoke them"
    made = commands.add_parser(
        "auth",
        help=short,
        description=f"{short[0].upper()}{short[1:]}.",
        epilog="Example:\n  sinew auth test shop_api --path /orders",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = made.add_subparsers(metavar="VERB", required=True)
    for add in (_auth_login, _auth_test, _auth_show, _auth_logout):
        add(verbs)


def _auth_login(verbs: Commands) -> None:
    made = _of_connection(
        verbs, "login", "log_in", "have a person consent in a browser or by a code"
    )
    made.add_argument(
        "--device",
        action="store_true",
        help="by a code that is typed on any device; the connection's grant must be device_code",
    )
    made.add_argument(
        "--no-browser", action="store_true", help="only print the address, open nothing"
    )
    made.add_argument(
        "--paste",
        action="store_true",
        help="the browser is on another machine: read the address that it ended at from stdin",
    )


def _auth_test(verbs: Commands) -> None:
    made = _of_connection(
        verbs,
        "test",
        "test",
        "send one request; tell what was sent and got, never a secret",
        " --path /orders",
    )
    made.add_argument(
        "--path", metavar="PATH", default="", help="below the base URL; default: the base URL"
    )


def _auth_show(verbs: Commands) -> None:
    made = _of_connection(
        verbs,
        "show",
        "show_token",
        "show scopes, expiry and claims of the stored token; asks no server",
    )
    made.add_argument("--json", action="store_true", help="the same as JSON")


def _auth_logout(verbs: Commands) -> None:
    _of_connection(
        verbs, "logout", "log_out", "revoke the stored tokens at the server, and forget them"
    )


def _of_connection(
    verbs: Commands, verb: str, function: str, short: str, example: str = ""
) -> argparse.ArgumentParser:
    made = _add(
        verbs,
        verb,
        f"authenticating:{function}",
        short,
        f"sinew auth {verb} shop_api{example}",
        mapping=False,
    )
    made.add_argument("connection", metavar="CONN", help="id of the API's connection")
    return made


def _phases(made: argparse.ArgumentParser, text: str) -> None:
    made.add_argument("--phase", dest="phases", metavar="P", action="append", help=text)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)
