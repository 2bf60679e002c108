"""What is compared: each program does the same work and says which ids it found.

`prepare` is not timed. `search` gives the ids of all rows' neighbours, from normalised rows to sorted
ids, building an index included. `insert` takes new rows into what `settle` built and finds their
neighbours. A program that answers with a row itself is asked for one more, and the row is taken out
afterwards, outside of the time."""

import json
import os
import resource
import subprocess
import time

import numpy as np

# Of graph indexes, everywhere the same.
M, EF_CONSTRUCTION, EF_SEARCH = 16, 100, 64
# Rows that numpy scores at once, so that scores stay in the cache.
NUMPY_ROWS = 256
# Faiss answers fewer queries than this one by one, without BLAS.
FAISS_THRESHOLDS = (20, 1_000_000)


class InPython:
    """A library that runs in this process."""

    def timed(self, work):
        start, cpu = time.perf_counter(), time.process_time()
        answer = work()
        return time.perf_counter() - start, time.process_time() - cpu, answer

    def prepare(self, rows, k):
        self.rows, self.k = rows, k

    def round(self):
        return self.timed(self.search)

    def insert_round(self):
        return self.timed(self.insert)[:2]

    def reset(self):
        self.rows = self.index = self.new = None

    def close(self):
        pass


class FaissFlat(InPython):
    name = "faiss IndexFlatIP"
    exact = True

    def __init__(self, threads):
        import faiss

        self.faiss = faiss
        faiss.omp_set_num_threads(threads)
        self.version = faiss.__version__

    def search(self):
        index = self.faiss.IndexFlatIP(self.rows.shape[1])
        index.add(self.rows)
        return index.search(self.rows, self.k + 1)[1]

    def settle(self, resident, new):
        self.index = self.faiss.IndexFlatIP(resident.shape[1])
        self.index.add(resident)
        self.new = new
        # At its best setting.
        times = {}
        for threshold in FAISS_THRESHOLDS * 3:
            self.faiss.cvar.distance_compute_blas_threshold = threshold
            seconds = self.timed(self.insert)[0]
            times[threshold] = min(seconds, times.get(threshold, seconds))
        self.faiss.cvar.distance_compute_blas_threshold = min(times, key=times.get)

    def insert(self):
        self.index.search(self.new, self.k)

    def reset(self):
        super().reset()
        self.faiss.cvar.distance_compute_blas_threshold = FAISS_THRESHOLDS[0]


