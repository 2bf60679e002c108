"""The cluster: a broker, three database nodes, model services and compute workers.

Broker and nodes are started and stopped by the control scripts of tests/services; the rest are
processes of this one."""

import base64
import contextlib
import json
import logging
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

from cassandra import ConsistencyLevel
from cassandra.cluster import EXEC_PROFILE_DEFAULT, ExecutionProfile
from cassandra.cluster import Cluster as Driver
from cassandra.policies import RoundRobinPolicy

from .client import ask
from .proxy import Proxy

# As tests/services/node.sh has it: below the range that outgoing connections are given.
PORTS = (20_000, 32_000)
NODES = 3
# Where each node's share of the ring begins.
TOKENS = (-9223372036854775808, -3074457345618258603, 3074457345618258602)
HEAP = "1G"
READY_S = 120
DRAIN_S = 20
REPLICATION = 3
KEYSPACE = "kindred"

taken = set()


class NotInTime(Exception):
    """A condition did not come true before its deadline."""


def wait_for(what, seconds, condition, every=0.1):
    """Asks until the condition gives something true, which is returned."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise NotInTime(f"{what}: not within {seconds} s")
        time.sleep(every)


def free_port(addresses=("127.0.0.1",)):
    """A port that nobody listens on, at any of the addresses."""
    while True:
        port = random.randrange(*PORTS)
        if port in taken:
            continue
        try:
            for address in addresses:
                with socket.socket() as probe:
                    probe.bind((address, port))
        except OSError:
            continue
        taken.add(port)
        return port


class Controlled:
    """A service of tests/services, by its control script."""

    def __init__(self, name, control, settings=None):
        self.name, self.control = name, control
        self.settings = settings or {}

    def tell(self, *words):
        done = subprocess.run(
            [self.control, *words],
            env=os.environ | self.settings,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{self.name} {' '.join(words)}: {done.stderr.strip()[-2000:]}")
        return done.stdout.strip()

    def start(self):
        self.tell("start")

    def stop(self):
        self.tell("stop")

    def kill(self):
        self.tell("kill")

    def end(self):
        self.tell("end")

    @property
    def pid(self):
        return int(self.tell("pid"))

    def limit_file_size(self, size):
        """The most bytes a file of it may have; None: no limit."""
        _, hard = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (hard if size is None else size, hard))


class Broker(Controlled):
    def __init__(self, control, ports):
        super().__init__("RabbitMQ", control)
        self.port, self.management = ports["AMQP"], ports["MANAGEMENT"]

    def manage(self, method, path, body=None):
        login = base64.b64encode(b"tests:tests").decode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.management}/api/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"content-type": "application/json", "authorization": f"Basic {login}"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            content = answer.read()
        return json.loads(content) if content else None

    def make_vhost(self, name):
        self.manage("PUT", f"vhosts/{name}")
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        self.manage("PUT", f"permissions/{name}/tests", everything)

    def messages(self, vhost, prefix):
        """Messages in the queues of this prefix, unacknowledged ones too; None: it cannot tell now."""
        try:
            queues = self.manage("GET", f"queues/{vhost}")
        except (OSError, ValueError):
            return None
        counts = [queue.get("messages") for queue in queues if queue["name"].startswith(prefix)]
        return None if None in counts or not counts else sum(counts)


class Program:
    """A process of Kindred; its log is kept over restarts."""

    def __init__(self, name, command, environment, log):
        self.name, self.command, self.environment, self.log = name, command, environment, log
        self.process = None
        # Whether it is down on purpose, until it says that it is ready.
        self.down = True

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    @property
    def runs(self):
        return self.process is not None and self.process.poll() is None

    def send(self, signal_number):
        self.process.send_signal(signal_number)

    def kill(self):
        self.down = True
        if self.runs:
            self.process.kill()
            self.process.wait()

    def drain(self):
        """SIGTERM; its exit code."""
        self.down = True
        self.process.terminate()
        return self.process.wait(DRAIN_S)

    def resident(self):
        """Bytes of memory that it holds; 0 when it does not run."""
        return resident(self.process.pid) if self.runs else 0


def resident(pid):
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


class Service(Program):
    def __init__(self, name, command, environment, log, port, proxy):
        super().__init__(name, command, environment, log)
        self.port, self.proxy = port, proxy

    def is_ready(self):
        return ask(self.port, "GET", "/readyz", timeout=2).status == 200

    def wait_ready(self):
        def ready():
            if not self.runs:
                raise RuntimeError(f"{self.name} has ended with {self.process.returncode}: see {self.log}")
            return self.is_ready()

        wait_for(f"{self.name} is ready", READY_S, ready)
        self.down = False


class Cluster:
    """`proxied`: the services reach broker and database by way of proxies."""

    def __init__(self, place, programs, broker, node_control, paxos, partitions, services, workers, proxied):
        self.place, self.programs, self.broker = place, programs, broker
        self.node_control, self.paxos, self.proxied = node_control, paxos, proxied
        self.vhost = f"faults-{os.getpid()}-{time.monotonic_ns()}"
        self.partitions = partitions
        self.proxies, self.node_proxies = [], []
        self.nodes, self.services, self.workers = [], [], []
        self.counts = services, workers
        self.cql_port = None

    @property
    def amqp_url(self):
        return f"amqp://tests:tests@127.0.0.1:{self.broker.port}/{self.vhost}"

    def start(self):
        os.makedirs(self.place, exist_ok=True)
        self.broker.make_vhost(self.vhost)
        self.start_nodes()
        services, workers = self.counts
        for _ in range(services):
            self.add_service()
        for _ in range(workers):
            self.add_worker()
        self.run_program("schema")
        for program in self.services + self.workers:
            program.start()
        for service in self.services:
            service.wait_ready()
        wait_for("every partition has an owner", READY_S, lambda: len(self.owners()) == self.partitions)
        # They hand one over at a time until each has its share.
        share = self.partitions // services
        wait_for("partitions are shared", READY_S, lambda: min(self.holdings().values()) >= share, every=0.5)

    def start_nodes(self):
        addresses = [f"127.0.0.{n + 1}" for n in range(NODES)]
        told = [f"127.0.1.{n + 1}" if self.proxied else address for n, address in enumerate(addresses)]
        self.cql_port = free_port(set(addresses + told))
        storage = free_port(addresses)
        for n, address in enumerate(addresses):
            directory = f"{self.place}/cassandra-{n + 1}"
            settings = {
                "CASSANDRA_ADDRESS": address,
                "CASSANDRA_SEED": addresses[0],
                "CASSANDRA_CQL": str(self.cql_port),
                "CASSANDRA_STORAGE": str(storage),
                "CASSANDRA_TOKEN": str(TOKENS[n]),
                "CASSANDRA_PAXOS": self.paxos,
                "CASSANDRA_HEAP": HEAP,
            }
            if self.proxied:
                settings["CASSANDRA_BROADCAST"] = told[n]
            control = f"{directory}/control"
            os.makedirs(directory)
            with open(control, "w") as file:
                file.write(f'#!/bin/sh\nexec "{self.node_control}" "{directory}" "$@"\n')
            os.chmod(control, 0o755)
            self.nodes.append(Controlled(f"Cassandra {n + 1}", control, settings))
            if self.proxied:
                self.node_proxies.append(Proxy((told[n], self.cql_port), (address, self.cql_port)))
        self.cql_nodes = ",".join(f"{address}:{self.cql_port}" for address in told)
        # The others need one to ask.
        self.nodes[0].start()
        in_parallel([node.start for node in self.nodes[1:]])

    def environment(self, **more):
        mine = {name: value for name, value in os.environ.items() if not name.startswith("KINDRED_")}
        return mine | {
            "KINDRED_AMQP_URL": self.amqp_url,
            "KINDRED_CQL_NODES": self.cql_nodes,
            "KINDRED_CQL_KEYSPACE": KEYSPACE,
            "KINDRED_CQL_REPLICATION": str(REPLICATION),
            "KINDRED_PARTITIONS": str(self.partitions),
            "KINDRED_LOG_FORMAT": "json",
            **more,
        }

    def add_service(self):
        """One more, not yet started."""
        name = f"service-{len(self.services) + 1}"
        port, proxy, more = free_port(), None, {}
        if self.proxied:
            proxy = Proxy(("127.0.0.1", free_port()), ("127.0.0.1", self.broker.port))
            self.proxies.append(proxy)
            through = f":{proxy.listen[1]}/"
            more["KINDRED_AMQP_URL"] = self.amqp_url.replace(f":{self.broker.port}/", through)
        environment = self.environment(KINDRED_LISTEN=f"127.0.0.1:{port}", **more)
        command = [f"{self.programs}/kindred", "model-service"]
        service = Service(name, command, environment, f"{self.place}/{name}.log", port, proxy)
        self.services.append(service)
        return service

    def add_worker(self):
        name = f"worker-{len(self.workers) + 1}"
        command = [f"{self.programs}/compute-worker"]
        worker = Program(name, command, self.environment(), f"{self.place}/{name}.log")
        self.workers.append(worker)
        return worker

    def run_program(self, *arguments, timeout=600):
        """A command of `kindred` with this cluster's configuration; must end well."""
        done = subprocess.run(
            [f"{self.programs}/kindred", *arguments],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=self.place,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"kindred {' '.join(arguments)}: {done.returncode}: {done.stderr[-2000:]}")
        return done

    @contextlib.contextmanager
    def program(self, *arguments):
        """A command of `kindred` that reads standard input, which is closed at the end; must end well then."""
        log = f"{self.place}/{arguments[0]}.log"
        with open(log, "ab") as said:
            running = subprocess.Popen(
                [f"{self.programs}/kindred", *arguments],
                env=self.environment(),
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
                text=True,
                cwd=self.place,
            )
        try:
            yield running
        finally:
            running.stdin.close()
            code = running.wait()
        if code:
            with open(log, encoding="utf-8", errors="replace") as said:
                raise RuntimeError(f"kindred {' '.join(arguments)}: {code}: {said.read()[-2000:]}")

    @contextlib.contextmanager
    def database(self):
        """A session at QUORUM."""
        logging.getLogger("cassandra").setLevel(logging.CRITICAL)
        profile = ExecutionProfile(
            consistency_level=ConsistencyLevel.QUORUM,
            load_balancing_policy=RoundRobinPolicy(),
            request_timeout=30,
        )
        driver = Driver(
            [node.rsplit(":", 1)[0] for node in self.cql_nodes.split(",")],
            port=self.cql_port,
            protocol_version=5,
            execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        )
        try:
            yield driver.connect(KEYSPACE)
        finally:
            driver.shutdown()

    def owners(self):
        """Partition → address of its owner, of those that have one."""
        with self.database() as session:
            rows = session.execute("SELECT partition, owner, address FROM partitions")
            return {row.partition: row.address for row in rows if row.owner}

    def holdings(self):
        """Port of each service → how many partitions it owns."""
        held = {service.port: 0 for service in self.services}
        for address in self.owners().values():
            port = int(address.rsplit(":", 1)[1])
            held[port] = held.get(port, 0) + 1
        return held

    def owner(self, domain=None):
        """The service that owns the domain; without one, the service that owns most."""
        holdings = self.holdings()
        port = max(holdings, key=holdings.get)
        if domain:
            with self.database() as session:
                row = session.execute("SELECT partition FROM domains WHERE domain = %s", (domain,)).one()
            port = int(self.owners()[row.partition].rsplit(":", 1)[1])
        return next(service for service in self.services if service.port == port)

    def answering(self):
        """The services that are not down on purpose."""
        return [service for service in self.services if not service.down]

    def end(self):
        for program in self.services + self.workers:
            if program.runs:
                # One that is stopped would not hear of its end.
                program.send(signal.SIGKILL)
                program.process.wait()
        for proxy in self.proxies + self.node_proxies:
            proxy.end()
        for node in self.nodes:
            with contextlib.suppress(RuntimeError):
                node.end()
        with contextlib.suppress(OSError, urllib.error.URLError):
            self.broker.manage("DELETE", f"vhosts/{self.vhost}")
        for n in range(len(self.nodes)):
            directory = f"{self.place}/cassandra-{n + 1}"
            with contextlib.suppress(OSError):
                shutil.copy(f"{directory}/out.log", f"{self.place}/cassandra-{n + 1}.log")
            shutil.rmtree(directory, ignore_errors=True)


def in_parallel(works):
    """Runs all, and raises what the first one raised."""
    troubles = []

    def guarded(work):
        try:
            work()
        except Exception as trouble:  # Told to the caller below.
            troubles.append(trouble)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if troubles:
        raise troubles[0]
