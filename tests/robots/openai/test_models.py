"""Lists of models, and the choice of one that chats."""

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import Fault, RobotError
from securechat.robots.openai.models import choose, models_in, only


class ModelsTests(SynchronousTestCase):
    """Lists of models, and the choice of one that chats."""

    def choose(self, models: Any, *unsuitable: str) -> str | None:
        return choose(models_in(json.dumps(models).encode()), unsuitable)

    def test_shapes(self) -> None:
        """A list may be bare or in an object, and its items objects or names."""
        lists: tuple[Any, ...] = (
            {"object": "list", "data": [{"id": "m", "object": "model"}]},
            [{"id": "m"}],
            ["m"],
            {"models": [{"name": "m", "model": "m"}]},
            {"result": [{"name": "m"}]},
            {"data": [None, 7, {}, {"id": ""}, {"id": None, "name": "m"}]},
            [{"id": "azureml://registries/x/models/m", "name": "m"}],
        )
        for models in lists:
            self.assertEqual(self.choose(models), "m")
        empty: tuple[Any, ...] = ([], {"data": []}, {"data": [7]})
        for models in empty:
            self.assertIsNone(self.choose(models))
        invalid: tuple[Any, ...] = ({}, 7, None, {"data": {}}, {"error": "x"})
        for wrong in invalid:
            error = self.assertRaises(RobotError, self.choose, wrong)
            self.assertEqual(error.fault, Fault.BROKEN_ANSWER)

    def test_capabilities(self) -> None:
        """If the list says what models are for, their names do not matter."""
        for other, chats in (
            ({"capabilities": ["embedding"]}, {"capabilities": ["completion", "vision"]}),
            (
                {"capabilities": {"completion_chat": False}},
                {"capabilities": {"completion_chat": True, "vision": False}},
            ),
            ({"capabilities": {"embeddings": True}}, {"capabilities": {"chat_completion": True, "embeddings": False}}),
            ({"type": "embedding"}, {"type": "chat"}),
            ({"type": "embeddings"}, {"type": "llm"}),
            ({"type": "image"}, {"type": "language"}),
            ({"model_type": "rerank"}, {"model_type": "LLM"}),
            ({"task": {"name": "Text Embeddings"}}, {"task": {"name": "Text Generation"}}),
            ({"task": "embeddings"}, {"task": "chat-completion"}),
            ({"endpoints": ["embed", "classify"]}, {"endpoints": ["generate", "chat"]}),
            ({"supportedGenerationMethods": ["embedContent"]}, {"supportedGenerationMethods": ["generateContent"]}),
            ({"supports_chat": False}, {"supports_chat": True, "supports_image_input": False}),
            (
                {"architecture": {"modality": "text->image", "input_modalities": ["text"]}},
                {"architecture": {"modality": "text+image->text", "output_modalities": ["text"]}},
            ),
        ):
            listed = [{"id": "first", **other}, {"id": "bge-second", **chats}]
            self.assertEqual(self.choose(listed), "bge-second", other)
            self.assertIsNone(self.choose(listed[:1]), other)
        self.assertEqual(self.choose([{"id": "m", "type": "model", "active": True, "supports_images": True}]), "m")

    def test_only(self) -> None:
        """A list can be limited to some models, of which it says the same as before."""
        lists = (
            (b'[{"id": "m" ,"n":1.0}, "o", null, "m"]', b'[{"id": "m" ,"n":1.0},"m"]'),
            (b'{"data":[{"id":"o"}],"n": 1.0,"models":[{"name":"m"},{"model":"m"}]}', None),
            (b'{"data":[7,[],{},{"id":["m"]}]}', b'{"data":[]}'),
        )
        second = b'{"data":[],"n":1.0,"models":[{"name":"m"},{"model":"m"}]}'
        for data, expected in lists:
            self.assertEqual(only(data, {"m", "x"}), expected or second)
        wrong = (b"", b"7", b"{}", b'{"data":{}}', b'{"data":[],"models":7}', b"{", b"\xff", b"[" * 100_000)
        for data in (*wrong, b'[{"id": "m\xff"}]', b'{"data": [], "x\xff": 1}'):
            self.assertRaises(RobotError, only, data, {"m"})

    def test_families(self) -> None:
        """If the list contains only names, known families of models that do not chat are skipped."""
        for name in (
            *("all-minilm", "all-minilm:latest", "bge-m3:latest", "BAAI/bge-large-en", "nomic-embed-text:v1.5"),
            *("text-embedding-3-small", "mxbai-embed-large", "snowflake-arctic-embed:22m", "intfloat/e5-large-v2"),
            *("multilingual-e5-large", "Alibaba-NLP/gte-Qwen2-7B-instruct", "jina-reranker-v2", "whisper-large-v3"),
            *("sentence-transformers/paraphrase-x", "tts-1", "dall-e-3", "omni-moderation-latest", "llama-guard3:8b"),
        ):
            self.assertEqual(self.choose([name, "qwen3:8b"]), "qwen3:8b", name)
            self.assertEqual(self.choose([name]), name)
        for name in ("gpt-4o", "gemma3:4b", "llama3.2", "deepseek-r1", "mistral-small", "glm-4.5", "claude-sonnet-4"):
            self.assertEqual(self.choose([name, "other"]), name)

    def test_unsuitable(self) -> None:
        """A model that the server refused is chosen only if there is no other."""
        self.assertEqual(self.choose(["a", "b"], "a"), "b")
        self.assertEqual(self.choose(["a", "b"], "a", "b"), "a")
