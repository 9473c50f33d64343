"""Whole fluid runs, compiled: the closed loop of workload, metric and HPA, for one run or for thousands.

The order of what happens at one moment: pods and nodes become ready, sources are read, the HPA syncs, the cluster
autoscaler looks. simulate_loop.py does the same in plain Python around hpa.py, and decides the same.
"""

from __future__ import annotations

import math

import numpy as np
from numba import float64, int64

from scaler.jit import inner, kernel, leaf
from scaler.model import F64, I64
from scaler.simulate_kernel_fluid import (
    F64_2D_T,
    F64_T,
    PLANT_T,
    WORLD_T,
    advance,
    arrive,
    finish,
    jobs_in_flight,
    one,
    place,
    rescale,
    scan,
)
from scaler.simulate_kernel_hpa import RULE_T, TARGET_T, UNKNOWN, milli_of, sync
from scaler.simulate_model import FLAP_S, SCAN_MS
from scaler.simulate_state import (
    BATCH,
    BIN_EDGES_S,
    BINS,
    ENDING,
    EVENT,
    MEMORY,
    NODES,
    ORDER,
    RESULT,
    SIGNAL,
    TRACE,
    WORLD,
    Record,
    Records,
)

WAITING, IN_FLIGHT, OPEN, ARRIVALS, COMPLETIONS, SERIES = 0, 1, 2, 3, 4, 5
VALUE, RATE, INCREASE, DELTA, AVERAGE, MOST, LEAST, TOTAL = 0, 1, 2, 3, 4, 5, 6, 7
FLAP_WINDOW_S, SCAN_EVERY_MS = FLAP_S, SCAN_MS


@leaf
def quantile(world: Record, waits: F64, share: float) -> float:
    """Return the waiting time that a share of the jobs does not exceed; NaN without jobs."""
    points, densities, moments = 0.0, 0.0, 0.0
    total = world.zero + np.sum(waits[0])
    for index in range(BINS):
        densities += waits[1, index]
        moments += waits[2, index]
    total += BIN_EDGES_S[BINS] * densities - moments
    if total <= 0.0:
        return math.nan
    wanted, before = share * total, world.zero
    if wanted <= before:
        return 0.0
    densities, moments = 0.0, 0.0
    for index in range(BINS):
        points += waits[0, index]
        densities += waits[1, index]
        moments += waits[2, index]
        upper = BIN_EDGES_S[index + 1]
        reached = world.zero + points + upper * densities - moments
        if reached >= wanted:
            lower = BIN_EDGES_S[index]
            part = (wanted - before) / (reached - before) if reached > before else 1.0
            return float(min(lower + part * (upper - lower), world.wait_max))
        before = reached
    return float(world.wait_max)


@leaf
def measured(signal: Record, world: Record, plant: Record, rates: F64, times: F64, given: F64) -> float:
    """Return one reading of the source, now; NaN is unknown."""
    kind = signal.measure
    if kind == WAITING:
        return float(world.backlog + world.lump)
    if kind == IN_FLIGHT:
        return jobs_in_flight(world, plant, rates)
    if kind == OPEN:
        return float(world.backlog + world.lump + jobs_in_flight(world, plant, rates))
    if kind == ARRIVALS:
        return float(world.arrived)
    if kind == COMPLETIONS:
        return float(world.served)
    low, high = signal.first, signal.last
    while low < high:
        middle = (low + high) // 2
        if times[middle] <= world.now_s:
            low = middle + 1
        else:
            high = middle
    return float(given[low - 1]) if low > signal.first else math.nan


@leaf
def signalled(signal: Record, reads: F64, before: F64, metric: int, at: int) -> float:
    """Return what is served after read number `at`.

    Args:
        reads: The readings so far, a row a metric.
        before: What would have been read before the first read, by how a counter or gauge stood then: a row a metric,
            what it was at the start, and by how much less an interval further back.
        metric: The row.
    """
    newest, count = reads[metric, at], signal.samples
    if signal.function == VALUE:
        return float(newest)
    first, slope = before[metric, 0], before[metric, 1]
    oldest = reads[metric, at - count + 1] if at - count + 1 >= 0 else first + (at - count + 1) * slope
    if signal.function in (RATE, INCREASE, DELTA):
        rate = (newest - oldest) / ((count - 1) * (signal.interval_ms / 1000.0))
        return float(rate) if signal.function == RATE else float(rate * signal.window_s)
    total = most = least = newest
    for index in range(at - count + 1, at):
        reading = reads[metric, index] if index >= 0 else first + index * slope
        total += reading
        most = max(most, reading)
        least = min(least, reading)
    if signal.function == AVERAGE:
        return float(total / count)
    if signal.function == TOTAL:
        return float(total)
    return float(most) if signal.function == MOST else float(least)


