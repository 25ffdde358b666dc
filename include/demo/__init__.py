"""The demo: a legacy retail database, the databases that it needs, and the tour through them.

``include/`` is a folder of an Airflow project and not an installed package: whoever imports ``demo``
puts it on the path. ``make`` and pytest do (``PYTHONPATH=plugins:include``).
"""
