#!/usr/bin/env python3
"""Sends refused events from kindred.items.dead to kindred.items again, with pika.

Usage: send_dead_again.py amqp://user:password@host:5672/vhost [--reason WORD] [--most NUMBER]

Each is published with the routing key it had and taken out only when the broker has confirmed it.
With --reason only those with that x-kindred-reason; the others stay. The user must be allowed to
read kindred.items.dead and to write kindred.items.
"""

import argparse

import pika

DEAD = "kindred.items.dead"
EXCHANGE = "kindred.items"
OWN_HEADERS = ("x-kindred-reason", "x-kindred-detail", "x-kindred-routing-key")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("--reason", help="only events refused for this reason")
    parser.add_argument("--most", type=int, help="stop after so many")
    arguments = parser.parse_args()
    connection = pika.BlockingConnection(pika.URLParameters(arguments.url))
    channel = connection.channel()
    channel.confirm_delivery()
    # Only as many as there are now: events that are refused again are appended behind them.
    left = channel.queue_declare(DEAD, passive=True).method.message_count
    sent = 0
    while left and sent != arguments.most:
        left -= 1
        method, properties, body = channel.basic_get(DEAD)
        if method is None:
            break
        headers = properties.headers or {}
        if arguments.reason and headers.get("x-kindred-reason") != arguments.reason:
            continue  # not acknowledged: it goes back when the connection is closed
        properties.headers = {key: headers[key] for key in headers if key not in OWN_HEADERS}
        key = headers.get("x-kindred-routing-key", "")
        channel.basic_publish(EXCHANGE, key, body, properties, mandatory=True)
        channel.basic_ack(method.delivery_tag)
        sent += 1
    connection.close()
    print(f"{sent} sent again")


if __name__ == "__main__":
    main()