@leaf
def served_milli(signal: Record, reads: F64, before: F64, metric: int, at: int) -> int:
    """Return what an HPA gets, milli-units, after read number `at`; UNKNOWN if it is an error.

    A series may be unknown at times: then the last known value stands in until it is older than `max_age_ms`.
    """
    if signal.measure == SERIES:
        oldest = at - signal.max_age_ms // signal.interval_ms
        while at > oldest and at > 0 and math.isnan(reads[metric, at]):
            at -= 1
        if math.isnan(reads[metric, at]):
            return UNKNOWN
    value = signalled(signal, reads, before, metric, at)
    return milli_of(max(min(max(value, 0.0), signal.guard_max), signal.guard_min))


@leaf
def start(world: Record, nodes: Record, plant: Record, replicas: int, backlog: float) -> None:
    """Begin a run: all pods Ready, on as many nodes as they need, and a backlog that has just come."""
    world.pods = world.working = world.ready = replicas
    world.lump = world.arrived = world.backlog_max = backlog
    if plant.has_nodes:
        nodes.count = max(plant.min_nodes, -(-replicas // plant.pods_per_node))
        nodes.most = nodes.count
        nodes.added_s = -plant.cooldown_s


@inner
def _run(
    rule: Record,
    policies: I64,
    targets: Records,
    signals: Records,
    plant: Record,
    edges: F64,
    rates: F64,
    times: F64,
    given: F64,
    begin: F64,
    sync_ms: int,
    worlds: Records,
    several_nodes: Records,
    memories: Records,
    result: Record,
    trace: Records,
) -> None:
    """Run once. See `run_fluid`; an empty trace stays empty.

    A record points into its array and does not keep it alive, so the arrays of `worlds`, `several_nodes` and
    `memories`, of one zero record each, are the caller's: they would be freed here after the line that takes them.
    """
    end_ms = round(edges[-1] * 1000.0)
    syncs, metrics = end_ms // sync_ms, len(signals)
    scans = end_ms // SCAN_EVERY_MS + 1 if plant.has_nodes else 1
    world, nodes, memory = worlds[0], several_nodes[0], memories[0]
    batches, endings = np.zeros(syncs + 2 * scans + 2, BATCH), np.zeros(syncs + 1, ENDING)
    orders, since = np.zeros(scans, ORDER), np.full(max(plant.max_nodes, 1), math.inf)
    recommended_s, recommended = np.zeros(syncs + 2), np.zeros(syncs + 2, np.int64)
    ups, downs = np.zeros(syncs + 1, EVENT), np.zeros(syncs + 1, EVENT)
    waits = np.zeros((3, BINS))
    most_reads = 1
    for index in range(metrics):
        most_reads = max(most_reads, end_ms // signals[index].interval_ms + 1)
    reads, readings = np.zeros((metrics, most_reads)), np.zeros(metrics, np.int64)
    before, next_reads = np.zeros((metrics, 2)), np.zeros(metrics, np.int64)

    start(world, nodes, plant, int(begin[0]), begin[1])
    replicas, syncs_done, scans_done, direction, changed_s = int(begin[0]), 0, 0, 0, -math.inf
    result.replicas_max = replicas
    for index in range(metrics):
        before[index, 0] = measured(signals[index], world, plant, rates, times, given)
        if signals[index].measure == ARRIVALS:
            before[index, 1] = rates[0] * signals[index].interval_ms / 1000.0
        elif signals[index].measure == COMPLETIONS:
            before[index, 1] = min(rates[0], replicas * plant.rate) * signals[index].interval_ms / 1000.0
    while True:
        now_ms = end_ms
        if syncs_done < syncs:
            now_ms = min(now_ms, (syncs_done + 1) * sync_ms)
        if plant.has_nodes:
            now_ms = min(now_ms, (scans_done + 1) * SCAN_EVERY_MS)
        for index in range(metrics):
            now_ms = min(now_ms, next_reads[index] * signals[index].interval_ms)
        now_s = now_ms / 1000.0
        if nodes.order_at < nodes.order_end and orders[nodes.order_at].ready_s < now_s:
            now_s, now_ms = orders[nodes.order_at].ready_s, -1
        if plant.has_nodes:
            nodes.node_s += (nodes.count + nodes.ordered) * (now_s - nodes.now_s)
            nodes.now_s = now_s
        if replicas >= rule.max_replicas:
            result.saturated_s += now_s - world.now_s
        advance(world, plant, batches, endings, waits, edges, rates, now_s)
        if plant.has_nodes:
            arrive(nodes, orders, since, now_s)
            place(world, plant, nodes, batches, endings)

        for index in range(metrics):
            if now_ms == next_reads[index] * signals[index].interval_ms:
                reads[index, next_reads[index]] = measured(signals[index], world, plant, rates, times, given)
                next_reads[index] += 1
        if now_ms == (syncs_done + 1) * sync_ms and syncs_done < syncs:
            for index in range(metrics):
                at = max((now_ms - signals[index].delay_ms) // signals[index].interval_ms, 0)
                readings[index] = served_milli(signals[index], reads, before, index, at)
            found, desired, stable, limit = sync(
                rule,
                policies,
                targets,
                memory,
                recommended_s,
                recommended,
                ups,
                downs,
                readings,
                replicas,
                replicas,
                replicas + world.ending,
                world.ready + world.ending,
                now_s,
            )
            if found != replicas:
                turn = 1 if found > replicas else -1
                result.scale_ups += turn > 0
                result.scale_downs += turn < 0
                result.flaps += direction == -turn and now_s - changed_s <= FLAP_WINDOW_S
                direction, changed_s, replicas = turn, now_s, found
                result.replicas_max = max(result.replicas_max, replicas)
                rescale(world, plant, batches, endings, replicas)
                place(world, plant, nodes, batches, endings)
            if len(trace):
                row = trace[syncs_done]
                row.time_s, row.rate, row.backlog = now_s, rates[world.edge], world.backlog + world.lump
                row.in_flight = jobs_in_flight(world, plant, rates)
                row.age_s = now_s if world.lump > 0.0 else now_s - world.head_s
                row.served, row.lost = world.served, world.lost
                row.replicas, row.ready, row.working = replicas, world.ready, world.working
                row.running = world.pods - world.unscheduled + world.ending
                row.nodes = nodes.count + nodes.ordered
                row.desired, row.stable, row.limit = desired, stable, limit
            syncs_done += 1
        if plant.has_nodes and now_ms == (scans_done + 1) * SCAN_EVERY_MS:
            scan(world, plant, nodes, orders, since)
            scans_done += 1
        if now_ms == end_ms:
            break
    finish(world, waits, edges, rates)
    result.arrived, result.served, result.lost = world.arrived, world.served, world.lost
    result.backlog_max, result.backlog_end = world.backlog_max, world.backlog + world.lump
    result.wait_p50, result.wait_p95 = quantile(world, waits, 0.5), quantile(world, waits, 0.95)
    result.wait_p99, result.wait_max = quantile(world, waits, 0.99), world.wait_max
    result.wait_mean = world.wait_sum / world.arrived if world.arrived > 0.0 else math.nan
    result.over_s, result.pod_s, result.node_s = world.over_s, world.pod_s, nodes.node_s
    result.replicas_end, result.nodes_max = replicas, nodes.most


SIGNAL_T, RESULT_T, TRACE_T = map(one, (SIGNAL, RESULT, TRACE))
I64_3D_T = int64[:, :, ::1]


@kernel(
    RULE_T,
    I64_3D_T,
    TARGET_T,
    SIGNAL_T,
    PLANT_T,
    F64_T,
    F64_T,
    F64_T,
    F64_T,
    F64_2D_T,
    int64,
    RESULT_T,
    TRACE_T,
)
def run_fluid(
    rules: Records,
    policies: I64,
    targets: Records,
    signals: Records,
    plants: Records,
    edges: F64,
    rates: F64,
    times: F64,
    given: F64,
    begins: F64,
    sync_ms: int,
    results: Records,
    trace: Records,
) -> None:
    """Run the HPAs one after the other, each from the start, under the same load.

    Args:
        rules: One a run, (n,).
        policies: Upwards and downwards, (2n, most, 3).
        targets: m metrics a run, (n × m,).
        signals: Likewise.
        plants: One a run.
        edges: The load's edges and rates.
        rates: See edges.
        times: Of the series that are given, all behind each other; signals name their rows.
        given: Their values; NaN is unknown.
        begins: Replicas and backlog at the start, (n, 2).
        sync_ms: Time between syncs.
        results: Zeros, filled in, (n,).
        trace: Of the first run: a row a sync, or empty.
    """
    count = len(rules)
    metrics = len(targets) // count
    for run in range(count):
        first, last = run * metrics, (run + 1) * metrics
        _run(
            rules[run],
            policies[2 * run : 2 * run + 2],
            targets[first:last],
            signals[first:last],
            plants[run],
            edges,
            rates,
            times,
            given,
            begins[run],
            sync_ms,
            np.zeros(1, WORLD),
            np.zeros(1, NODES),
            np.zeros(1, MEMORY),
            results[run],
            trace if run == 0 else trace[:0],
        )


@kernel(WORLD_T, F64_2D_T, float64)
def quantile_fluid(world: Records, waits: F64, share: float) -> float:
    """Do `quantile`."""
    return quantile(world[0], waits, share)
