#!/usr/bin/env python3
"""Publishes events from standard input, one JSON object a line, with pika.

Usage: pika_publish.py amqp://user:password@host:5672/vhost < events.ndjson

Waits until the exchange is there, publishes each event with its domain as routing key, and waits
for the broker's confirm of each, on several connections at once: each waits most of the time.
"""

import concurrent.futures
import json
import sys
import threading
import time

import pika
import pika.exceptions

EXCHANGE = "kindred.items"
WAIT_SECONDS = 120
CONNECTIONS = 8


def channel_with_exchange(connection):
    """A channel in confirm mode, once the exchange is there."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        channel = connection.channel()
        try:
            channel.exchange_declare(EXCHANGE, passive=True)
            channel.confirm_delivery()
            return channel
        except pika.exceptions.ChannelClosedByBroker as error:
            if error.reply_code != 404 or time.monotonic() > deadline:
                raise
            connection.sleep(0.1)


def publish(url, lines, turn):
    """Publishes lines of its own until there are no more; how many."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = channel_with_exchange(connection)
    properties = pika.BasicProperties(content_type="application/json", delivery_mode=2)
    published = 0
    while True:
        with turn:
            line = next(lines, None)
        if line is None:
            break
        domain = json.loads(line)["domain"]
        channel.basic_publish(EXCHANGE, domain, line.encode(), properties, mandatory=True)
        published += 1
    connection.close()
    return published


def main(url):
    lines, turn = iter(sys.stdin), threading.Lock()
    with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as pool:
        publishers = [pool.submit(publish, url, lines, turn) for _ in range(CONNECTIONS)]
        published = sum(publisher.result() for publisher in publishers)
    print(f"{published} published and confirmed")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
