"""The workload as a fluid, compiled: between changes its course has a closed form, so no step is too long.

Jobs come at a constant rate and are done at another one. While the queue is not empty, its head moves through the
history of arrivals with capacity / (arrival rate at that time), so the wait of the job at the head is linear in time: a
stretch in which nothing changes is one formula, however long. What is random about a real queue is not in here: with
capacity to spare nobody waits.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numba import float64, int64

from scaler.jit import kernel, leaf
from scaler.model import F64
from scaler.simulate_state import (
    BATCH,
    BIN_BASE_S,
    BIN_GROWTH,
    BINS,
    ENDING,
    NODES,
    ORDER,
    PLANT,
    WORLD,
    Record,
    Records,
)

EPSILON_S = 1e-6
_PER_BIN = 1.0 / math.log(BIN_GROWTH)
_NARROW = 1e-3


def one(dtype: np.dtype[Any]) -> Any:
    """Return the numba type of an array of records."""
    return numba.from_dtype(dtype)[::1]


WORLD_T, BATCH_T, ENDING_T, PLANT_T, NODES_T, ORDER_T = map(one, (WORLD, BATCH, ENDING, PLANT, NODES, ORDER))
F64_T, F64_2D_T = float64[::1], float64[:, ::1]


@leaf
def bin_of(wait_s: float) -> int:
    """Return the bin of a wait: the one whose lower edge is the last not above it."""
    if wait_s <= BIN_BASE_S:
        return 0
    return min(int(math.log(wait_s / BIN_BASE_S) * _PER_BIN), BINS - 1)


@leaf
def record(
    world: Record, waits: F64, from_s: float, to_s: float, jobs: float, span_s: float, objective_s: float
) -> None:
    """Note that so many jobs waited, evenly spread from one wait to another, over a span of time.

    A spread adds its density at the one end and takes it away at the other, so it costs the same over any number of
    bins; what is as good as a point is one.

    Args:
        waits: Points, densities, and densities × waits; shape (3, BINS).
    """
    low, high = min(from_s, to_s), max(from_s, to_s)
    world.wait_sum += jobs * (low + high) / 2
    world.wait_max = max(world.wait_max, high)
    if high > objective_s:
        world.over_s += span_s * (1.0 if low >= objective_s else (high - objective_s) / (high - low))
    if high <= BIN_BASE_S:
        world.zero += jobs
    elif high - low <= _NARROW * high:
        waits[0, bin_of((low + high) / 2)] += jobs
    else:
        density = jobs / (high - low)
        if low < BIN_BASE_S:
            world.zero += density * (BIN_BASE_S - low)
            low = BIN_BASE_S
        first, last = bin_of(low), bin_of(high)
        waits[1, first] += density
        waits[2, first] += density * low
        waits[1, last] -= density
        waits[2, last] -= density * high


@leaf
def _idle(world: Record, rate: float, stop_s: float) -> None:
    """Work off what comes as it comes."""
    span_s = stop_s - world.now_s
    world.zero += rate * span_s
    world.served += rate * span_s
    world.arrived += rate * span_s
    world.now_s = stop_s
    world.head_s, world.head_edge, world.backlog = stop_s, world.edge, 0.0


@leaf
def _work_off_lump(world: Record, plant: Record, waits: F64, rate: float, capacity: float, stop_s: float) -> None:
    """Work off what was there at the start, all of it as old as the run."""
    age_s = world.now_s
    if age_s >= plant.timeout_s - EPSILON_S:
        record(world, waits, plant.timeout_s, plant.timeout_s, world.lump, 0.0, plant.objective_s)
        world.lost += world.lump
        world.lump = 0.0
        return
    span_s, ends = min(stop_s - world.now_s, plant.timeout_s - age_s), False
    if capacity * span_s >= world.lump:
        span_s, ends = world.lump / capacity, True
    jobs = world.lump if ends else capacity * span_s
    record(world, waits, age_s, age_s + span_s, jobs, span_s, plant.objective_s)
    world.served += jobs
    world.lump = 0.0 if ends else world.lump - jobs
    world.arrived += rate * span_s
    world.backlog += rate * span_s
    world.now_s = min(world.now_s + span_s, stop_s)


@leaf
def _work_off(world: Record, plant: Record, waits: F64, edges: F64, rates: F64, capacity: float, stop_s: float) -> None:
    """Move the head of the queue until something changes: its segment, the end of the queue, patience, or `stop_s`."""
    rate, head_rate = rates[world.edge], rates[world.head_edge]
    own = world.head_edge == world.edge
    head_end_s = edges[world.head_edge + 1]
    if own and head_rate <= 0.0:
        world.head_s, world.backlog = world.now_s, 0.0
        return
    if not own and (head_rate <= 0.0 or world.head_s >= head_end_s):
        world.head_s = head_end_s
        world.head_edge += 1
        return
    age_s = world.now_s - world.head_s
    gives_up = age_s >= plant.timeout_s - EPSILON_S and capacity < head_rate
    speed = 1.0 if gives_up else capacity / head_rate
    span_s = stop_s - world.now_s
    limit = 0
    if not own and speed > 0 and (head_end_s - world.head_s) / speed <= span_s:
        span_s, limit = (head_end_s - world.head_s) / speed, 1
    if own and speed > 1 and age_s / (speed - 1) <= span_s:
        span_s, limit = age_s / (speed - 1), 2
    if not gives_up and speed < 1 and (plant.timeout_s - age_s) / (1 - speed) < span_s:
        span_s, limit = max((plant.timeout_s - age_s) / (1 - speed), 0.0), 3
    served, lost = capacity * span_s, (head_rate - capacity) * span_s if gives_up else 0.0
    record(world, waits, age_s, age_s + (1 - speed) * span_s, served + lost, span_s, plant.objective_s)
    world.served += served
    world.lost += lost
    world.arrived += rate * span_s
    world.backlog = max(world.backlog + rate * span_s - served - lost, 0.0)
    world.now_s = min(world.now_s + span_s, stop_s) if limit else stop_s
    world.head_s += speed * span_s
    if limit == 1:
        world.head_s = head_end_s
        world.head_edge += 1
    elif limit == 2:
        world.head_s, world.backlog = world.now_s, 0.0
    elif limit == 3 or gives_up:
        world.head_s = world.now_s - plant.timeout_s


@leaf
def _flow(world: Record, plant: Record, waits: F64, edges: F64, rates: F64, to_s: float) -> None:
    """Let the queue go on to a moment, with the pods that work now."""
    capacity = world.working * plant.rate
    # At `to_s` the head still passes over times when nothing came: nobody waits there.
    while world.now_s < to_s or (world.lump <= 0.0 and world.head_s < world.now_s and rates[world.head_edge] <= 0.0):
        stop_s = min(to_s, edges[world.edge + 1])
        rate = rates[world.edge]
        if world.lump > 0.0:
            _work_off_lump(world, plant, waits, rate, capacity, stop_s)
        elif world.head_s >= world.now_s and rate <= capacity:
            _idle(world, rate, stop_s)
        else:
            _work_off(world, plant, waits, edges, rates, capacity, stop_s)
        world.backlog_max = max(world.backlog_max, world.backlog + world.lump)
        if world.now_s >= edges[world.edge + 1] and world.edge + 2 < len(edges):
            world.edge += 1
            if world.head_s >= world.now_s:
                world.head_edge = world.edge


@leaf
def _settle(world: Record, batches: Records, endings: Records) -> None:
    """Let every pod whose time has come take jobs, be Ready, be gone."""
    while world.work_at < world.batch_end and batches[world.work_at].work_s <= world.now_s:
        world.working += batches[world.work_at].count
        world.work_at += 1
    while world.ready_at < world.batch_end and batches[world.ready_at].ready_s <= world.now_s:
        world.ready += batches[world.ready_at].count
        world.ready_at += 1
    while world.ending_at < world.ending_end and endings[world.ending_at].gone_s <= world.now_s:
        world.ending -= endings[world.ending_at].count
        world.ending_at += 1


@leaf
def advance(
    world: Record, plant: Record, batches: Records, endings: Records, waits: F64, edges: F64, rates: F64, to_s: float
) -> None:
    """Let everything go on to a moment, not before the present one nor after the end of the load."""
    while world.now_s < to_s:
        stop_s = to_s
        if world.work_at < world.batch_end:
            stop_s = min(stop_s, batches[world.work_at].work_s)
        if world.ready_at < world.batch_end:
            stop_s = min(stop_s, batches[world.ready_at].ready_s)
        if world.ending_at < world.ending_end:
            stop_s = min(stop_s, endings[world.ending_at].gone_s)
        stop_s = max(stop_s, world.now_s)
        world.pod_s += (stop_s - world.now_s) * (world.pods - world.unscheduled + world.ending)
        _flow(world, plant, waits, edges, rates, stop_s)
        _settle(world, batches, endings)


@leaf
def place(world: Record, plant: Record, nodes: Record, batches: Records, endings: Records) -> None:
    """Start the pods that wait for a node and now have one."""
    count = world.unscheduled
    if plant.has_nodes:
        taken = world.pods - world.unscheduled + world.ending
        count = max(min(count, nodes.count * plant.pods_per_node - taken), 0)
    if count == 0:
        return
    batch = batches[world.batch_end]
    batch.work_s, batch.ready_s, batch.count = world.now_s + plant.work_s, world.now_s + plant.ready_s, count
    world.batch_end += 1
    world.unscheduled -= count
    _settle(world, batches, endings)


@leaf
def rescale(world: Record, plant: Record, batches: Records, endings: Records, replicas: int) -> None:
    """Bring the pods to a count. `place` starts the new ones.

    As a ReplicaSet does, those without a node go first, then those not Ready, the newest first, then Ready ones. A pod
    that works lingers; one that does not is gone at once.
    """
    if replicas >= world.pods:
        world.unscheduled += replicas - world.pods
        world.pods = replicas
        return
    surplus = world.pods - replicas
    world.pods = replicas
    gone = min(surplus, world.unscheduled)
    world.unscheduled -= gone
    surplus -= gone
    stopped = 0
    while surplus > 0 and world.batch_end > world.ready_at:
        batch = batches[world.batch_end - 1]
        gone = min(surplus, batch.count)
        surplus -= gone
        batch.count -= gone
        if world.work_at == world.batch_end:
            world.working -= gone
            stopped += gone
        if batch.count == 0:
            world.batch_end -= 1
            world.work_at = min(world.work_at, world.batch_end)
    world.ready -= surplus
    world.working -= surplus
    stopped += surplus
    if stopped and plant.linger_s > 0:
        endings[world.ending_end].gone_s = world.now_s + plant.linger_s
        endings[world.ending_end].count = stopped
        world.ending_end += 1
        world.ending += stopped


@leaf
def jobs_in_flight(world: Record, plant: Record, rates: F64) -> float:
    """Return the jobs being worked on: all hands while a queue waits, else as many as the load needs."""
    capacity = world.working * plant.rate
    waits = world.lump > 0.0 or world.head_s < world.now_s
    return float((capacity if waits else min(capacity, rates[world.edge])) * plant.job_s)


@leaf
def finish(world: Record, waits: F64, edges: F64, rates: F64) -> None:
    """Count the jobs that still wait with the time they have waited so far."""
    if world.lump > 0.0:
        record(world, waits, world.now_s, world.now_s, world.lump, 0.0, math.inf)
    head_s = world.head_s
    for edge in range(world.head_edge, len(rates)):
        end_s = min(edges[edge + 1], world.now_s)
        if end_s > head_s:
            jobs = rates[edge] * (end_s - head_s)
            if jobs > 0.0:
                record(world, waits, world.now_s - head_s, world.now_s - end_s, jobs, 0.0, math.inf)
            head_s = end_s


@leaf
def _needed(world: Record, plant: Record) -> int:
    """Return the nodes that the pods there are need, those without a node included."""
    pods = world.pods + world.ending
    return int(max(plant.min_nodes, min(-(-pods // plant.pods_per_node), plant.max_nodes)))


@leaf
def arrive(nodes: Record, orders: Records, since: F64, now_s: float) -> None:
    """Let the nodes take pods whose time has come."""
    while nodes.order_at < nodes.order_end and orders[nodes.order_at].ready_s <= now_s:
        for index in range(nodes.count, nodes.count + orders[nodes.order_at].count):
            since[index] = math.inf
        nodes.count += orders[nodes.order_at].count
        nodes.ordered -= orders[nodes.order_at].count
        nodes.added_s = now_s
        nodes.order_at += 1


@leaf
def scan(world: Record, plant: Record, nodes: Record, orders: Records, since: F64) -> None:
    """Look once as the cluster autoscaler does: order the nodes that are missing, remove those not needed for long.

    Args:
        since: From when on each node has not been needed, inf if it is; shape (max_nodes,).
    """
    needed = _needed(world, plant)
    missing = needed - nodes.count - nodes.ordered
    if missing > 0:
        orders[nodes.order_end].ready_s = world.now_s + plant.provision_s
        orders[nodes.order_end].count = missing
        nodes.order_end += 1
        nodes.ordered += missing
        nodes.most = max(nodes.most, nodes.count + nodes.ordered)
    for index in range(nodes.count):
        if index < needed:
            since[index] = math.inf
        else:
            since[index] = min(since[index], world.now_s)
    quiet = world.now_s - nodes.added_s >= plant.cooldown_s
    while nodes.count > needed and quiet and world.now_s - since[nodes.count - 1] >= plant.cooldown_s:
        nodes.count -= 1


@kernel(WORLD_T, PLANT_T, BATCH_T, ENDING_T, F64_2D_T, F64_T, F64_T, float64)
def advance_fluid(
    world: Records, plant: Records, batches: Records, endings: Records, waits: F64, edges: F64, rates: F64, to_s: float
) -> None:
    """Do `advance`; each record is the first of its array."""
    advance(world[0], plant[0], batches, endings, waits, edges, rates, to_s)


@kernel(WORLD_T, PLANT_T, NODES_T, BATCH_T, ENDING_T, int64)
def rescale_fluid(
    world: Records, plant: Records, nodes: Records, batches: Records, endings: Records, replicas: int
) -> None:
    """Do `rescale` and `place`."""
    rescale(world[0], plant[0], batches, endings, replicas)
    place(world[0], plant[0], nodes[0], batches, endings)


@kernel(WORLD_T, PLANT_T, NODES_T, ORDER_T, F64_T)
def scan_nodes(world: Records, plant: Records, nodes: Records, orders: Records, since: F64) -> None:
    """Do `scan`."""
    scan(world[0], plant[0], nodes[0], orders, since)


@kernel(NODES_T, ORDER_T, F64_T, float64)
def arrive_nodes(nodes: Records, orders: Records, since: F64, now_s: float) -> None:
    """Do `arrive`."""
    arrive(nodes[0], orders, since, now_s)


@kernel(WORLD_T, F64_2D_T, F64_T, F64_T)
def finish_fluid(world: Records, waits: F64, edges: F64, rates: F64) -> None:
    """Do `finish`."""
    finish(world[0], waits, edges, rates)
