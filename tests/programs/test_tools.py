"""Other people's programs through a daemon and ``securechat --serve``, as their users run them.

Each test starts its own daemon, client and model server, and makes many requests. A test is skipped if its program is
missing.
"""

import asyncio
import base64
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.harness.daemon import ENVIRON, MANY, Daemon
from tests.harness.model_server import ARGUMENTS, MODELS, TEXT, USAGE, VECTOR, ModelServer, completion
from tests.harness.serving_client import LIMIT, ServingClient

try:
    import openai
except ImportError:
    NO_OPENAI = "the package openai is not installed"
else:
    NO_OPENAI = ""
try:
    import httpx
except ImportError:
    NO_HTTPX = "the package httpx is not installed"
else:
    NO_HTTPX = ""
try:
    import ollama
except ImportError:
    NO_OLLAMA = "the package ollama is not installed"
else:
    NO_OLLAMA = ""

reactor: Any = installed

QUESTION = [{"role": "user", "content": "Hi"}]
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]
FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}}
IMAGE = "data:image/png;base64," + base64.b64encode(bytes(range(256)) * 400).decode()
UNPACED = ("--shaping", "off")  # requests do not wait for their moments
CANCEL_TIME = 10  # seconds, on a busy machine


class ToolTestCase(TestCase):
    """Starts what lies between a tool and a model."""

    timeout = 240

    async def start(self, *shaping: str) -> None:
        """Start the model server, the daemon and the client; with pacing, unless `shaping` turns it off."""
        self.model = ModelServer(reactor)
        port = reactor.listenTCP(0, self.model, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.daemon = Daemon(
            self.mktemp(),
            *("--robot", "openai", "-R", f"url=http://127.0.0.1:{port.getHost().port}/v1", "-R", "max-concurrent=50"),
            *("--api", "--call-burst", "1000", "--max-message", "2000000", *MANY, *shaping),
        )
        self.addCleanup(self.daemon.stop)
        await self.daemon.started()
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        self.client = ServingClient(directory, self.daemon.port)
        self.addCleanup(deferToThread, self.client.stop)
        await deferToThread(self.client.wait_for, "serving the API of")
        self.url = f"http://127.0.0.1:{self.client.port}"
        self.key = await deferToThread(self.client.key)

    async def upstreamClosed(self, number: int) -> None:
        """Wait until the model server has seen so many clients disconnect within a response."""
        for _attempt in range(CANCEL_TIME * 20):
            if len(self.model.lost) == number:
                return
            await deferLater(reactor, 0.05)
        self.fail(f"{len(self.model.lost)} of {number} responses were stopped")


class OpenAITests(ToolTestCase):
    """The package openai."""

    if NO_OPENAI:
        skip = NO_OPENAI

    async def start(self, *shaping: str) -> None:
        await super().start(*shaping)
        settings = {"base_url": f"{self.url}/v1", "api_key": self.key, "max_retries": 0, "timeout": LIMIT}
        self.settings: dict[str, Any] = settings
        self.sdk: Any = openai.OpenAI(http_client=openai.DefaultHttpxClient(trust_env=False), **settings)
        self.addCleanup(self.sdk.close)

    def chat(self, model: str = "tiny", **arguments: Any) -> Any:
        return self.sdk.chat.completions.create(model=model, messages=QUESTION, **arguments)

    async def test_sync(self) -> None:
        """Every kind of request, and of response; words that wait for a tick are joined."""
        await self.start()
        await deferToThread(self.use)
        self.assertFalse(any("authorization" in headers for headers in self.model.headers))

    def use(self) -> None:
        raw = self.sdk.chat.completions.with_raw_response.create(
            model="tiny", messages=QUESTION, extra_body={"unknown": [1, 2.50]}
        )
        self.assertEqual(json.loads(raw.text), completion())
        self.assertEqual(self.model.bodies[-1], {"model": "tiny", "messages": QUESTION, "unknown": [1, 2.5]})

        chunks = list(self.chat(stream=True, stream_options={"include_usage": True}))
        self.assertEqual("".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices), TEXT)
        self.assertEqual([chunk.choices[0].delta.role for chunk in chunks if chunk.choices].count("assistant"), 1)
        self.assertEqual([chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1], "stop")
        self.assertEqual([chunk.usage.total_tokens for chunk in chunks if chunk.usage], [USAGE["total_tokens"]])
        self.assertEqual({chunk.id for chunk in chunks}, {"chatcmpl-1"})
        self.assertFalse(any(chunk.usage for chunk in self.chat(stream=True)))

        (call,) = self.chat(tools=TOOLS).choices[0].message.tool_calls
        self.assertEqual((call.id, call.function.arguments), ("call_1", "".join(ARGUMENTS)))
        with self.sdk.chat.completions.stream(model="tiny", messages=QUESTION, tools=TOOLS) as stream:
            (call,) = stream.get_final_completion().choices[0].message.tool_calls
        self.assertEqual((call.id, call.function.name), ("call_1", "weather"))
        self.assertEqual(json.loads(call.function.arguments), {"city": "Genf", "days": 3})
        self.assertEqual(self.model.bodies[-1]["tools"], TOOLS)

        self.chat(response_format=FORMAT, seed=7)
        self.assertEqual((self.model.bodies[-1]["response_format"], self.model.bodies[-1]["seed"]), (FORMAT, 7))

        content = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": IMAGE}}]
        messages = [{"role": "user", "content": content}]
        self.sdk.chat.completions.create(model="tiny", messages=messages)
        self.assertEqual(self.model.bodies[-1]["messages"], messages)

        embeddings = self.sdk.embeddings.create(model="tiny", input=["a", "b"]).data
        self.assertEqual([tuple(item.embedding) for item in embeddings], [VECTOR, VECTOR])
        floats = self.sdk.embeddings.create(model="tiny", input="a", encoding_format="float").data
        self.assertEqual([tuple(item.embedding) for item in floats], [VECTOR])

        self.assertEqual(self.sdk.completions.create(model="tiny", prompt="Hi").choices[0].text, TEXT)
        parts = self.sdk.completions.create(model="tiny", prompt="Hi", stream=True)
        self.assertEqual("".join(part.choices[0].text for part in parts), TEXT)

        self.assertEqual(self.sdk.responses.create(model="tiny", input="Hi").output_text, TEXT)
        events = list(self.sdk.responses.create(model="tiny", input="Hi", stream=True))
        self.assertEqual("".join(event.delta for event in events if event.type.endswith(".delta")), TEXT)
        self.assertEqual((events[0].type, events[-1].type), ("response.created", "response.completed"))
        with self.sdk.responses.stream(model="tiny", input="Hi") as response:
            self.assertEqual(response.get_final_response().output_text, TEXT)

        self.assertEqual([model.id for model in self.sdk.models.list()], list(MODELS))
        self.assertEqual(self.sdk.models.retrieve(MODELS[-1]).id, MODELS[-1])

    async def test_async(self) -> None:
        """Ten streams at once are not mixed up. Those that are cancelled are stopped at the model server."""
        await self.start(*UNPACED)
        await deferToThread(asyncio.run, self.use_async())
        await self.upstreamClosed(3)

    async def use_async(self) -> None:
        client = openai.DefaultAsyncHttpxClient(trust_env=False)
        async with openai.AsyncOpenAI(http_client=client, **self.settings) as sdk:

            async def read() -> str:
                stream = await sdk.chat.completions.create(model="tiny", messages=QUESTION, stream=True)
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

            self.assertEqual(await asyncio.gather(*(read() for _ in range(10))), [TEXT] * 10)

            async with sdk.chat.completions.stream(model="endless", messages=QUESTION) as stream:
                async for event in stream:
                    if event.type == "content.delta":
                        break

            for arguments in ({}, {"stream": True}):
                asked = len(self.model.bodies)
                silent = asyncio.create_task(
                    sdk.chat.completions.create(model="silent", messages=QUESTION, **arguments)
                )
                while len(self.model.bodies) == asked:
                    await asyncio.sleep(0.01)
                silent.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await silent

    async def test_errors(self) -> None:
        """Each error is an exception of its own class. No response that was cut off looks complete."""
        await self.start(*UNPACED)
        await deferToThread(self.fail_whole)
        await deferToThread(self.fail_streams)
        self.assertNotIn("sk-0123456789", self.client.errors.read_text() + self.daemon.text())

    def fail_whole(self) -> None:
        cases = {
            "refused": (openai.BadRequestError, 400, "temperature is too high"),
            "missing": (openai.NotFoundError, 404, "no such model"),
            "busy": (openai.RateLimitError, 429, "slow down"),
            "broken": (openai.InternalServerError, 500, "out of memory"),
            "key": (openai.InternalServerError, 502, "the robot cannot carry out this request"),
        }
        for arguments in ({}, {"stream": True}):
            for model, (kind, status, text) in cases.items():
                with self.assertRaises(kind) as caught:
                    self.chat(model, **arguments)
                self.assertEqual(caught.exception.status_code, status)
                self.assertIn(text, str(caught.exception))
                self.assertNotIn("sk-0123456789", repr(caught.exception.body))
                if model == "busy":
                    self.assertEqual(caught.exception.response.headers["retry-after"], "7")

        asked = len(self.model.bodies)
        stranger = self.sdk.with_options(api_key="sc-wrong")
        with self.assertRaises(openai.AuthenticationError):
            stranger.models.list()
        with self.assertRaises(openai.PermissionDeniedError):
            self.chat(extra_headers={"Origin": "https://evil.example"})
        with self.assertRaises(openai.NotFoundError):
            self.sdk.images.generate(prompt="a cat")
        with self.assertRaises(openai.APIStatusError) as caught:
            self.chat(user="x" * 2_000_000)
        self.assertEqual(caught.exception.status_code, 413)
        self.assertEqual(len(self.model.bodies), asked)

    def fail_streams(self) -> None:
        for model, text in (("fails late", "out of memory"), ("cut", "the response is incomplete")):
            chunks = self.chat(model, stream=True)
            with self.assertRaisesRegex(openai.APIError, text):
                for chunk in chunks:
                    self.assertIsNone(chunk.choices[0].finish_reason)

        chunks = self.chat("endless", stream=True)
        next(chunks)
        self.daemon.process.kill()
        with self.assertRaises(openai.APIConnectionError):
            list(chunks)
        self.client.wait_for("no connection to the server")
        with self.assertRaises(openai.InternalServerError) as caught:
            self.chat()
        self.assertEqual(caught.exception.status_code, 503)
        self.assertIn("retry-after", caught.exception.response.headers)


