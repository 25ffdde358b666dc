"""The shop's API and the marketing API: real HTTP servers with every habit and fault of such servers.

``with ShopServer() as server:`` serves 2,000 made-up orders at ``server.url``; the files, from the
data to the wire: store, generate, collection, paging, gate (rate limits, credentials, faults), app.
"""

from demo.shop.api.app import create_app
from demo.shop.api.control import Control
from demo.shop.api.generate import Size, fill
from demo.shop.api.legacy_data import fill_from_legacy
from demo.shop.api.paging import STYLES
from demo.shop.api.server import ShopProcess, ShopServer
from demo.shop.api.settings import Churn, Faults, Limit, Pages, Writing
from demo.shop.api.store import Store
from demo.shop.api.verify import Forbidden, Unauthorized, api_key, in_thread

__all__ = [
    "STYLES",
    "Churn",
    "Control",
    "Faults",
    "Forbidden",
    "Limit",
    "Pages",
    "ShopProcess",
    "ShopServer",
    "Size",
    "Store",
    "Unauthorized",
    "Writing",
    "api_key",
    "create_app",
    "fill",
    "fill_from_legacy",
    "in_thread",
]
