"""The pattern as first described: bare Flask, a thread, one publish. A restart forgets every call."""

import os
import threading
import time

from flask import Flask, request
from google.cloud import pubsub_v1

app = Flask(__name__)


def work(correlid: str) -> None:
    time.sleep(10)
    publisher = pubsub_v1.PublisherClient()
    topic = publisher.topic_path(os.environ["GOOGLE_CLOUD_PROJECT"], os.environ["GCP_TOPIC"])
    publisher.publish(topic, b"Work Done!", correlid=correlid).result()


@app.post("/serve")
def serve() -> str:
    threading.Thread(target=work, args=(request.args["correlid"],)).start()
    return f"Hello {request.get_data(as_text=True)}"


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(os.environ["PORT"]))