NODE_SCRIPT = """
const OpenAI = require('openai');
const sdk = new OpenAI({maxRetries: 0});
const messages = [{role: 'user', content: 'Hi'}];
const tools = [{type: 'function', function: {name: 'weather', parameters: {type: 'object', properties: {}}}}];
(async () => {
  const result = {};
  result.whole = await sdk.chat.completions.create({model: 'tiny', messages});
  result.text = '';
  for await (const chunk of await sdk.chat.completions.create({model: 'tiny', messages, stream: true}))
    result.text += chunk.choices[0].delta.content ?? '';
  const stream = sdk.chat.completions.stream({model: 'tiny', messages, tools});
  result.arguments = (await stream.finalChatCompletion()).choices[0].message.tool_calls[0].function.arguments;
  result.response = '';
  for await (const event of await sdk.responses.create({model: 'tiny', input: 'Hi', stream: true}))
    if (event.type === 'response.output_text.delta') result.response += event.delta;
  result.vectors = (await sdk.embeddings.create({model: 'tiny', input: ['a', 'b']})).data.map(item => item.embedding);
  result.models = (await sdk.models.list()).data.map(model => model.id);
  result.errors = [];
  for (const model of ['refused', 'missing', 'busy', 'broken'])
    await sdk.chat.completions.create({model, messages}).catch(error => result.errors.push(error.status));
  for (const model of ['fails late', 'cut']) try {
    for await (const chunk of await sdk.chat.completions.create({model, messages, stream: true}));
    result.errors.push('none');
  } catch (error) { result.errors.push(error.constructor.name); }
  for await (const chunk of await sdk.chat.completions.create({model: 'endless', messages, stream: true})) break;
  console.log(JSON.stringify(result));
})();
"""


