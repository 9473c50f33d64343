"""The workload job by job, compiled: one queue, first come first served, and pods with slots.

When jobs come and how long each one takes is drawn beforehand, so that two HPAs are judged by the very same jobs.
"""

from __future__ import annotations

import math

import numpy as np
from numba import float64, int64

from scaler.jit import kernel, leaf
from scaler.model import F64, I64
from scaler.simulate_kernel_fluid import F64_T, NODES_T, PLANT_T, WORLD_T, one
from scaler.simulate_state import Record, Records

STARTING, WORKING, READY, ENDING, GONE = 0, 1, 2, 3, 4
"""Of a pod. Working: takes jobs, and is not yet Ready; ready: Ready, and takes jobs since then at the latest."""

POD = np.dtype(
    [(name, np.float64) for name in ("work_s", "ready_s", "deadline_s")]
    + [(name, np.int64) for name in ("state", "busy", "works")]
)
"""A pod. deadline_s: when it is killed if it is still ending. busy: jobs it has. works: 1 if it takes jobs."""

SHOP = np.dtype(
    [("grace_s", np.float64), ("concurrency", np.int64)]
    + [(name, np.int64) for name in ("head", "next", "returned", "running", "free", "pods", "ending_at", "ending_end")]
)
"""The queue and the slots. head: the job that has waited longest; next: the next one to come; returned: jobs taken
back from pods that were killed; running: jobs being worked on; free: entries in the stack of free slots, stale ones
included; pods: pods made so far, in the order of their start; ending_at, ending_end: of the list of ending pods."""

RUNNING = np.dtype([("done_s", np.float64), ("pod", np.int64), ("job", np.int64)])
"""A job being worked on: a node of a binary heap, the first to be done on top."""

POD_T, SHOP_T, RUNNING_T, I64_T = one(POD), one(SHOP), one(RUNNING), int64[::1]


