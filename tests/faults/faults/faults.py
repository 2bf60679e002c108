"""The faults, by name. Each does its harm, undoes it, and returns once everything is back."""

import glob
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from .cluster import in_parallel, wait_for

OUTAGE_S = 30
WORKERS_DEAD_S = 60
FLAPPING_S, FLAP_S = 60, 3
# A service that was killed stays away for so long: longer than a take-over takes.
AWAY_S = 15
# A fourth instance stays for so long once it owns something.
JOINED_S = 15
SHARED_S = 90
SLOW_BROKER_S, SLOW_DATABASE_S = 0.3, 0.1
STALLED_S = 20
CUTS, BETWEEN_CUTS_S = 3, 5
# Fewer bytes than a file of a table has, or a segment of the commit log: new ones cannot be written.
FULL_BYTES = 1024
# How often the tables of lists are written to files while a disk is full, and otherwise (never by time).
FLUSHED_MS, NOT_FLUSHED = 3000, 0
# More than any disk has: the broker takes its disk for full.
NO_ROOM_BYTES = 10**15
CLOCK_AHEAD = "+1h"
FAKETIME = "/usr/lib/*/faketime/libfaketime.so.1"


class Skipped(Exception):
    """This fault cannot be made here; says why."""


@dataclass
class Fault:
    name: str
    # The longest that a new event may take, in seconds; after an outage, on top of it. None: no aim.
    aim: float | None
    # Whether the aim counts from the end of the outage.
    after_outage: bool
    proxied: bool
    does: Callable
    says: str


FAULTS = {}


def fault(name, aim=None, after_outage=False, proxied=False):
    def add(does):
        FAULTS[name] = Fault(name, aim, after_outage, proxied, does, does.__doc__)
        return does

    return add


class Stage:
    """What a fault is played on. `outage` is how long it lasted, where the fault says so itself."""

    def __init__(self, cluster, load, large, scale=1.0):
        self.cluster, self.load, self.large, self.scale = cluster, load, large, scale
        self.outage = None
        self.notes = []

    def owner(self):
        return self.cluster.owner(self.large)

    def lasting(self, seconds):
        """The fault lasts so long: a duration, not a wait for anything."""
        time.sleep(seconds * self.scale)


@fault("kill-owner", aim=9)
def kill_owner(stage):
    """kill -9 of an owner"""
    owner = stage.owner()
    owner.kill()
    stage.lasting(AWAY_S)
    owner.start()
    owner.wait_ready()


@fault("rolling-restart", aim=3)
def rolling_restart(stage):
    """rolling SIGTERM of all services"""
    for service in list(stage.cluster.services):
        code = service.drain()
        if code:
            stage.notes.append(f"{service.name} ended with {code}")
        service.start()
        service.wait_ready()


@fault("node-down", aim=4)
def node_down(stage):
    """one Cassandra node killed, and back"""
    node = stage.cluster.nodes[-1]
    node.kill()
    stage.lasting(OUTAGE_S)
    node.start()


@fault("quorum-lost", aim=8, after_outage=True)
def quorum_lost(stage):
    """two Cassandra nodes killed for 30 s"""
    nodes, begun, back = stage.cluster.nodes[1:], time.time(), []
    in_parallel([node.kill for node in nodes])
    stage.lasting(OUTAGE_S)

    def start(node):
        node.start()
        back.append(time.time())

    in_parallel([lambda node=node: start(node) for node in nodes])
    # With the first one there is a quorum again.
    stage.outage = min(back) - begun


@fault("broker-down", aim=8, after_outage=True)
def broker_down(stage):
    """broker killed for 30 s"""
    begun = time.time()
    stage.cluster.broker.kill()
    stage.lasting(OUTAGE_S)
    stage.cluster.broker.start()
    stage.outage = time.time() - begun


@fault("owner-stopped", aim=20)
def owner_stopped(stage):
    """owner stopped (SIGSTOP) for 30 s"""
    owner = stage.owner()
    owner.down = True
    owner.send(signal.SIGSTOP)
    stage.lasting(OUTAGE_S)
    owner.send(signal.SIGCONT)
    owner.wait_ready()


@fault("workers-dead", aim=8, after_outage=True)
def workers_dead(stage):
    """all workers dead for 60 s"""
    begun = time.time()
    for worker in stage.cluster.workers:
        worker.kill()
    stage.lasting(WORKERS_DEAD_S)
    for worker in stage.cluster.workers:
        worker.start()
    stage.outage = time.time() - begun


@fault("worker-flapping")
def worker_flapping(stage):
    """one worker killed every 3 s for 60 s"""
    worker = stage.cluster.workers[0]
    until = time.time() + FLAPPING_S * stage.scale
    while time.time() < until:
        worker.kill()
        worker.start()
        stage.lasting(FLAP_S)


