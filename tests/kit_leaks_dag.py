"""One run of a DAG whose tasks use connections, well and carelessly: ``python -m tests.kit_leaks_dag JSON``.

The JSON has the arguments of ``build``. Bare means: Airflow's masker and the encryption of tokens are switched off. Prints what a view of all connections shows, and at last the states of the tasks as JSON.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

STATES = "the states of the tasks: "
# Airflow keeps what it read from a file only.
FILE = """\
# A DAG for Airflow.
import json
from tests.kit_leaks_dag import build
dag = build(**json.loads({said!r}))
"""


def strip() -> None:
    """Take away what hides secrets."""
    from dataclasses import asdict

    from airflow._shared.secrets_masker import SecretsMasker as OfTheServer
    from airflow.sdk._shared.secrets_masker import SecretsMasker as OfTheTask

    from sinew.auth.sealing import Sealer
    from sinew.auth.store import StoredToken

    for masker in (OfTheServer, OfTheTask):
        masker.add_mask = lambda self, *a, **k: None  # type: ignore[method-assign]
        masker.should_hide_value_for_key = lambda self, name: False  # type: ignore[method-assign]
    Sealer.seal = lambda self, token: json.dumps(asdict(token))  # type: ignore[method-assign]
    Sealer.open = lambda self, body, age: StoredToken(**{**json.loads(body), "age": age})  # type: ignore[method-assign]


def by_opener(conn_id: str, path: str) -> int:
    """One request through the opener that syncs use."""
    from sinew.hooks.apis import api_opener

    with api_opener(conn_id)() as session:
        answer = session.get(path)
    logging.getLogger("task").info("got %r by %r: %s", answer, session, answer.text)
    answer.raise_for_status()
    return answer.status_code


def by_hook(conn_id: str, path: str) -> int:
    """The same through the hook; its errors log what the API answered."""
    from sinew.hooks.http_hook import OAuth2HttpHook

    status: int = OAuth2HttpHook("GET", conn_id).run(path).status_code
    return status


def carelessly(conn_ids: list[str], bare: bool, rendered: list[str]) -> Any:
    """What nobody should do: write down connections, all that a process knows of them, and their tokens."""
    shown = [_written_down(conn_id) for conn_id in conn_ids]
    # What a task returns, Airflow keeps as it is: there the careless one is alone.
    return shown if bare else "done"


def _written_down(conn_id: str) -> Any:
    from airflow.sdk import BaseHook

    from sinew.hooks.apis import api_endpoint, token_store

    log, connection = logging.getLogger("task"), BaseHook.get_connection(conn_id)
    endpoint = api_endpoint(conn_id)
    log.info("password %s, extra %s", connection.password, connection.extra)
    log.info("extra %s, endpoint %r", connection.extra_dejson, endpoint)
    parts = [
        endpoint.auth.model_dump(),
        endpoint.tls and endpoint.tls.model_dump(),
        endpoint.headers,
    ]
    shown = json.loads(json.dumps(parts, default=lambda value: value.get_secret_value()))
    log.info("dumped %s", shown)
    token = token_store().peek(endpoint.slot) if endpoint.oauth2 else None
    if token is not None:
        log.info("tokens %s %s", token.access_token, token.refresh_token)
    return shown


def build(
    asked: dict[str, str], opened: list[str], hooked: list[str], operated: list[str], bare: bool
) -> Any:
    """The DAG: tasks for each connection by the opener, the hook and the operator, none waiting for another."""
    from airflow.providers.http.operators.http import HttpOperator
    from airflow.sdk import DAG, task

    with DAG("leaks", schedule=None) as dag:
        for conn_id in opened:
            task(task_id=f"opener_{conn_id}")(by_opener)(conn_id, asked[conn_id])
        for conn_id in hooked:
            task(task_id=f"hook_{conn_id}")(by_hook)(conn_id, asked[conn_id])
        for conn_id in operated:
            HttpOperator(
                task_id=f"operator_{conn_id}",
                http_conn_id=conn_id,
                method="GET",
                endpoint=asked[conn_id],
                log_response=True,
                response_filter=lambda response: response.status_code,
            )
        rendered = ["{{ conn.get('" + conn_id + "').password }}" for conn_id in asked]
        # Last, so that there are tokens to show.
        every = list(dag.tasks)
        careless = task(task_id="careless", trigger_rule="all_done")(carelessly)
        every >> careless(list(asked), bare, rendered)  # type: ignore[operator]
    return dag


def views() -> list[str]:
    """Each connection, as the API server answers the UI."""
    from airflow.api_fastapi.core_api.datamodels.connections import ConnectionResponse
    from airflow.models import Connection
    from airflow.settings import Session
    from sqlalchemy import select

    found = Session().scalars(select(Connection).order_by(Connection.conn_id))
    return [
        ConnectionResponse.model_validate(each, from_attributes=True).model_dump_json()
        for each in found
    ]


def _log_everything() -> None:
    """The log of a task as its supervisor writes it, with every library's last word."""
    from airflow.sdk.execution_time.comms import MaskSecret
    from airflow.sdk.execution_time.request_handlers import handle_mask_secret
    from airflow.sdk.execution_time.supervisor import InProcessSupervisorComms
    from airflow.sdk.log import configure_logging

    # Within one process Airflow logs each message between a task and its supervisor, and so what is to be masked;
    # a real supervisor leaves the body of this message out.
    send = InProcessSupervisorComms.send
    InProcessSupervisorComms.send = lambda self, msg: (  # type: ignore[method-assign]
        handle_mask_secret(msg) if isinstance(msg, MaskSecret) else send(self, msg)
    )
    configure_logging(json_output=True, log_level="DEBUG", output=sys.stdout.buffer)
    for name in list(logging.root.manager.loggerDict):
        # The metadata database is the API server's business; a task does not speak to it.
        if not name.startswith("sqlalchemy"):
            logging.getLogger(name).setLevel(logging.DEBUG)


def main(text: str) -> None:
    """Run it."""
    said = json.loads(text)
    from airflow.sdk import DAG  # noqa: F401  (settles Airflow's settings before our modules load)

    if said["bare"]:
        strip()
    _log_everything()
    print("\n".join(views()))
    run = build(**said).test(logical_date=None)
    states = {
        ti.task_id: str(getattr(ti.state, "value", ti.state)) for ti in run.get_task_instances()
    }
    print(f"{STATES}{json.dumps(dict(sorted(states.items())))}")


if __name__ == "__main__":
    main(sys.argv[1])