def node_misses() -> str:
    """Why node's package openai cannot be used; empty if it can."""
    if shutil.which("node") is None:
        return "node is not installed"
    done = subprocess.run(["node", "-e", "require('openai')"], capture_output=True, check=False)
    return "node's package openai is not installed" if done.returncode else ""


class FurtherTests(ToolTestCase):
    """Programs beside the package openai."""

    async def run_program(self, *command: str, **environ: str) -> tuple[int, str]:
        """The exit status and the output of a program."""

        def run() -> subprocess.CompletedProcess[bytes]:
            env = {**ENVIRON, "no_proxy": "*", **environ}
            return subprocess.run(command, env=env, stdout=subprocess.PIPE, timeout=LIMIT, check=False)

        done = await deferToThread(run)
        return done.returncode, done.stdout.decode()

    async def test_curl(self) -> None:
        """curl, with the options of the documentation."""
        if shutil.which("curl") is None:
            self.skipTest("curl is not installed")
        await self.start(*UNPACED)
        common = ("curl", "--silent", "--fail-with-body", "--header", f"Authorization: Bearer {self.key}")
        kind = ("--header", "Content-Type: application/json", "--data-binary")
        url = f"{self.url}/v1/chat/completions"
        whole = {"model": "tiny", "messages": QUESTION}
        status, output = await self.run_program(*common, url, *kind, json.dumps(whole))
        self.assertEqual((status, json.loads(output)), (0, completion()))
        status, output = await self.run_program(
            *common, "--no-buffer", url, *kind, json.dumps(whole | {"stream": True})
        )
        *events, done, end = output.split("\n\n")
        self.assertEqual((status, done, end), (0, "data: [DONE]", ""))
        deltas = [json.loads(event.removeprefix("data: "))["choices"][0]["delta"] for event in events]
        self.assertEqual("".join(delta.get("content", "") for delta in deltas), TEXT)
        big = Path(self.mktemp())
        big.write_text(json.dumps(whole | {"user": "x" * 1_500_000}))  # curl sends Expect: 100-continue
        status, output = await self.run_program(*common, url, *kind, f"@{big}")
        self.assertEqual((status, json.loads(output)), (0, completion()))
        status, output = await self.run_program(*common[:3], f"{self.url}/v1/models")
        self.assertEqual((status, json.loads(output)["error"]["code"]), (22, "invalid_api_key"))
        status, output = await self.run_program(*common, url, "--data-binary", json.dumps(whole))
        self.assertEqual((status, json.loads(output)["error"]["type"]), (22, "invalid_request_error"))

    async def test_httpx(self) -> None:
        """httpx: HTTP as it is, with connections that are kept, and a body that is sent in chunks."""
        if NO_HTTPX:
            self.skipTest(NO_HTTPX)
        await self.start(*UNPACED)
        await deferToThread(self.use_httpx)
        await self.upstreamClosed(1)

    def use_httpx(self) -> None:
        headers = {"Authorization": f"Bearer {self.key}"}
        with httpx.Client(base_url=self.url, headers=headers, trust_env=False, timeout=LIMIT) as client:
            self.assertEqual(client.head("/", headers={"Authorization": ""}).status_code, 200)
            body = json.dumps({"model": "tiny", "messages": QUESTION, "stream": True}).encode()
            chunks = (body[start : start + 7] for start in range(0, len(body), 7))
            kind = {"Content-Type": "application/json"}
            with client.stream("POST", "/v1/chat/completions", content=chunks, headers=kind) as response:
                self.assertEqual(response.status_code, 200)
                self.assertEqual(response.headers["content-type"], "text/event-stream; charset=utf-8")
                self.assertEqual(response.headers["cache-control"], "no-cache")
                lines = [line for line in response.iter_lines() if line]
            self.assertEqual(lines[-1], "data: [DONE]")
            self.assertTrue(all(line.startswith("data: ") for line in lines))
            forbidden = {"set-cookie", "server", "location", "content-encoding", "access-control-allow-origin"}
            response = client.get("/v1/models")
            self.assertEqual(forbidden & set(response.headers), set())
            endless = {"model": "endless", "messages": QUESTION, "stream": True}
            with client.stream("POST", "/v1/chat/completions", json=endless) as response:
                next(response.iter_lines())

    async def test_ollama(self) -> None:
        """The package ollama, through the whole path to a server that only has OpenAI's interface."""
        if NO_OLLAMA:
            self.skipTest(NO_OLLAMA)
        await self.start(*UNPACED)
        await deferToThread(self.use_ollama)

    def use_ollama(self) -> None:
        client: Any = ollama.Client(self.url, headers={"Authorization": f"Bearer {self.key}"}, trust_env=False)
        self.addCleanup(client.close)
        self.assertEqual([model.model for model in client.list().models], list(MODELS))
        self.assertEqual(client.chat("tiny", QUESTION).message.content, TEXT)
        parts = list(client.chat("tiny", QUESTION, stream=True))
        self.assertEqual("".join(part.message.content or "" for part in parts), TEXT)
        self.assertEqual([part.done for part in parts].index(True), len(parts) - 1)
        (call,) = client.chat("tiny", QUESTION, tools=TOOLS).message.tool_calls
        self.assertEqual(dict(call.function.arguments), {"city": "Genf", "days": 3})
        with self.assertRaises(ollama.ResponseError) as caught:
            client.chat("missing", QUESTION)
        self.assertEqual(caught.exception.status_code, 404)
        with self.assertRaises(ollama.ResponseError):
            list(client.chat("cut", QUESTION, stream=True))

    async def test_node(self) -> None:
        """The package openai of node, including its way to cancel a stream by leaving its loop."""
        if missing := await deferToThread(node_misses):
            self.skipTest(missing)
        await self.start(*UNPACED)
        paths = {name: os.environ[name] for name in ("NODE_PATH",) if name in os.environ}
        environ = {"OPENAI_BASE_URL": f"{self.url}/v1", "OPENAI_API_KEY": self.key, **paths}
        status, output = await self.run_program("node", "-e", NODE_SCRIPT, **environ)
        self.assertEqual(status, 0)
        result = json.loads(output)
        self.assertEqual(result["whole"], completion())
        self.assertEqual((result["text"], result["response"]), (TEXT, TEXT))
        self.assertEqual(json.loads(result["arguments"]), {"city": "Genf", "days": 3})
        self.assertEqual((result["vectors"], result["models"]), ([list(VECTOR)] * 2, list(MODELS)))
        self.assertEqual(result["errors"], [400, 404, 429, 500, "APIError", "APIError"])
        await self.upstreamClosed(1)
