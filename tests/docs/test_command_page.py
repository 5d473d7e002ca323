"""What the page about commands shows works as it stands there."""

from __future__ import annotations

import argparse
import json
import re
import shlex
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from httpx2 import ASGITransport, AsyncClient

from longcall.cli import serve_command
from longcall.cli.listening import add_listen
from longcall.contract import Completion, Progress, Succeeded, decode_report, is_completion
from longcall.service import Service, ServiceConfig
from longcall.transport import InboxSpec
from longcall.transport.memory import MemoryBackend, MemoryTransport

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "serve-a-command.md").read_text()
TOPIC = "projects/p/topics/completions"
INBOX = "projects/p/subscriptions/everything"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def _words(program: str) -> list[list[str]]:
    lines = [line.removeprefix("$ ") for block in _blocks("console") for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith(program)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("subcommand")
    for option in ("--host", "--port", "--topic", "--project"):
        parser.add_argument(option)
    add_listen(parser, what="listen")
    serve_command.add_options(parser)
    return parser


def _service(words: list[str]) -> Service:
    before, command = serve_command.split_command(words)
    assert command is not None
    return serve_command.make_service(command, _parser().parse_args(before))


@pytest.fixture(autouse=True)
def _script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "nightly.sh"
    script.write_text(_blocks("sh")[0])
    script.chmod(0o755)


async def _call(service: Service, path: str, body: str) -> list[Completion | object]:
    """Return what the reports of one call say."""
    transport = MemoryTransport(MemoryBackend())
    await transport.create_topic(TOPIC)
    await transport.create_inbox(InboxSpec(name=INBOX, topic=TOPIC, filter=""))
    app = service.asgi(ServiceConfig(topic=TOPIC, store="memory", drain_s=0), transport=transport)
    said: list[Completion | object] = []
    async with (
        transport.open_stream(INBOX, lease_s=600) as stream,
        app.router.lifespan_context(app),
        AsyncClient(transport=ASGITransport(app=app), base_url="http://service") as http,
    ):
        assert (await http.post(path, json=json.loads(body))).status_code == 202
        async for delivery in stream:
            report = decode_report(delivery.message)
            assert report is not None
            said.append(report.body)
            if is_completion(report.body):
                break
    await transport.aclose()
    return said


@pytest.mark.parametrize("number", [0, 1])
async def test_commands_of_the_page_do_what_it_shows(number: int) -> None:
    words, asked = _words("longcall serve")[number], _words("curl")[number]
    address = urlsplit(asked[2])
    said = await _call(_service(["serve", *words[1:]]), f"{address.path}?{address.query}", asked[4])
    completion = said[-1]
    assert isinstance(completion, Succeeded), completion
    assert completion.value() == json.loads(_blocks("json")[number])
    if number == 0:
        assert Progress(done=3, total=3, message="part 3") in said


async def test_python_of_the_page_works() -> None:
    names: dict[str, object] = {}
    exec(_blocks("python")[0], names)
    service = names["service"]
    assert isinstance(service, Service)
    said = await _call(service, "/nightly?correlid=a", '{"date": "2026-01-31"}')
    assert said[-1] == Succeeded(data=b'{"rows": 42}', content_type="application/json")


def test_listen_of_the_page_is_as_it_says() -> None:
    for value, host in ((":8080", "127.0.0.1"), ("0.0.0.0:8080", "0.0.0.0"), ("[::1]:8080", "::1")):
        args = _parser().parse_args(["serve", "--listen", value])
        assert (args.host, args.port) == (host, 8080)
    for value in ("8080x", ":", "[::1:80", ":99999"):
        with pytest.raises(SystemExit):
            _parser().parse_args(["serve", "--listen", value])


def test_only_serve_has_a_command() -> None:
    split = serve_command.split_command
    assert split(["serve", "--topic", "t", "--", "x", "--", "y"]) == (
        ["serve", "--topic", "t"],
        ["x", "--", "y"],
    )
    assert split(["--traceback", "serve", "m:s"]) == (["--traceback", "serve", "m:s"], None)
    assert split(["broker", "--", "x"]) == (["broker", "--", "x"], None)


def test_every_option_is_named_on_the_page() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    add_listen(parser, what="listen")
    serve_command.add_options(parser)
    own = {name for action in parser._actions for name in action.option_strings}
    assert len(own) == 10
    assert own <= set(re.findall(r"--[a-z][a-z-]+", PAGE))
