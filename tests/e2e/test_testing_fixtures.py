"""What users' own tests get: a broker of their own, a look inside, and faults when they want them."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc
import pytest
from google.api_core.exceptions import DeadlineExceeded, InvalidArgument, ServiceUnavailable
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1 import PublisherClient as Requests
from google.pubsub_v1.types import PubsubMessage
from tests.e2e.processes import WAIT_S, wait_until_gone

from longcall.testing import BrokerProcess, InspectedBroker, NeverHappened

pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag is deprecated")

TOPIC = "projects/p/topics/work"
INBOX = "projects/p/subscriptions/inbox"


class Clients:
    """Google's clients, made as users make them: PUBSUB_EMULATOR_HOST says where."""

    def __init__(self) -> None:
        self.publisher = PublisherClient()
        self.subscriber = SubscriberClient()
        self.publisher.create_topic(name=TOPIC)
        self.subscriber.create_subscription(name=INBOX, topic=TOPIC)

    def publish(self, text: str, **options: Any) -> str:
        messages = [PubsubMessage(data=text.encode(), attributes={"a": "1"})]
        answer = Requests.publish(self.publisher, topic=TOPIC, messages=messages, **options)
        return answer.message_ids[0]

    def pull(self) -> list[Any]:
        answer = self.subscriber.pull(
            request={"subscription": INBOX, "max_messages": 100, "return_immediately": True}
        )
        return list(answer.received_messages)

    def texts(self) -> list[str]:
        return [received.message.data.decode() for received in self.pull()]

    def close(self) -> None:
        self.publisher.stop()
        self.publisher.transport.close()
        self.subscriber.close()


@pytest.fixture
def clients(longcall_broker: InspectedBroker) -> Iterator[Clients]:
    made = Clients()
    yield made
    made.close()


@pytest.fixture
def process_clients(longcall_broker_process: BrokerProcess) -> Iterator[Clients]:
    made = Clients()
    yield made
    made.close()


def test_what_happened_can_be_seen(longcall_broker: InspectedBroker, clients: Clients) -> None:
    message_id = clients.publish("x")
    (published,) = longcall_broker.published("work")
    assert (published.message_id, published.data, published.attributes) == (message_id, b"x", {"a": "1"})
    (received,) = clients.pull()
    clients.subscriber.modify_ack_deadline(
        subscription=INBOX, ack_ids=[received.ack_id], ack_deadline_seconds=0
    )
    (again,) = clients.pull()
    clients.subscriber.acknowledge(subscription=INBOX, ack_ids=[again.ack_id])
    assert [event.attempt for event in longcall_broker.delivered(INBOX)] == [1, 2]
    assert [event.message_id for event in longcall_broker.acknowledged("inbox")] == [message_id]
    happened = [event.what for event in longcall_broker.events()]
    assert happened == ["published", "delivered", "nacked", "delivered", "acknowledged"]


def test_waiting_ends_when_it_happens_and_says_what_did_not(
    longcall_broker: InspectedBroker, clients: Clients
) -> None:
    streaming = clients.subscriber.subscribe(INBOX, lambda message: message.ack())
    clients.publish("x")
    assert len(longcall_broker.wait_for("acknowledged", "inbox")) == 1
    streaming.cancel()
    streaming.result(WAIT_S)
    with pytest.raises(NeverHappened, match=r"inbox: 1 x nacked expected, 0 found.*acknowledged"):
        longcall_broker.wait_for("nacked", "inbox", timeout_s=0.1)


def test_time_can_be_advanced(longcall_broker: InspectedBroker, clients: Clients) -> None:
    clients.publish("x")
    clients.pull()
    assert clients.texts() == []
    longcall_broker.advance(11)
    assert clients.texts() == ["x"]
    assert [event.what for event in longcall_broker.events()][2] == "expired"


def test_dropped_message_is_accepted_and_never_delivered(
    longcall_broker: InspectedBroker, clients: Clients
) -> None:
    longcall_broker.drop(INBOX, times=1)
    clients.publish("lost")
    clients.publish("kept")
    assert clients.texts() == ["kept"]
    assert [event.what for event in longcall_broker.events()].count("dropped") == 1


def test_duplicate_is_delivered_twice_with_two_ack_ids(
    longcall_broker: InspectedBroker, clients: Clients
) -> None:
    longcall_broker.duplicate(times=1)
    clients.publish("x")
    (first,), (second,) = clients.pull(), clients.pull()
    assert first.message.message_id == second.message.message_id
    assert first.ack_id != second.ack_id


