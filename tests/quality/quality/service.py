"""A `kindred standalone` of its own, and what is asked of it: settings, import, lists."""

import json
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

QUIET_WITHIN_S = 600
START_WITHIN_S = 30
LIST = 50


class Kindred:
    """Started with a temporary directory; stopped and removed at the end of `with`."""

    says_language = False

    def __init__(self, program, *flags, encoders=None):
        self.program = Path(program).resolve()
        self.flags = flags
        self.encoders = {}
        if encoders:
            self.encoders = {one.name for one in Path(encoders).iterdir() if one.is_dir()}
            self.flags += ("--encoders", str(Path(encoders).resolve()))
        self.beside, self.texts, self.seconds = {}, 0, 0.0

    def __enter__(self):
        self.place = tempfile.TemporaryDirectory(prefix="kindred-quality-")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.log = open(Path(self.place.name) / "log", "wb")
        self.process = subprocess.Popen(
            [self.program, "standalone", "--listen", f"127.0.0.1:{port}", "--data-dir", "data", *self.flags],
            cwd=self.place.name, stdout=self.log, stderr=self.log,
        )
        self._wait(START_WITHIN_S, lambda: self._ask("GET", "/readyz") is not None, "ready")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)
        self.log.close()
        self.place.cleanup()

    def _wait(self, seconds, is_so, what):
        deadline = time.monotonic() + seconds
        while not is_so():
            if self.process.poll() is not None or time.monotonic() > deadline:
                log = (Path(self.place.name) / "log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"kindred is not {what} within {seconds} s:\n{log}")
            time.sleep(0.05)

    def _ask(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            if error.code in (404, 503):
                return None
            raise RuntimeError(f"{method} {path}: {error.code} {error.read().decode(errors='replace')}") from error
        except urllib.error.URLError:
            return None

    def load(self, domain, items, model, **settings):
        """Puts items, dictionaries with an `id`, into a domain with these settings, and waits until it is quiet.

        A model may be an encoder's: then it is built beside the served one, which is there first.
        """
        if model not in self.encoders:
            settings = {"model": model, **settings}
        if self._ask("PUT", f"/v1/domains/{domain}", settings) is None:
            raise RuntimeError(f"settings of {domain} were not taken")
        file = Path(self.place.name) / f"{domain}.ndjson"
        with open(file, "w", encoding="utf-8") as out:
            for item in items:
                event = {"type": "item.created", "domain": domain, **item}
                out.write(json.dumps(event, ensure_ascii=False) + "\n")
        begun = time.monotonic()
        done = subprocess.run([self.program, "import", file, "--url", self.url], cwd=self.place.name,
                              stdout=self.log, stderr=subprocess.PIPE)
        if done.returncode != 0:
            raise RuntimeError(f"import of {domain} failed: {done.stderr.decode(errors='replace')[-2000:]}")

        def is_quiet():
            answer = self._ask("GET", f"/v1/domains/{domain}")
            return answer is not None and answer["quiet"] and answer["live"] == len(items)

        self._wait(QUIET_WITHIN_S, is_quiet, f"quiet with {domain}")
        if model in self.encoders:
            begun = time.monotonic()
            path = f"/v1/domains/{domain}/models/{model}"
            if self._ask("PUT", path, {"kind": "onnx", "encoder": model}) is None:
                raise RuntimeError(f"model {model} of {domain} was not taken")
            self._wait(QUIET_WITHIN_S, lambda: (self._ask("GET", path) or {}).get("state") == "ready", f"done with {domain}")
            self.beside[domain] = model
        self.texts += len(items)
        self.seconds += time.monotonic() - begun

    def pace(self):
        """Texts per second of all that was loaded since the last call."""
        pace = self.texts / self.seconds
        self.texts, self.seconds = 0, 0.0
        return pace

    def lists(self, domain, ids, limit=LIST, conditions=""):
        """The list of each item: ids and scores, best first. `conditions` are more parameters of the query, each after an `&`."""
        if domain in self.beside:
            conditions += f"&model={self.beside[domain]}"

        def one(item):
            path = f"/v1/domains/{domain}/items/{urllib.parse.quote(item, safe=str())}/similar"
            answer = self._ask("GET", f"{path}?limit={limit}{conditions}")
            if answer is None:
                raise RuntimeError(f"no list of {item} in {domain}")
            return [(other["id"], other["score"]) for other in answer["similar"]]

        with ThreadPoolExecutor(4) as threads:
            return dict(zip(ids, threads.map(one, ids)))
