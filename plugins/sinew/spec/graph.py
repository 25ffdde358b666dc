"""How entities refer to each other: load order, cycles, and the way to the cohort's root."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Edge:
    """One reference: ``column`` of ``child`` points to ``parent``; ``weak`` may be left NULL."""

    child: str
    column: str
    parent: str
    weak: bool


def deferred_edges(edges: Iterable[Edge]) -> frozenset[Edge]:
    """References filled in a second pass: to the entity itself, or weak ones on a cycle."""
    edges = tuple(edges)
    reach = reachable(edges)
    return frozenset(
        edge
        for edge in edges
        if edge.child == edge.parent or (edge.weak and edge.child in reach[edge.parent])
    )


def reachable(edges: Iterable[Edge]) -> dict[str, frozenset[str]]:
    """For each entity of ``edges``, the entities that its references lead to, over any distance."""
    parents: dict[str, set[str]] = {}
    for edge in edges:
        parents.setdefault(edge.child, set()).add(edge.parent)
        parents.setdefault(edge.parent, set())
    return {name: _closure(name, parents) for name in parents}


def _closure(start: str, parents: Mapping[str, set[str]]) -> frozenset[str]:
    seen: set[str] = set()
    todo = [start]
    while todo:
        fresh = parents[todo.pop()] - seen
        seen |= fresh
        todo.extend(fresh)
    return frozenset(seen)


def load_order(names: Iterable[str], edges: Iterable[Edge]) -> tuple[str, ...]:
    """Parents before children, otherwise in the order given; ``edges`` without the deferred ones.

    Entities on a cycle that is left come last, in the order given.
    """
    waiting = list(names)
    edges = tuple(edges)
    done: list[str] = []
    while waiting:
        held = {edge.child for edge in edges if edge.parent in waiting}
        ready = next((name for name in waiting if name not in held), None)
        if ready is None:
            return (*done, *waiting)
        waiting.remove(ready)
        done.append(ready)
    return tuple(done)


def find_cycles(edges: Iterable[Edge]) -> list[tuple[Edge, ...]]:
    """One shortest cycle for each group of entities that refer to each other."""
    edges = tuple(edges)
    reach = reachable(edges)
    cycles: list[tuple[Edge, ...]] = []
    told: set[str] = set()
    for edge in edges:
        if edge.child in told or edge.child not in reach[edge.parent] | {edge.parent}:
            continue
        back = shortest_path(edge.parent, edge.child, edges) or ()
        cycles.append((edge, *back))
        told |= {edge.child} | (reach[edge.child] & _leading_to(edge.child, reach))
    return cycles


def _leading_to(name: str, reach: Mapping[str, frozenset[str]]) -> frozenset[str]:
    return frozenset(other for other, reached in reach.items() if name in reached)


def shortest_path(start: str, goal: str, edges: Iterable[Edge]) -> tuple[Edge, ...] | None:
    """Fewest references from ``start`` to ``goal``; () when they are one, None without a way."""
    edges = tuple(edges)
    came: dict[str, tuple[Edge, ...]] = {start: ()}
    todo = deque([start])
    while todo and goal not in came:
        here = todo.popleft()
        for edge in edges:
            if edge.child == here and edge.parent not in came:
                came[edge.parent] = (*came[here], edge)
                todo.append(edge.parent)
    return came.get(goal)
