"""Measures, and writes what was measured. Started by tests/peers/run."""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLACE = ROOT / "target" / "peers"
K = 20
# New rows, and rows that are there.
NEW, RESIDENT = 100, 100_000
# Rows whose neighbours are computed in float64, to see what share of them was found.
SAMPLE = 500
# Threads of a library that was just asked spin for a while before they sleep, and would take the
# processor of whoever comes next.
SETTLE_SECONDS = 0.3
# Rows up to which each program does its work once before it is timed: threads that slept take
# milliseconds to be there again, which matters where all work is a few.
WARM_ROWS = 20_000
SLOW = ("scikit-learn", "numpy")
# Names that OpenBLAS has for the instructions of x86-64 servers.
CORES = ("", "HASWELL", "ZEN", "SKYLAKEX")


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--choose-core", action="store_true")
    parser.add_argument("--time-faiss", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def limit_threads(threads):
    # Before anything reads them.
    for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR"):
        os.environ[f"{name}_NUM_THREADS"] = str(threads)


def rows_of(count, dimension):
    """The first words; rows longer than 100 are several words in a row. All of length 1."""
    import numpy as np

    words = np.load(PLACE / "vectors.npy", mmap_mode="r")
    each = -(-dimension // words.shape[1])
    rows = np.array(words[: count * each], dtype=np.float32).reshape(count, -1)[:, :dimension]
    rows = rows / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    return np.ascontiguousarray(rows, dtype=np.float32)


def time_faiss(threads):
    import peers

    faiss = peers.FaissFlat(threads)
    faiss.prepare(rows_of(5000, 100), K)
    print(min(faiss.round()[0] for _ in range(5)))


def choose_core(threads):
    """The one with which faiss is fastest here; one that the CPU lacks dies or is slow."""
    times = {}
    for core in CORES:
        environment = {**os.environ, "OPENBLAS_CORETYPE": core}
        if not core:
            environment.pop("OPENBLAS_CORETYPE")
        command = [sys.executable, __file__, "--time-faiss", "--threads", str(threads)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode == 0:
            times[core] = float(done.stdout)
            print(f"faiss, {core or 'as installed'}: {times[core] * 1e3:.0f} ms", file=sys.stderr)
    print(min(times, key=times.get))


def without_self(ids, k):
    """The first k of each row that are not the row itself."""
    import numpy as np

    if ids.shape[1] == k:
        return ids
    own = ids == np.arange(len(ids))[:, None]
    # Where a row did not find itself, its last one goes.
    own[~own.any(axis=1), -1] = True
    return ids[~own].reshape(len(ids), k)


def truth(rows):
    import numpy as np

    sample = np.random.default_rng(1).choice(len(rows), min(SAMPLE, len(rows)), replace=False)
    scores = rows[sample].astype(np.float64) @ rows.T.astype(np.float64)
    scores[np.arange(len(sample)), sample] = -np.inf
    return sample, np.argpartition(scores, -K, axis=1)[:, -K:]


def recall(ids, sample, expected):
    found = [len(set(ids[row]) & set(best)) for row, best in zip(sample, expected)]
    return sum(found) / (K * len(sample))


def summary(rounds):
    walls, cpus = [wall for wall, _ in rounds], [cpu for _, cpu in rounds]
    return {
        "wall_min": min(walls),
        "wall_median": statistics.median(walls),
        "cpu_min": min(cpus),
        "cpu_median": statistics.median(cpus),
        "rounds": len(rounds),
    }


def all_pairs(programs, count, dimension, rounds):
    rows = rows_of(count, dimension)
    sample, expected = truth(rows)
    times, recalls = {p.name: [] for p in programs}, {}
    for turn in range(rounds):
        for program in programs:
            if turn == 0 or program.name.startswith(("Kindred", "`")):
                program.prepare(rows, K)
            time.sleep(SETTLE_SECONDS)
            if count <= WARM_ROWS:
                program.round()
            wall, cpu, ids = program.round()
            times[program.name].append((wall, cpu))
            recalls[program.name] = recall(without_self(ids, K), sample, expected)
            print(
                f"n={count} d={dimension} {program.name}: {wall:.3f} s, cpu {cpu:.3f} s, "
                f"recall {recalls[program.name]:.4f}",
                file=sys.stderr,
            )
    for program in programs:
        program.reset()
    return [
        {"work": "all", "n": count, "d": dimension, "program": name, "recall": recalls[name]}
        | summary(times[name])
        for name in times
    ]


def insertion(programs, resident, rounds):
    rows = rows_of(resident + NEW, 100)
    programs = [program for program in programs if hasattr(program, "settle")]
    for program in programs:
        program.k = K
        program.settle(rows[:resident], rows[resident:])
    times = {program.name: [] for program in programs}
    for _ in range(rounds):
        for program in programs:
            time.sleep(SETTLE_SECONDS)
            program.insert_round()
            times[program.name].append(program.insert_round())
    for program in programs:
        program.reset()
    results = []
    for name, measured in times.items():
        result = {"work": "insert", "n": resident, "d": 100, "program": name} | summary(measured)
        print(f"insert into {resident}: {name}: {result['wall_median'] * 1e3:.1f} ms", file=sys.stderr)
        results.append(result)
    return results


def kernels():
    """The vector kernels that this CPU has, fastest first."""
    flags = pathlib.Path("/proc/cpuinfo").read_text()
    have = [("avx512vnni", "avx512_vnni"), ("avx512", "avx512f"), ("avx2", "avx2")]
    return [kernel for kernel, flag in have if f" {flag}" in flags] or ["scalar"]


def machine(options, programs):
    info = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in info if line.startswith("model name")), "?")
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "threads": options.threads,
        "coretype": os.environ.get("OPENBLAS_CORETYPE", ""),
        "date": time.strftime("%Y-%m-%d"),
        "load_before": os.getloadavg()[0],
        "versions": {p.name: p.version for p in programs if p.version != "this one"},
    }


