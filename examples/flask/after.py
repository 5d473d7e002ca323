"""The same, durable: a killed service goes on with its calls, and their completions always arrive."""

import os
import time

from flask import Flask

from longcall.service import Call, Result, Service
from longcall.service.flask import blueprint

app = Flask(__name__)
service = Service("article")


@service.handler("/serve")
def work(call: Call) -> Result:
    time.sleep(10)
    return Result(data=b"Work Done!", content_type="text/plain")


app.register_blueprint(blueprint(service))

if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(os.environ["PORT"]))
