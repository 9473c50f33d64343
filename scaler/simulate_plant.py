"""The workload behind one face, as a fluid and job by job, for the loop in simulate_loop.py."""

from __future__ import annotations

import math

import numpy as np

from scaler.model import F64, I64
from scaler.simulate_kernel_fluid import advance_fluid, arrive_nodes, finish_fluid, rescale_fluid, scan_nodes
from scaler.simulate_kernel_jobs import POD, RUNNING, SHOP, advance_jobs, rescale_jobs
from scaler.simulate_kernel_loop import quantile_fluid
from scaler.simulate_model import SCAN_MS, Arrivals, Load, Measure, Nodes, Pods, Scenario, Sizes
from scaler.simulate_pack import plant_of
from scaler.simulate_state import BATCH, BINS, ENDING, NODES, ORDER, PLANT, WORLD, Record, Records, records

GAVE_UP = -math.inf
"""Instead of when a job was begun."""


class _Cluster:
    """What both plants have: counters, and nodes with their autoscaler."""

    def __init__(self, scenario: Scenario) -> None:
        self._worlds, self._plants = records(WORLD, 1), records(PLANT, 1)
        self._plants[0] = plant_of(scenario)
        nodes = scenario.workload.nodes
        self._nodes = records(NODES, 1)
        self._orders = records(ORDER, int(scenario.load.end_s * 1_000) // SCAN_MS + 1 if nodes else 1)
        self._since = np.full(max(nodes.max_nodes, 1) if nodes else 1, math.inf)
        replicas = scenario.workload.replicas
        self.world.pods = replicas
        if nodes:
            self._first_nodes(nodes, replicas)

    def _first_nodes(self, nodes: Nodes, replicas: int) -> None:
        self.nodes.count = self.nodes.most = max(nodes.min_nodes, -(-replicas // nodes.pods_per_node))
        self.nodes.added_s = -nodes.cooldown_s

    @property
    def world(self) -> Record:
        """The moment, the pods, and the sums so far."""
        return self._worlds[0]

    @property
    def nodes(self) -> Record:
        """The nodes."""
        return self._nodes[0]

    def arrive(self) -> None:
        """Let nodes that were ordered and are there now take pods."""
        arrive_nodes(self._nodes, self._orders, self._since, self.world.now_s)
        self.rescale(self.world.pods)

    def rescale(self, replicas: int) -> None:
        """Bring the pods to a count."""
        raise NotImplementedError

    def scan(self) -> None:
        """Let the cluster autoscaler look once."""
        scan_nodes(self._worlds, self._plants, self._nodes, self._orders, self._since)

    def next_node_s(self) -> float:
        """Return when the next node is ready; inf if none is ordered."""
        at, end = self.nodes.order_at, self.nodes.order_end
        return float(self._orders[at].ready_s) if at < end else math.inf


class FluidPlant(_Cluster):
    """Jobs as a fluid."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        self._load = scenario.load
        scans = len(self._orders)
        self._batches, self._endings = (
            records(BATCH, scenario.syncs + 2 * scans + 2),
            records(ENDING, scenario.syncs + 1),
        )
        self._waits = np.zeros((3, BINS))
        world, workload = self.world, scenario.workload
        world.working = world.ready = workload.replicas
        world.lump = world.arrived = world.backlog_max = workload.backlog

    def advance(self, to_s: float) -> None:
        """Let everything go on to a moment."""
        places = (self._batches, self._endings, self._waits, self._load.edges_s, self._load.rates)
        advance_fluid(self._worlds, self._plants, *places, to_s)

    def rescale(self, replicas: int) -> None:
        """Bring the pods to a count."""
        rescale_fluid(self._worlds, self._plants, self._nodes, self._batches, self._endings, replicas)

    def measure(self, what: Measure) -> float:
        """Return a reading of the source now."""
        world = self.world
        waiting = float(world.backlog + world.lump)
        capacity = float(world.working * self._plants[0].rate)
        done = capacity if self.age_s() > 0 or world.lump > 0 else min(capacity, float(self._load.rates[world.edge]))
        in_flight = done * float(self._plants[0].job_s)
        return {
            Measure.WAITING: waiting,
            Measure.IN_FLIGHT: in_flight,
            Measure.OPEN: waiting + in_flight,
            Measure.ARRIVALS: float(world.arrived),
            Measure.COMPLETIONS: float(world.served),
        }[what]

    def age_s(self) -> float:
        """Return how long the job at the head of the queue has waited."""
        world = self.world
        return float(world.now_s if world.lump > 0 else world.now_s - world.head_s)

    def waits_s(self) -> tuple[float, float, float, float, float]:
        """End the run. Returns: mean, p50, p95, p99 and greatest waiting time; NaN without jobs."""
        finish_fluid(self._worlds, self._waits, self._load.edges_s, self._load.rates)
        world = self.world
        mean_s = float(world.wait_sum / world.arrived) if world.arrived > 0 else math.nan
        p50, p95, p99 = (float(quantile_fluid(self._worlds, self._waits, share)) for share in (0.5, 0.95, 0.99))
        return mean_s, p50, p95, p99, float(world.wait_max)


class JobPlant(_Cluster):
    """Jobs one by one."""

    def __init__(self, scenario: Scenario, come_s: F64, takes_s: F64) -> None:
        super().__init__(scenario)
        pods = scenario.workload.pods
        self._come, self._takes, self._began = come_s, takes_s, np.full(len(come_s), math.nan)
        self._shops = records(SHOP, 1)
        shop = self._shops[0]
        shop.concurrency, shop.grace_s = pods.concurrency, pods.grace_s
        self._pods, self._endings = records(POD, 0), np.zeros(0, np.int64)
        self._heap = records(RUNNING, 0)
        self._free, self._returned = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self.world.pods = 0
        start = (float(self._plants[0].work_s), float(self._plants[0].ready_s))
        self._plants[0].work_s = self._plants[0].ready_s = 0.0
        self.rescale(scenario.workload.replicas)
        self._plants[0].work_s, self._plants[0].ready_s = start

    def _make_room(self, replicas: int) -> None:
        """Have room for so many more pods. What is there keeps its place."""
        needed = int(self._shops[0].pods) + replicas + int(self.world.unscheduled)
        if needed <= len(self._pods):
            return
        count = max(2 * len(self._pods), needed, 64)
        slots = count * int(self._shops[0].concurrency)
        self._pods, self._heap = _grown(self._pods, count), _grown(self._heap, slots)
        self._endings = _longer(self._endings, count)
        self._free, self._returned = _longer(self._free, slots), _longer(self._returned, slots)

    def advance(self, to_s: float) -> None:
        """Let everything go on to a moment."""
        places = (self._pods, self._endings, self._free, self._heap, self._returned)
        jobs = (self._come, self._takes, self._began)
        advance_jobs(self._worlds, self._plants, self._shops, *places, *jobs, to_s)

    def rescale(self, replicas: int) -> None:
        """Bring the pods to a count."""
        self._make_room(replicas)
        places = (self._pods, self._endings, self._free)
        rescale_jobs(self._worlds, self._plants, self._shops, self._nodes, *places, replicas)

    def measure(self, what: Measure) -> float:
        """Return a reading of the source now."""
        waiting, running = float(self.world.backlog), float(self._shops[0].running)
        return {
            Measure.WAITING: waiting,
            Measure.IN_FLIGHT: running,
            Measure.OPEN: waiting + running,
            Measure.ARRIVALS: float(self.world.arrived),
            Measure.COMPLETIONS: float(self.world.served),
        }[what]

    def age_s(self) -> float:
        """Return how long the job at the head of the queue has waited."""
        shop = self._shops[0]
        return float(self.world.now_s - self._come[shop.head]) if shop.head < shop.next else 0.0

    def waits_s(self) -> tuple[float, float, float, float, float]:
        """End the run. Returns: mean, p50, p95, p99 and greatest waiting time; NaN without jobs."""
        waits = self.each_wait_s()
        if not len(waits):
            return (math.nan,) * 5
        p50, p95, p99 = (float(each) for each in np.quantile(waits, (0.5, 0.95, 0.99)))
        return float(waits.mean()), p50, p95, p99, float(waits.max())

    def each_wait_s(self) -> F64:
        """Return the waiting time of each job that came: until it was begun, it gave up, or the run ended."""
        count = int(self._shops[0].next)
        came, began = self._come[:count], self._began[:count]
        until = np.where(began == GAVE_UP, came + self._plants[0].timeout_s, began)
        return np.asarray(np.where(np.isnan(until), self.world.now_s, until) - came, np.float64)


def _grown(old: Records, count: int) -> Records:
    new = records(old.dtype, count)
    new[: len(old)] = old
    return new


def _longer(old: I64, count: int) -> I64:
    return np.concatenate([old, np.zeros(count - len(old), np.int64)])


def draw_arrivals(load: Load, arrivals: Arrivals, backlog: int, seed: int) -> F64:
    """Return when each job comes, ascending, seconds. A backlog comes at 0.

    Evenly: when the expected number of jobs reaches 1, 2, 3, so two jobs of one rate are 1/rate apart.
    """
    lengths = np.diff(load.edges_s)
    if arrivals is Arrivals.EVEN:
        expected = np.concatenate([[0.0], np.cumsum(load.rates * lengths)])
        whole = np.arange(1, math.floor(expected[-1] + 1e-9) + 1, dtype=np.float64)
        at = np.minimum(np.searchsorted(expected, whole, side="left"), len(lengths)) - 1
        times = load.edges_s[at] + (whole - expected[at]) / load.rates[at]
    else:
        random = np.random.default_rng([seed, 0])
        counts = random.poisson(load.rates * lengths)
        begins, spans = np.repeat(load.edges_s[:-1], counts), np.repeat(lengths, counts)
        times = np.sort(begins + spans * random.random(len(begins)))
    return np.concatenate([np.zeros(backlog), times])


def draw_sizes(pods: Pods, count: int, seed: int) -> F64:
    """Return how long each job takes, seconds."""
    random = np.random.default_rng([seed, 1])
    if pods.sizes is Sizes.FIXED:
        return np.full(count, pods.service_s)
    if pods.sizes is Sizes.EXPONENTIAL:
        return random.exponential(pods.service_s, count)
    sigma = math.sqrt(math.log1p(pods.variation**2))
    return random.lognormal(math.log(pods.service_s) - sigma**2 / 2, sigma, count)