@leaf
def _push(heap: Records, size: int, done_s: float, pod: int, job: int) -> None:
    at = size
    while at > 0 and heap[(at - 1) // 2].done_s > done_s:
        heap[at] = heap[(at - 1) // 2]
        at = (at - 1) // 2
    heap[at].done_s, heap[at].pod, heap[at].job = done_s, pod, job


@leaf
def _drop(heap: Records, size: int, at: int) -> None:
    """Take an entry out of a heap of that size."""
    last = size - 1
    done_s, pod, job = heap[last].done_s, heap[last].pod, heap[last].job
    while at > 0 and heap[(at - 1) // 2].done_s > done_s:
        heap[at] = heap[(at - 1) // 2]
        at = (at - 1) // 2
    while 2 * at + 1 < last:
        child = 2 * at + 1
        if child + 1 < last and heap[child + 1].done_s < heap[child].done_s:
            child += 1
        if heap[child].done_s >= done_s:
            break
        heap[at] = heap[child]
        at = child
    heap[at].done_s, heap[at].pod, heap[at].job = done_s, pod, job


@leaf
def _hand_out(
    world: Record,
    shop: Record,
    pods: Records,
    free: I64,
    heap: Records,
    returned: I64,
    come: F64,
    takes: F64,
    began: F64,
) -> None:
    """Give waiting jobs to free slots, those that were taken back first."""
    while shop.free > 0 and (shop.returned > 0 or shop.head < shop.next):
        pod = free[shop.free - 1]
        shop.free -= 1
        if not pods[pod].works:
            continue
        if shop.returned > 0:
            shop.returned -= 1
            job = returned[shop.returned]
        else:
            job = shop.head
            shop.head += 1
            began[job] = world.now_s
        _push(heap, shop.running, world.now_s + takes[job], pod, job)
        shop.running += 1
        pods[pod].busy += 1


@leaf
def _take_jobs(shop: Record, pods: Records, free: I64, pod: int) -> None:
    pods[pod].works = 1
    for _ in range(shop.concurrency):
        free[shop.free] = pod
        shop.free += 1


@leaf
def _settle(world: Record, shop: Record, pods: Records, free: I64) -> None:
    """Let every pod whose time has come take jobs, and be Ready."""
    while world.work_at < shop.pods and (
        pods[world.work_at].state == GONE or pods[world.work_at].work_s <= world.now_s
    ):
        if pods[world.work_at].state == STARTING:
            pods[world.work_at].state = WORKING
            world.working += 1
            _take_jobs(shop, pods, free, world.work_at)
        world.work_at += 1
    while world.ready_at < world.work_at and (
        pods[world.ready_at].state != WORKING or pods[world.ready_at].ready_s <= world.now_s
    ):
        if pods[world.ready_at].state == WORKING:
            pods[world.ready_at].state = READY
            world.ready += 1
        world.ready_at += 1


@leaf
def _gone(world: Record, pods: Records, pod: int) -> None:
    pods[pod].state = GONE
    world.ending -= 1


@leaf
def _kill(world: Record, shop: Record, pods: Records, heap: Records, returned: I64, pod: int) -> None:
    """Take its jobs back from a pod whose grace is over."""
    at = 0
    while pods[pod].busy > 0 and at < shop.running:
        if heap[at].pod == pod:
            returned[shop.returned] = heap[at].job
            shop.returned += 1
            _drop(heap, shop.running, at)
            shop.running -= 1
            pods[pod].busy -= 1
            at = 0
        else:
            at += 1
    _gone(world, pods, pod)


@leaf
def _age_from(world: Record, shop: Record, plant: Record, come: F64, to_s: float) -> None:
    """Count the time until a moment, in which nothing happens."""
    world.pod_s += (to_s - world.now_s) * (world.pods - world.unscheduled + world.ending)
    if shop.head < shop.next:
        over_from_s = max(come[shop.head] + plant.objective_s, world.now_s)
        world.over_s += max(to_s - over_from_s, 0.0)
    world.now_s = to_s


@kernel(WORLD_T, PLANT_T, SHOP_T, POD_T, I64_T, I64_T, RUNNING_T, I64_T, F64_T, F64_T, F64_T, float64)
def advance_jobs(
    worlds: Records,
    plants: Records,
    shops: Records,
    pods: Records,
    endings: I64,
    free: I64,
    heap: Records,
    returned: I64,
    come: F64,
    takes: F64,
    began: F64,
    to_s: float,
) -> None:
    """Let everything go on to a moment.

    Args:
        worlds: One WORLD; its `work_at` and `ready_at` count pods here, its queue and sums of waits are not used.
        plants: One PLANT.
        shops: One SHOP.
        pods: In the order of their start, with room for those to come.
        endings: Pods in the order in which they were told to stop.
        free: Stack of the pods with a free slot, once a slot; with room for every slot of every pod.
        heap: Jobs being worked on, with room for every slot.
        returned: Jobs taken back, with as much room.
        come: When each job comes, ascending, seconds.
        takes: How long each job takes.
        began: When each job was begun, filled in; NaN: not yet; -inf: gave up.
        to_s: The moment.
    """
    world, plant, shop = worlds[0], plants[0], shops[0]
    while True:
        _settle(world, shop, pods, free)
        _hand_out(world, shop, pods, free, heap, returned, come, takes, began)
        world.backlog = float(shop.next - shop.head + shop.returned)
        world.backlog_max = max(world.backlog_max, world.backlog)
        next_s, what = to_s, 0
        if shop.running > 0 and heap[0].done_s <= next_s:
            next_s, what = heap[0].done_s, 1
        if shop.next < len(come) and come[shop.next] < next_s:
            next_s, what = come[shop.next], 2
        if shop.head < shop.next and come[shop.head] + plant.timeout_s < next_s:
            next_s, what = come[shop.head] + plant.timeout_s, 3
        while shop.ending_at < shop.ending_end and pods[endings[shop.ending_at]].state == GONE:
            shop.ending_at += 1
        if shop.ending_at < shop.ending_end and pods[endings[shop.ending_at]].deadline_s < next_s:
            next_s, what = pods[endings[shop.ending_at]].deadline_s, 4
        if world.work_at < shop.pods and pods[world.work_at].work_s < next_s:
            next_s, what = pods[world.work_at].work_s, 5
        if world.ready_at < world.work_at and pods[world.ready_at].ready_s < next_s:
            next_s, what = pods[world.ready_at].ready_s, 5
        _age_from(world, shop, plant, come, max(next_s, world.now_s))
        if what == 1:
            pod = heap[0].pod
            _drop(heap, shop.running, 0)
            shop.running -= 1
            world.served += 1.0
            pods[pod].busy -= 1
            if pods[pod].works:
                free[shop.free] = pod
                shop.free += 1
            elif pods[pod].busy == 0:
                _gone(world, pods, pod)
        elif what == 2:
            shop.next += 1
            world.arrived += 1.0
        elif what == 3:
            began[shop.head] = -math.inf
            shop.head += 1
            world.lost += 1.0
        elif what == 4:
            _kill(world, shop, pods, heap, returned, endings[shop.ending_at])
        elif what == 0:
            _settle(world, shop, pods, free)
            break


@kernel(WORLD_T, PLANT_T, SHOP_T, NODES_T, POD_T, I64_T, I64_T, int64)
def rescale_jobs(
    worlds: Records,
    plants: Records,
    shops: Records,
    nodes: Records,
    pods: Records,
    endings: I64,
    free: I64,
    replicas: int,
) -> None:
    """Bring the pods to a count, and start those that have a node.

    Pods without a node go first, then the newest ones, which are those that are not yet Ready. A pod without a job is
    gone at once; one with jobs takes no new ones and has its grace.
    """
    world, plant, shop = worlds[0], plants[0], shops[0]
    surplus = world.pods - replicas
    world.pods = replicas
    if surplus < 0:
        world.unscheduled -= surplus
    gone = min(max(surplus, 0), world.unscheduled)
    world.unscheduled -= gone
    surplus -= gone
    pod = shop.pods - 1
    while surplus > 0:
        while pods[pod].state >= ENDING:
            pod -= 1
        surplus -= 1
        world.working -= pods[pod].works
        world.ready -= pods[pod].state == READY
        pods[pod].works = 0
        if pods[pod].busy == 0:
            pods[pod].state = GONE
        else:
            pods[pod].state, pods[pod].deadline_s = ENDING, world.now_s + shop.grace_s
            endings[shop.ending_end] = pod
            shop.ending_end += 1
            world.ending += 1
    count = world.unscheduled
    if plant.has_nodes:
        taken = world.pods - world.unscheduled + world.ending
        count = max(min(count, nodes[0].count * plant.pods_per_node - taken), 0)
    for _ in range(count):
        new = pods[shop.pods]
        new.work_s, new.ready_s, new.state = world.now_s + plant.work_s, world.now_s + plant.ready_s, STARTING
        shop.pods += 1
    world.unscheduled -= count
    _settle(world, shop, pods, free)
