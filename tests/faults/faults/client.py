"""Requests to an instance, over connections that are kept, one a thread and port."""

import http.client
import json
import threading
import time
from typing import NamedTuple
from urllib.parse import quote

# The server has closed a connection that was idle: not an answer, and worth a second try.
CLOSED = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)

kept = threading.local()


class Answer(NamedTuple):
    begun: float
    seconds: float
    # 0: none came.
    status: int
    body: dict

    @property
    def ended(self):
        return self.begun + self.seconds


def item(domain, id):
    return f"/v1/domains/{quote(domain, safe='')}/items/{quote(id, safe='')}"


def ask(port, method, path, body=None, timeout=5.0):
    """One request. Never raises because of the other side: status 0 says that no answer came."""
    connections = kept.__dict__.setdefault("connections", {})
    sent = None if body is None else json.dumps(body)
    headers = {} if body is None else {"content-type": "application/json"}
    begun = time.time()
    while True:
        connection, used = connections.pop(port, None), True
        if connection is None:
            connection, used = http.client.HTTPConnection("127.0.0.1", port), False
        connection.timeout = timeout
        if connection.sock:
            connection.sock.settimeout(timeout)
        try:
            connection.request(method, path, sent, headers)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            if used and isinstance(error, CLOSED):
                continue
            return Answer(begun, time.time() - begun, 0, {"error": repr(error)})
        connections[port] = connection
        seconds = time.time() - begun
        try:
            return Answer(begun, seconds, answer.status, json.loads(content or b"{}"))
        except ValueError:
            return Answer(begun, seconds, answer.status, {"error": content[:200].decode(errors="replace")})