def test_delayed_message_comes_later(longcall_broker: InspectedBroker, clients: Clients) -> None:
    longcall_broker.delay(600, INBOX, times=1)
    clients.publish("late")
    clients.publish("early")
    assert clients.texts() == ["early"]
    longcall_broker.advance(600)
    assert "late" in clients.texts()


def test_reordered_message_is_overtaken_by_the_next(
    longcall_broker: InspectedBroker, clients: Clients
) -> None:
    longcall_broker.reorder(INBOX, times=1)
    for text in ("one", "two", "three"):
        clients.publish(text)
    assert clients.texts() == ["two", "one", "three"]


def test_refused_publish_is_retried_by_the_client(longcall_broker: InspectedBroker, clients: Clients) -> None:
    longcall_broker.refuse("Publish", "UNAVAILABLE", "not now", times=2)
    with pytest.raises(ServiceUnavailable, match="not now"):
        clients.publish("x", retry=None)
    assert clients.publisher.publish(TOPIC, b"y").result(WAIT_S)  # the second refusal is retried
    assert clients.texts() == ["y"]


def test_slow_method_exceeds_the_deadline_of_its_caller(
    longcall_broker: InspectedBroker, clients: Clients
) -> None:
    longcall_broker.slow("Publish", 60.0, times=1)
    with pytest.raises(DeadlineExceeded):
        clients.publish("x", retry=None, timeout=0.2)
    assert clients.publish("y")


def test_broken_stream_is_opened_again_and_nothing_is_lost(
    longcall_broker: InspectedBroker, clients: Clients
) -> None:
    received: SimpleQueue[bytes] = SimpleQueue()

    def receive(message: Any) -> None:
        message.ack()
        received.put(message.data)

    streaming = clients.subscriber.subscribe(INBOX, receive)
    clients.publish("one")
    assert received.get(timeout=WAIT_S) == b"one"
    assert longcall_broker.break_streams(INBOX) == 1
    clients.publish("two")
    assert received.get(timeout=WAIT_S) == b"two"
    streaming.cancel()
    streaming.result(WAIT_S)


def test_share_is_reproducible(longcall_broker: InspectedBroker, clients: Clients) -> None:
    kept = []
    for _ in range(2):
        longcall_broker.clear_faults()
        longcall_broker.drop(INBOX, share=0.5, seed=7)
        for n in range(20):
            clients.publish(f"{n}")
        kept.append(clients.texts())
        longcall_broker.clear_faults()
        clients.subscriber.seek(request={"subscription": INBOX, "time": {"seconds": 4_000_000_000}})
    assert kept[0] == kept[1]
    assert 0 < len(kept[0]) < 20


def test_fault_that_makes_no_sense_is_refused(longcall_broker: InspectedBroker) -> None:
    with pytest.raises(grpc.RpcError, match="share"):
        longcall_broker.drop(share=2)
    with pytest.raises(grpc.RpcError, match="no gRPC status"):
        longcall_broker.refuse("Publish", "SAD")


def test_crash_before_a_publish_loses_it_and_after_it_does_not(
    longcall_broker_process: BrokerProcess, process_clients: Clients
) -> None:
    for before, found in ((True, []), (False, ["x"])):
        longcall_broker_process.crash("Publish", before=before, times=1)
        with pytest.raises(ServiceUnavailable):
            process_clients.publish("x", retry=None)
        longcall_broker_process.wait_until_dead()
        longcall_broker_process.start()
        assert process_clients.texts() == found


def test_killed_broker_comes_back_with_what_it_had(
    longcall_broker_process: BrokerProcess, process_clients: Clients
) -> None:
    process_clients.publish("x")
    longcall_broker_process.kill()
    longcall_broker_process.start()
    assert process_clients.texts() == ["x"]


def test_broker_process_does_not_outlive_a_killed_test(tmp_path: Path) -> None:
    script = f"""
    import os
    from pathlib import Path
    from longcall.testing import BrokerProcess
    broker = BrokerProcess(Path({str(tmp_path)!r}))
    print(broker._process.pid, flush=True)
    os.kill(os.getpid(), 9)
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True, check=False
    )
    wait_until_gone(int(ran.stdout))


def test_ordinary_broker_has_no_testing_service() -> None:
    from longcall.testing import running_broker

    with running_broker() as address:
        broker = InspectedBroker(address)
        with pytest.raises(grpc.RpcError, match="UNIMPLEMENTED"):
            broker.events()
        broker.close()


def test_unknown_method_of_a_fault_strikes_never(longcall_broker: InspectedBroker, clients: Clients) -> None:
    longcall_broker.refuse("Telepathy")
    assert clients.publish("x")
    with pytest.raises(InvalidArgument):
        clients.subscriber.pull(subscription=INBOX, max_messages=0)
