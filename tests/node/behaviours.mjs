// What users of Google's client for Node rely on. Run by tests/e2e/test_node_client.py, which starts the broker:
//   PUBSUB_EMULATOR_HOST=127.0.0.1:8085 node behaviours.mjs NAME

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { PubSub } from "@google-cloud/pubsub";

const pubsub = new PubSub({ projectId: "p" });

async function topicWith(options = {}) {
  const [topic] = await pubsub.createTopic(`t-${randomUUID()}`);
  const [subscription] = await topic.createSubscription(`s-${randomUUID()}`, options);
  return { topic, subscription };
}

/** Collect messages until there are `count`; `act` decides what becomes of each. */
function receive(subscription, count, act = (message) => message.ack()) {
  return new Promise((resolve, reject) => {
    const received = [];
    subscription.on("error", reject);
    subscription.on("message", async (message) => {
      received.push(message);
      await act(message, received.length);
      if (received.length === count) resolve(received);
    });
  });
}

const texts = (messages) => messages.map((message) => message.data.toString());

const behaviours = {
  async publish_and_subscribe() {
    const { topic, subscription } = await topicWith();
    const received = receive(subscription, 100);
    for (let n = 0; n < 100; n++) topic.publishMessage({ data: Buffer.from(`${n}`), attributes: { n: `${n}` } });
    const numbers = texts(await received).map(Number).sort((a, b) => a - b);
    assert.deepEqual(numbers, [...Array(100).keys()]);
    await subscription.close();
  },

  async filter() {
    const { topic, subscription } = await topicWith({ filter: 'attributes.correlid = "me"' });
    const received = receive(subscription, 1);
    await topic.publishMessage({ data: Buffer.from("other"), attributes: { correlid: "you" } });
    await topic.publishMessage({ data: Buffer.from("mine"), attributes: { correlid: "me" } });
    assert.deepEqual(texts(await received), ["mine"]);
    await assert.rejects(topicWith({ filter: "nonsense" }), { code: 3 });
    await subscription.close();
  },

  async ordering() {
    const { topic, subscription } = await topicWith({ enableMessageOrdering: true });
    const ordered = pubsub.topic(topic.name, { messageOrdering: true });
    const received = receive(subscription, 30);
    for (let n = 0; n < 30; n++) ordered.publishMessage({ data: Buffer.from(`${n}`), orderingKey: "k" });
    assert.deepEqual(texts(await received), [...Array(30).keys()].map(String));
    await subscription.close();
  },

  async exactly_once() {
    const { topic, subscription } = await topicWith({ enableExactlyOnceDelivery: true });
    const answers = [];
    const received = receive(subscription, 3, async (message) => {
      answers.push(await message.ackWithResponse());
    });
    for (const text of "abc") topic.publishMessage({ data: Buffer.from(text) });
    await received;
    assert.deepEqual(answers, ["SUCCESS", "SUCCESS", "SUCCESS"]);
    await subscription.close();
  },

  async dead_letter() {
    const { topic: graves, subscription: grave } = await topicWith();
    const deadLetterPolicy = { deadLetterTopic: graves.name, maxDeliveryAttempts: 5 };
    const { topic, subscription } = await topicWith({ deadLetterPolicy });
    const letter = receive(grave, 1);
    const tried = receive(subscription, 5, (message) => message.nack());
    await topic.publishMessage({ data: Buffer.from("x") });
    assert.deepEqual((await tried).map((message) => message.deliveryAttempt), [1, 2, 3, 4, 5]);
    const [message] = await letter;
    assert.equal(message.attributes.CloudPubSubDeadLetterSourceDeliveryCount, "5");
    await subscription.close();
    await grave.close();
  },

  async flow_control() {
    const { topic, subscription } = await topicWith();
    for (let n = 0; n < 10; n++) await topic.publishMessage({ data: Buffer.from(`${n}`) });
    const limited = topic.subscription(subscription.name, {
      flowControl: { maxMessages: 2, allowExcessMessages: false },
      streamingOptions: { maxStreams: 1 },
    });
    const held = await receive(limited, 2, () => {});
    // The others are with the broker, not in the client: somebody else can have them.
    const others = await receive(subscription, 8);
    assert.deepEqual(new Set(texts([...held, ...others])).size, 10);
    held.forEach((message) => message.ack());
    await limited.close();
    await subscription.close();
  },

  async snapshot_and_seek() {
    const { topic, subscription } = await topicWith();
    const [snapshot] = await subscription.createSnapshot(`n-${randomUUID()}`);
    await topic.publishMessage({ data: Buffer.from("x") });
    await receive(subscription, 1);
    await subscription.close();
    await snapshot.seek();
    const again = topic.subscription(subscription.name);
    assert.deepEqual(texts(await receive(again, 1)), ["x"]);
    await again.close();
  },

  async schema() {
    const definition = JSON.stringify({ type: "record", name: "R", fields: [{ name: "a", type: "string" }] });
    const schema = await pubsub.createSchema(`c-${randomUUID()}`, "AVRO", definition);
    const [topic] = await pubsub.createTopic({
      name: `t-${randomUUID()}`,
      schemaSettings: { schema: await schema.getName(), encoding: "JSON" },
    });
    assert.ok(await topic.publishMessage({ data: Buffer.from('{"a": "text"}') }));
    await assert.rejects(topic.publishMessage({ data: Buffer.from('{"b": 1}') }), { code: 3 });
  },
};

const [name] = process.argv.slice(2);
if (name === "--list") {
  console.log(Object.keys(behaviours).join("\n"));
} else {
  await behaviours[name]();
}
await pubsub.close();