def measure(options):
    import peers

    threads = options.threads
    found = kernels()
    mine = [peers.Kindred(PLACE, ROOT, threads, kernel) for kernel in found]
    whole = [peers.Command(PLACE, ROOT, threads, kernel) for kernel in found]
    others = [
        peers.FaissFlat(threads),
        peers.FaissHnsw(threads),
        peers.Hnswlib(threads),
        peers.Usearch(threads),
        peers.ScikitLearn(threads),
        peers.Numpy(threads),
    ]
    programs = mine + whole + others
    fast = [program for program in programs if program.name not in SLOW]
    about = machine(options, programs)
    results = []
    if options.quick:
        results += all_pairs(programs, 5000, 100, 1)
        results += all_pairs(programs, 5000, 384, 1)
        results += insertion(programs, 20_000, 5)
    else:
        rounds = options.rounds
        for count, dimension in [(5000, 100), (20_000, 100), (5000, 384), (5000, 768)]:
            results += all_pairs(programs, count, dimension, rounds)
        for count, dimension in [(20_000, 384), (20_000, 768), (100_000, 100)]:
            results += all_pairs(programs, count, dimension, max(rounds - 2, 1))
        results += insertion(programs, RESIDENT, 10 * rounds)
        results += all_pairs(fast, 300_000, 100, 1)
    for program in programs:
        program.close()
    return {"machine": about, "k": K, "results": results}


def main():
    options = arguments()
    limit_threads(options.threads)
    if options.time_faiss:
        return time_faiss(options.threads)
    if options.choose_core:
        if not options.report:
            choose_core(options.threads)
        return None
    file = PLACE / ("quick.json" if options.quick else "results.json")
    if not options.report:
        measured = measure(options)
        file.write_text(json.dumps(measured, indent=1))
    import report

    return report.write(json.loads(file.read_text()), PLACE, None if options.quick else ROOT / "docs")


if __name__ == "__main__":
    sys.exit(main())
