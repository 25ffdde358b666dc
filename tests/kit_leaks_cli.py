"""``sinew auth`` for each connection, without Airflow, with every log on: ``python -m tests.kit_leaks_cli JSON``.

The JSON is ``{connection: path}``. Errors are printed with their tracebacks.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback

from sinew.cli import main
from sinew.hooks.apis import api_endpoint_from_env, api_opener_from_env, token_store_from_env

if __name__ == "__main__":
    logging.basicConfig(level=logging.DEBUG)
    codes = {}
    for conn_id, path in json.loads(sys.argv[1]).items():
        endpoint = api_endpoint_from_env(conn_id)
        opener = api_opener_from_env(conn_id)
        print(repr(endpoint), str(endpoint), repr(opener), repr(token_store_from_env()))
        main(["auth", "login", conn_id])
        try:
            session = opener()
            print(repr(session), vars(session.get(path).request), session.headers)
            print(repr(token_store_from_env().peek(endpoint.slot)))
        except Exception:
            traceback.print_exc()
        try:
            codes[conn_id] = main(["auth", "test", conn_id, "--path", path, "--debug"])
        except Exception:
            traceback.print_exc()
            codes[conn_id] = main(["auth", "test", conn_id, "--path", path])
        main(["auth", "show", conn_id])
        main(["auth", "show", conn_id, "--json"])
    print(json.dumps(codes))
