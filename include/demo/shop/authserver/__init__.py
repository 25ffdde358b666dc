"""An OAuth 2.0 and OpenID Connect authorization server for the demo and the tests.

Built on Authlib's server framework, served by uvicorn on loopback. See ``AuthServer``.
"""

from __future__ import annotations

from demo.shop.authserver.clients import Client
from demo.shop.authserver.control import Control
from demo.shop.authserver.provider import Settings
from demo.shop.authserver.server import AuthServer

__all__ = ["AuthServer", "Client", "Control", "Settings"]