@fault("fourth-instance")
def fourth_instance(stage):
    """a fourth service joins, and leaves again"""
    service = stage.cluster.add_service()
    stage.load.watch_service(service)
    service.start()
    service.wait_ready()
    wait_for("it owns a partition", SHARED_S, lambda: stage.cluster.holdings()[service.port], every=0.5)
    stage.lasting(JOINED_S)
    code = service.drain()
    if code:
        stage.notes.append(f"{service.name} ended with {code}")


@fault("disk-full-broker", aim=8, after_outage=True)
def disk_full_broker(stage):
    """the broker takes its disk for full for 30 s"""
    begun = time.time()
    broker = stage.cluster.broker
    name = f"kindred-{broker.port}@localhost"
    before = broker.manage("GET", f"nodes/{name}")["disk_free_limit"]
    broker.tell("ctl", "set_disk_free_limit", str(NO_ROOM_BYTES))
    stage.lasting(OUTAGE_S)
    broker.tell("ctl", "set_disk_free_limit", str(before))
    stage.outage = time.time() - begun


@fault("disk-full-node")
def disk_full_node(stage):
    """one Cassandra node can make no new files for 30 s, and is then restarted"""
    node = stage.cluster.nodes[-1]
    try:
        node.limit_file_size(FULL_BYTES)
    except OSError as trouble:
        raise Skipped(f"the size of its files cannot be limited: {trouble}") from trouble
    # It would need new files only after much longer.
    flush_lists_every(stage.cluster, FLUSHED_MS)
    stage.lasting(OUTAGE_S)
    # It refuses clients from the moment on at which it could not write, if it came to that.
    with socket.socket() as probe:
        refuses = probe.connect_ex((node.settings["CASSANDRA_ADDRESS"], stage.cluster.cql_port)) != 0
    stage.notes.append("the node stopped serving" if refuses else "the node needed no new file")
    node.kill()
    node.start()
    flush_lists_every(stage.cluster, NOT_FLUSHED)


def flush_lists_every(cluster, milliseconds):
    with cluster.database() as session:
        session.execute(f"ALTER TABLE similar_items WITH memtable_flush_period_in_ms = {milliseconds}")


@fault("clock-wrong")
def clock_wrong(stage):
    """the clock of an owner is an hour ahead for 30 s"""
    libraries = glob.glob(FAKETIME)
    if not libraries:
        raise Skipped("libfaketime is not installed")
    owner = stage.owner()
    right = owner.environment
    wrong = {"LD_PRELOAD": libraries[0], "FAKETIME": CLOCK_AHEAD, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    owner.drain()
    owner.environment = right | wrong
    try:
        owner.start()
        owner.wait_ready()
        stage.lasting(OUTAGE_S)
        owner.drain()
    finally:
        owner.environment = right
    owner.start()
    owner.wait_ready()


@fault("broker-cut", proxied=True)
def broker_cut(stage):
    """an owner's connections to the broker are cut and refused for 15 s"""
    owner = stage.owner()
    owner.proxy.tell("refuse")
    stage.lasting(AWAY_S)
    owner.proxy.tell("pass")


@fault("broker-stalled", proxied=True)
def broker_stalled(stage):
    """between an owner and the broker nothing passes for 20 s"""
    owner = stage.owner()
    owner.proxy.tell("stall")
    stage.lasting(STALLED_S)
    owner.proxy.tell("pass")


@fault("broker-slow", proxied=True)
def broker_slow(stage):
    """between an owner and the broker everything takes 300 ms more, each way, for 30 s"""
    owner = stage.owner()
    owner.proxy.tell("slow", SLOW_BROKER_S)
    stage.lasting(OUTAGE_S)
    owner.proxy.tell("pass")


@fault("database-cut", proxied=True)
def database_cut(stage):
    """all connections to the database are cut, three times in 15 s"""
    for _ in range(CUTS):
        for proxy in stage.cluster.node_proxies:
            proxy.tell("cut")
        stage.lasting(BETWEEN_CUTS_S)


@fault("database-stalled", proxied=True)
def database_stalled(stage):
    """between the services and one Cassandra node nothing passes for 20 s"""
    proxy = stage.cluster.node_proxies[0]
    proxy.tell("stall")
    stage.lasting(STALLED_S)
    proxy.tell("pass")


@fault("database-slow", proxied=True)
def database_slow(stage):
    """between the services and the database everything takes 100 ms more, each way, for 30 s"""
    for proxy in stage.cluster.node_proxies:
        proxy.tell("slow", SLOW_DATABASE_S)
    stage.lasting(OUTAGE_S)
    for proxy in stage.cluster.node_proxies:
        proxy.tell("pass")
