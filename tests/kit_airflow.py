"""Runs one DAG in this process: ``run DAG CONF`` or ``clear DAG RUN TASK MAP_INDEX``; prints its states."""

from __future__ import annotations

import json
import sys
from typing import Any


def run(dag_id: str, conf: str) -> Any:
    """A new run, to its end."""
    return _dag(dag_id).test(run_conf=json.loads(conf), logical_date=None)


def clear(dag_id: str, run_id: str, task_id: str, map_index: str) -> Any:
    """Clear one task instance and all that follows, as the UI does, and run what was cleared."""
    from airflow.models.dagrun import DagRun
    from airflow.sdk.definitions.dag import _run_task
    from airflow.serialization.serialized_objects import DagSerialization
    from airflow.settings import Session
    from airflow.utils.state import TaskInstanceState
    from sqlalchemy import select

    dag = _dag(dag_id)
    scheduled = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))
    session = Session()
    below = scheduled.partial_subset(
        task_ids=[task_id], include_downstream=True, include_upstream=False
    )
    wanted = [name for name in below.task_dict if name != task_id]
    scheduled.clear(run_id=run_id, task_ids=[(task_id, int(map_index)), *wanted], session=session)
    session.commit()
    found = session.scalar(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
    found.dag = scheduled
    found.state = "running"
    while found.state == "running":
        session.expire_all()
        ready, _ = found.update_state(session=session)
        for ti in ready:
            ti.try_number += 1
            ti.state = TaskInstanceState.SCHEDULED
        session.commit()
        for ti in found.get_task_instances(session=session):
            if ti.state == TaskInstanceState.SCHEDULED:
                _run_task(ti=ti, task=dag.task_dict[ti.task_id])
    return found


def _dag(dag_id: str) -> Any:
    from airflow.sdk import DAG  # noqa: F401  (settles Airflow's settings before our modules load)

    from sinew.dagbuild import build_migrations
    from sinew.syncbuild import build_syncs

    return (build_migrations(only=dag_id) | build_syncs(only=dag_id))[dag_id]


def states(found: Any) -> dict[str, str]:
    """Task to its state; instances of a mapped task are told apart by their index."""
    told = {}
    for ti in found.get_task_instances():
        name = ti.task_id if ti.map_index < 0 else f"{ti.task_id}[{ti.map_index}]"
        told[name] = str(ti.state.value if hasattr(ti.state, "value") else ti.state)
    return dict(sorted(told.items()))


if __name__ == "__main__":
    done = {"run": run, "clear": clear}[sys.argv[1]](*sys.argv[2:])
    state = str(getattr(done.state, "value", done.state))
    print(json.dumps({"run_id": done.run_id, "state": state, "tasks": states(done)}))
