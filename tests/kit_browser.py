"""A browser whose person has consented before: ``python -m tests.kit_browser URL`` goes where it is sent."""

from __future__ import annotations

import sys

import requests

if __name__ == "__main__":
    # The authority is the test's own, and who is asked does not matter here.
    requests.packages.urllib3.disable_warnings()  # type: ignore[attr-defined]
    requests.get(sys.argv[1], verify=False, timeout=20)
