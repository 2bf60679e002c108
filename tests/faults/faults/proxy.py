"""A TCP proxy that passes, cuts, refuses, slows or holds back what goes through it.

It is a process of its own, so that it does not share an interpreter with the load. It is told what
to do on its standard input, a line a command, and answers each with a line:

  pass     as if it were not there
  slow S   whatever comes is passed on S seconds later, in both directions
  stall    nothing is passed on; connections stay
  cut      every connection is reset; new ones pass
  refuse   every connection is reset, and so are new ones"""

import asyncio
import socket
import struct
import subprocess
import sys

# Of one read; also of what waits in a direction, so that a slow one is bounded.
CHUNK = 64 * 1024
WAITING_CHUNKS = 256


class Proxy:
    """The process, from outside."""

    def __init__(self, listen, target):
        self.listen = listen
        words = [str(word) for word in (*listen, *target)]
        self.process = subprocess.Popen(
            [sys.executable, __file__, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if self.process.stdout.readline() != "listening\n":
            raise RuntimeError(f"the proxy on {listen} did not start")

    def tell(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if answer != "done":
            raise RuntimeError(f"the proxy on {self.listen}: {answer or 'it ended'}")

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class Relay:
    """All connections of one proxy."""

    def __init__(self, target):
        self.target = target
        self.delay = 0.0
        self.refuses = False
        self.passing = asyncio.Event()
        self.passing.set()
        self.writers = set()

    async def accept(self, reader, writer):
        if self.refuses:
            reset(writer)
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(*self.target)
        except OSError:
            reset(writer)
            return
        both = {writer, far_writer}
        self.writers |= both
        try:
            await asyncio.gather(self.direction(reader, far_writer), self.direction(far_reader, writer))
        finally:
            self.writers -= both

    async def direction(self, reader, writer):
        """Reads as data comes and writes each piece when it is due: latency, not less bandwidth."""
        clock = asyncio.get_running_loop().time
        waiting = asyncio.Queue(WAITING_CHUNKS)

        async def deliver():
            while True:
                due, data = await waiting.get()
                if due > clock():
                    await asyncio.sleep(due - clock())
                await self.passing.wait()
                if not data:
                    writer.close()
                    return
                writer.write(data)
                await writer.drain()

        delivery = asyncio.create_task(deliver())
        try:
            data = b"something"
            while data:
                data = await reader.read(CHUNK)
                await waiting.put((clock() + self.delay, data))
            await delivery
        except OSError:
            reset(writer)
        finally:
            delivery.cancel()

    def obey(self, words):
        command, *values = words
        self.refuses = command == "refuse"
        self.delay = float(values[0]) if command == "slow" else 0.0
        if command == "stall":
            self.passing.clear()
        else:
            self.passing.set()
        if command in ("cut", "refuse"):
            for writer in list(self.writers):
                reset(writer)


def reset(writer):
    """Closes with RST, as a machine that has forgotten the connection would."""
    connection = writer.get_extra_info("socket")
    if connection is not None and connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def main(address, port, target, target_port):
    relay = Relay((target, int(target_port)))
    server = await asyncio.start_server(relay.accept, address, int(port))
    print("listening", flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        relay.obey(line.split())
        print("done", flush=True)
    server.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
