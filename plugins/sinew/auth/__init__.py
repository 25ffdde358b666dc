"""How a request proves who it is: connections, secrets, TLS, OAuth 2.0 and OpenID Connect.

    connection → endpoint.read_endpoint → ApiEndpoint ─┬→ session.open_session → requests.Session
                                                       └→ verbs: login, showing, probing, logout

``life`` keeps one access token alive for all processes, in a ``store``; ``server`` talks to the
authorization server; ``checks`` proves tokens that were given to us. Nothing here knows Airflow.
"""
