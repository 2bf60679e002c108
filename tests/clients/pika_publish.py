#!/usr/bin/env python3
"""Publishes events from standard input, one JSON object a line, with pika.

Usage: pika_publish.py amqp://user:password@host:5672/vhost < events.ndjson

Waits until the exchange is there, publishes each event with its domain as routing key, and waits
for the broker's confirm of each.
"""

import json
import sys
import time

import pika
import pika.exceptions

EXCHANGE = "kindred.items"
WAIT_SECONDS = 120


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


def main(url):
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = channel_with_exchange(connection)
    properties = pika.BasicProperties(content_type="application/json", delivery_mode=2)
    published = 0
    for line in sys.stdin:
        domain = json.loads(line)["domain"]
        channel.basic_publish(EXCHANGE, domain, line.encode(), properties, mandatory=True)
        published += 1
    connection.close()
    print(f"{published} published and confirmed")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