class FaissHnsw(InPython):
    name = "faiss IndexHNSW"
    exact = False

    def __init__(self, threads):
        import faiss

        self.faiss = faiss
        faiss.omp_set_num_threads(threads)
        self.version = faiss.__version__

    def build(self, rows):
        index = self.faiss.IndexHNSWFlat(rows.shape[1], M, self.faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = EF_CONSTRUCTION
        index.hnsw.efSearch = EF_SEARCH
        index.add(rows)
        return index

    def search(self):
        return self.build(self.rows).search(self.rows, self.k + 1)[1]


class Hnswlib(InPython):
    name = "hnswlib"
    exact = False

    def __init__(self, threads):
        import hnswlib

        self.hnswlib = hnswlib
        self.threads = threads
        self.version = "0.8.0"

    def build(self, rows, more=0):
        index = self.hnswlib.Index(space="ip", dim=rows.shape[1])
        index.init_index(len(rows) + more, M=M, ef_construction=EF_CONSTRUCTION)
        index.set_num_threads(self.threads)
        index.add_items(rows)
        index.set_ef(EF_SEARCH)
        return index

    def search(self):
        return self.build(self.rows).knn_query(self.rows, self.k + 1)[0]

    def settle(self, resident, new):
        # Room for the rows of many rounds: each round's come on top.
        self.index = self.build(resident, 1000 * len(new))
        self.new = new

    def insert(self):
        self.index.add_items(self.new)
        self.index.knn_query(self.new, self.k + 1)


class Usearch(InPython):
    name = "usearch"
    exact = False

    def __init__(self, threads):
        import usearch
        from usearch.index import Index

        self.make = Index
        self.threads = threads
        self.version = usearch.__version__

    def build(self, rows):
        index = self.make(
            ndim=rows.shape[1],
            metric="ip",
            dtype="f32",
            connectivity=M,
            expansion_add=EF_CONSTRUCTION,
            expansion_search=EF_SEARCH,
        )
        index.add(np.arange(len(rows), dtype=np.uint64), rows, threads=self.threads)
        return index

    def search(self):
        found = self.build(self.rows).search(self.rows, self.k + 1, threads=self.threads)
        return found.keys.astype(np.int64)

    def settle(self, resident, new):
        self.index = self.build(resident)
        self.new = new
        self.next = len(resident)

    def insert(self):
        keys = np.arange(self.next, self.next + len(self.new), dtype=np.uint64)
        self.next += len(self.new)
        self.index.add(keys, self.new, threads=self.threads)
        self.index.search(self.new, self.k + 1, threads=self.threads)


class ScikitLearn(InPython):
    name = "scikit-learn"
    exact = True

    def __init__(self, threads):
        import sklearn
        from sklearn.neighbors import NearestNeighbors

        self.make = NearestNeighbors
        self.threads = threads
        self.version = sklearn.__version__

    def search(self):
        # Of rows of length 1 the nearest have the highest scores.
        index = self.make(algorithm="brute", metric="sqeuclidean", n_jobs=self.threads)
        return index.fit(self.rows).kneighbors(self.rows, self.k + 1, return_distance=False)


class Numpy(InPython):
    name = "numpy"
    exact = True

    def __init__(self, threads):
        self.version = np.__version__

    def search(self):
        found = np.empty((len(self.rows), self.k + 1), dtype=np.int64)
        for start in range(0, len(self.rows), NUMPY_ROWS):
            scores = self.rows[start : start + NUMPY_ROWS] @ self.rows.T
            best = np.argpartition(scores, -self.k - 1, axis=1)[:, -self.k - 1 :]
            order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
            found[start : start + NUMPY_ROWS] = np.take_along_axis(best, order, axis=1)
        return found


class Kindred:
    """The library, in a process of its own that is told when to work."""

    exact = True
    version = "this one"

    def __init__(self, place, root, threads, kernel):
        self.kernel = kernel
        self.name = f"Kindred {kernel}"
        self.place = place
        self.process = subprocess.Popen(
            [f"{root}/target/release/examples/peer", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.name} ended at {words}")
        return json.loads(answer)["seconds"]

    def cpu(self):
        """Seconds that its threads ran; they all live as long as it."""
        tasks = f"/proc/{self.process.pid}/task"
        nanoseconds = 0
        for task in os.listdir(tasks):
            with open(f"{tasks}/{task}/schedstat") as file:
                nanoseconds += int(file.read().split()[0])
        return nanoseconds / 1e9

    def prepare(self, rows, k):
        self.k, self.shape = k, rows.shape
        file = f"{self.place}/rows.f32"
        rows.tofile(file)
        self.tell("load", file, *rows.shape)

    def round(self):
        cpu = self.cpu()
        seconds = self.tell("neighbours", self.kernel, self.k)
        cpu = self.cpu() - cpu
        file = f"{self.place}/ids.u32"
        self.tell("save", file)
        return seconds, cpu, np.fromfile(file, dtype=np.uint32).reshape(-1, self.k).astype(np.int64)

    def settle(self, resident, new):
        self.prepare(np.concatenate([resident, new]), self.k)
        self.tell("resident", len(resident), self.k)

    def insert_round(self):
        cpu = self.cpu()
        seconds = self.tell("insert", self.kernel)
        return seconds, self.cpu() - cpu

    def reset(self):
        self.tell("load", "/dev/null", 0, 1)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Command:
    """The whole program: files in and out."""

    exact = True
    version = "this one"

    def __init__(self, place, root, threads, kernel):
        self.name = f"`kindred neighbours` {kernel}"
        self.place, self.root, self.threads, self.kernel = place, root, threads, kernel

    def prepare(self, rows, k):
        self.k = k
        np.save(f"{self.place}/rows.npy", rows)

    def round(self):
        arguments = [f"{self.root}/target/release/kindred", "neighbours", "--k", str(self.k)]
        arguments += ["--threads", str(self.threads), "--kernel", self.kernel, "--log", "warn"]
        arguments += ["--vectors", f"{self.place}/rows.npy", "-o", f"{self.place}/found.ndjson"]
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL, cwd=self.place)
        seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        with open(f"{self.place}/found.ndjson") as file:
            lines = [[one["id"] for one in json.loads(line)["neighbours"]] for line in file]
        return seconds, cpu, np.array(lines, dtype=np.int64)

    def reset(self):
        pass

    def close(self):
        pass
