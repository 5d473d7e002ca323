"""One measurement against one server, in a process of its own: `client.py NAME ADDRESS` prints JSON."""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

warnings.simplefilter("ignore")

import grpc  # noqa: E402
from google.auth.credentials import AnonymousCredentials  # noqa: E402
from google.cloud import pubsub_v1  # noqa: E402
from google.pubsub_v1 import types as T  # noqa: E402
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport  # noqa: E402
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport  # noqa: E402

BODY = b"x" * 100
WARM_UP = 50


class Server:
    """What every measurement needs: the bare methods, and a topic of its own."""

    def __init__(self, address: str) -> None:
        self.address = address
        channel = grpc.insecure_channel(address)
        self._publish = channel.unary_unary("/google.pubsub.v1.Publisher/Publish")
        anyone = AnonymousCredentials()
        self.publisher = PublisherGrpcTransport(channel=channel, credentials=anyone)
        self.subscriber = SubscriberGrpcTransport(channel=channel, credentials=anyone)
        self.topic = f"projects/p/topics/t-{uuid4().hex}"
        self.publisher.create_topic(T.Topic(name=self.topic))

    def subscribe(self, filter_: str = "") -> str:
        """Create a subscription."""
        name = f"projects/p/subscriptions/s-{uuid4().hex}"
        self.subscriber.create_subscription(T.Subscription(name=name, topic=self.topic, filter=filter_))
        return name

    def publish(self, **attributes: str) -> None:
        """Publish one message in one request."""
        self._publish(self.request(**attributes))

    def request(self, **attributes: str) -> bytes:
        """Return a request to publish one message, as it is sent."""
        message = T.PubsubMessage(data=BODY, attributes=attributes)
        request = T.PublishRequest(topic=self.topic, messages=[message])
        return bytes(T.PublishRequest.serialize(request))

    def publish_timed(self, **attributes: str) -> list[float]:
        """Return the seconds of each of a thousand requests; the making of a request is not counted."""
        request = self.request(**attributes)
        return timed(lambda: self._publish(request), 1000)


def one_message(server: Server) -> dict[str, float]:
    """One message in one request, to a topic with one subscription."""
    server.subscribe()
    return percentiles(server.publish_timed())


def callback(server: Server) -> dict[str, float]:
    """From the call of publish to the callback of `subscribe()`."""
    name = server.subscribe()
    arrived: queue.SimpleQueue[float] = queue.SimpleQueue()

    def receive(message: Any) -> None:
        arrived.put(time.perf_counter())
        message.ack()

    subscriber = pubsub_v1.SubscriberClient()
    streaming = subscriber.subscribe(name, receive)
    figures = []
    for _ in range(WARM_UP + 500):
        began_s = time.perf_counter()
        server.publish()
        figures.append(arrived.get(timeout=30) - began_s)
    streaming.cancel()
    streaming.result()
    return percentiles(figures[WARM_UP:])


def publish_many(server: Server, count: int = 20_000) -> dict[str, float]:
    """Messages a second that the ordinary client publishes, with one subscription."""
    server.subscribe()
    publisher = pubsub_v1.PublisherClient()
    began_s = time.perf_counter()
    for future in [publisher.publish(server.topic, BODY) for _ in range(count)]:
        future.result(60)
    return {"rate": count / (time.perf_counter() - began_s)}


def publish_and_consume(server: Server, count: int = 20_000) -> dict[str, float]:
    """Messages a second that one ordinary client publishes and another receives and acknowledges."""
    name = server.subscribe()
    left = threading.Semaphore(0)

    def receive(message: Any) -> None:
        message.ack()
        left.release()

    subscriber, publisher = pubsub_v1.SubscriberClient(), pubsub_v1.PublisherClient()
    streaming = subscriber.subscribe(name, receive)
    began_s = time.perf_counter()
    for _ in range(count):
        publisher.publish(server.topic, BODY)
    for _ in range(count):
        left.acquire()
    taken_s = time.perf_counter() - began_s
    streaming.cancel()
    streaming.result()
    return {"rate": count / taken_s}


def create_subscriptions(server: Server, count: int = 2000) -> dict[str, float]:
    """Subscriptions a second, each with a filter of its own."""
    began_s = time.perf_counter()
    for n in range(count):
        server.subscribe(f'attributes.correlid = "c{n}"')
    return {"rate": count / (time.perf_counter() - began_s)}


def crowd(server: Server) -> dict[str, float]:
    """Hold 2,000 filtered subscriptions and 100 streams until standard input ends."""
    names = [server.subscribe(f'attributes.correlid = "c{n}"') for n in range(2000)]
    ended = threading.Event()

    def opening(name: str) -> Any:
        yield T.StreamingPullRequest(subscription=name, stream_ack_deadline_seconds=10)
        ended.wait()

    streams = [server.subscriber.streaming_pull(opening(name)) for name in names[:100]]
    for n in range(100):  # each stream is there when it has received
        server.publish(correlid=f"c{n}")
    for stream in streams:
        next(stream)
    print("ready", flush=True)
    sys.stdin.read()
    ended.set()
    for stream in streams:
        stream.cancel()
    return {}


def filtered(server: Server) -> dict[str, float]:
    """One publish that one of 10, and one of 10,000, filtered subscriptions is for."""
    figures = {}
    made = 0
    for count in (10, 10_000):
        while made < count:
            server.subscribe(f'attributes.correlid = "c{made}"')
            made += 1
        figures[f"p50 of {count}"] = percentiles(server.publish_timed(correlid="c1"))["p50"]
    return figures


def timed(action: Callable[[], object], count: int) -> list[float]:
    """Return the seconds of each of `count` runs, after a warm-up."""
    figures = []
    for _ in range(WARM_UP + count):
        began_s = time.perf_counter()
        action()
        figures.append(time.perf_counter() - began_s)
    return figures[WARM_UP:]


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Return p50 and p95 in milliseconds."""
    ordered = sorted(seconds)
    return {f"p{p}": ordered[len(ordered) * p // 100] * 1e3 for p in (50, 95)}


MEASUREMENTS = {
    each.__name__: each
    for each in (
        one_message,
        callback,
        publish_many,
        publish_and_consume,
        create_subscriptions,
        crowd,
        filtered,
    )
}

if __name__ == "__main__":
    os.environ["PUBSUB_EMULATOR_HOST"] = sys.argv[2]
    print(json.dumps(MEASUREMENTS[sys.argv[1]](Server(sys.argv[2]))))
