"""The measurement of the side channel: its parts. Its result is up to `make sidechannel`."""

import json
import random
import socket

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import Fault
from securechat.wire.events import CallReceived, FaultReceived, NewReceived, ReplyReceived, ResultReceived
from securechat.wire.items import Head, Piece
from securechat.wire.shaping import UNIT
from sidechannel.__main__ import comparable, passes
from sidechannel.cells import CELLS, CONTRASTS, CONTROLS, SIZES, Cell, Sender, chosen
from sidechannel.classify import Verdict
from sidechannel.features import NAMES, features, lateness
from sidechannel.model import END, KINDS, reply
from sidechannel.observe import TOGETHER, Question, ask, is_end, messages
from sidechannel.pipe import Tap
from sidechannel.traces import RECORD, Sample, receive, timestamp
from tests.harness.pair import ABOUT, PQ, Pair

TICK = 0.1  # seconds


def sample(*pieces: tuple[float, int], label: str = "whole") -> Sample:
    return Sample(label, 0, list(pieces))


def named(found: list[float]) -> dict[str, float]:
    return dict(zip(NAMES, found, strict=True))


class FeatureTests(SynchronousTestCase):
    """The classifier's input."""

    def test_trace(self) -> None:
        """The features include sizes, gaps, counts and durations of the pieces of a reply."""
        found = named(features(sample((0.5, 532), (0.6, 532), (0.8, 1064)), TICK))
        self.assertEqual((found["pieces"], found["bytes"], found["first"]), (3, 2128, 500))
        self.assertAlmostEqual(found["duration"], 300)
        self.assertAlmostEqual(found["gap min"], 100)
        self.assertAlmostEqual(found["gap max"], 200)
        self.assertEqual((found["size min"], found["size max"]), (532, 1064))

    def test_single(self) -> None:
        """A reply of one piece has all features, too."""
        self.assertEqual(len(features(sample((0.1, 100)), TICK)), len(NAMES))

    def test_lateness(self) -> None:
        """A record is late by what it comes after its tick; two records in one piece are two ticks."""
        late = lateness(sample((0.2, RECORD), (0.303, RECORD), (0.5, 2 * RECORD)), TICK * 1000)
        for found, expected in zip(late, (0, 3, 100, 0), strict=True):
            self.assertAlmostEqual(found, expected)

    def test_concentration(self) -> None:
        """Steps of whole milliseconds are on one place of epoll's circle, random ones are everywhere."""
        drawn = random.Random(1)
        whole = [(k * TICK + drawn.choice((0.001, 0.002)), RECORD) for k in range(UNIT)]
        anywhere = [(k * TICK + drawn.uniform(0, 0.003), RECORD) for k in range(UNIT)]
        self.assertGreater(named(features(sample(*whole), TICK))["step concentration"], 0.99)
        self.assertLess(named(features(sample(*anywhere), TICK))["step concentration"], 0.5)

    def test_halves(self) -> None:
        """What changes in the middle of a reply is a feature."""
        pieces = [(k * TICK + (k >= UNIT // 2) * 0.001, RECORD) for k in range(UNIT)]
        self.assertAlmostEqual(named(features(sample(*pieces), TICK))["late mean, change"], 1)


class ModelTests(SynchronousTestCase):
    """The fake model server's replies."""

    def test_kinds(self) -> None:
        """A reply is reproducible, and those to all messages sent at once end well within the shortest train."""
        for name, contrast in CONTRASTS.items():
            for label in contrast.classes if contrast.robot == "openai" else ():
                for number in range(200):
                    asked = messages(label, number)
                    replies = [reply(text) for text in asked]
                    self.assertEqual(replies, [reply(text) for text in asked])
                    ticks = sum(pause for script in replies for pause, _word in script)
                    self.assertLess(ticks, 0.95 * UNIT, f"{name}: {label}")

    def test_sameEnd(self) -> None:
        """Kinds that differ only in how the text is spread over the reply end at the same time."""
        for kind in ("whole", "pieces", "half"):
            self.assertAlmostEqual(sum(pause for pause, _word in KINDS[kind](random.Random(1))), END)

    def test_topics(self) -> None:
        """The topics differ in length."""
        weather, illness = (
            sum(len(word) for number in range(200) for _pause, word in reply(f"{topic} {number}"))
            for topic in CONTRASTS["topics"].classes
        )
        self.assertGreater(illness, 1.1 * weather)


class QuestionTests(SynchronousTestCase):
    """What an observed client sends, and when it has its answer."""

    def test_message(self) -> None:
        """A message begins a new conversation."""
        pair = Pair(PQ).open()
        ask(pair.client, Question("weather", ["weather 1"]), None)
        new, said = pair.server.receive_data(pair.client.data_to_send())
        self.assertIsInstance(new, NewReceived)
        self.assertEqual(getattr(said, "text", None), "weather 1")

    def test_request(self) -> None:
        """An API request asks for a stream, or for the reply in one piece."""
        for stream in (True, False):
            pair = Pair(PQ, about=replace(ABOUT, api=True)).open()
            ask(pair.client, Question("weather", ["weather 1"]), stream)
            [call] = pair.server.receive_data(pair.client.data_to_send())
            assert isinstance(call, CallReceived)
            body = json.loads(call.body)
            self.assertEqual((body["stream"], body["messages"][-1]["content"]), (stream, "weather 1"))

    def test_end(self) -> None:
        """A reply or result ends with its last part; errors end the measurement."""
        self.assertFalse(is_end(ReplyReceived(1, "a", False)))
        self.assertTrue(is_end(ReplyReceived(1, "a", True)))
        self.assertFalse(is_end(ResultReceived(1, [Head(200, "a/b"), Piece(b"a")], False)))
        self.assertTrue(is_end(ResultReceived(1, [], True)))
        self.assertRaises(ConnectionError, is_end, FaultReceived(1, Fault.BUSY))
        self.assertRaises(ConnectionError, is_end, ResultReceived(1, [Head(404, "a/b")], False))


class TraceTests(SynchronousTestCase):
    """What is observed."""

    def test_records(self) -> None:
        """The number of records of a sample follows from its bytes."""
        self.assertEqual(sample((0.1, RECORD), (0.2, 2 * RECORD)).records, 3)

    def test_receive(self) -> None:
        """Bytes are received with the time at which they arrived, which is not that at which they are read."""
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
            other, _address = server.accept()
            with other:
                timestamp(client)
                moments = []
                for data in (b"first", b"second"):
                    other.sendall(data)
                    found, moment = receive(client)
                    self.assertEqual(found, data)
                    moments.append(moment)
        self.assertLessEqual(*moments)

    def test_pipe(self) -> None:
        """A client's records after the handshake are its messages and GOODBYE, and divide the server's into samples."""
        client, inward = socket.socketpair()
        outward, server = socket.socketpair()
        for end in (client, inward, outward, server):
            self.addCleanup(end.close)
        tap = Tap(inward, outward)
        hello = (1000).to_bytes(4, "big") + bytes(1000)

        def client_sends(data: bytes) -> None:
            client.sendall(data)
            self.assertTrue(tap.pass_on(inward))
            self.assertEqual(len(server.recv(len(data), socket.MSG_WAITALL)), len(data))

        def server_sends(records: int) -> None:
            server.sendall(bytes(records * RECORD))
            self.assertTrue(tap.pass_on(outward))

        client_sends(hello + bytes(RECORD))
        server_sends(1)
        client_sends(bytes(TOGETHER * RECORD))
        server_sends(2)
        client_sends(bytes(TOGETHER * RECORD))
        server_sends(3)
        client_sends(bytes(RECORD))
        server_sends(1)
        samples = tap.samples(["short", "long"], 0)
        self.assertEqual([(one.label, one.records) for one in samples], [("short", 2), ("long", 3)])
        with self.assertRaises(ConnectionError):
            tap.samples(["short"], 0)
        client.close()
        self.assertFalse(tap.pass_on(inward))


class VerdictTests(SynchronousTestCase):
    """What counts as a result."""

    shaped = Cell("c", CONTRASTS["topics"], 1, 20)
    control = Cell("c", CONTRASTS["topics"], 1, 20, Sender.UNSHAPED)

    def test_chance(self) -> None:
        """A result counts as chance if it is within three standard errors of one half."""
        for auc, is_chance in ((0.5, True), (0.55, True), (0.57, False), (0.43, False)):
            verdict = Verdict(auc, 0.5, 0.02, "first", auc)
            self.assertIs(passes(self.shaped, verdict), is_chance)
            self.assertFalse(passes(self.control, verdict))

    def test_caught(self) -> None:
        """A control passes if the classes are told apart."""
        verdict = Verdict(0.95, 0.5, 0.02, "first", 0.9)
        self.assertTrue(passes(self.control, verdict))
        self.assertFalse(passes(self.shaped, verdict))

    def test_comparable(self) -> None:
        """Replies of a longer bucket are left out, unless there are no buckets."""
        samples = [sample((0.1, UNIT * RECORD)), sample((0.1, 75 * RECORD))]
        self.assertEqual(comparable(self.shaped, samples), samples[:1])
        self.assertEqual(comparable(self.control, samples), samples)

    def test_cells(self) -> None:
        """Cells have different names, which choose them, and every kind of session is measured with every contrast."""
        everything = chosen([])
        self.assertEqual(len({cell.name for cell in everything}), len(everything))
        self.assertEqual(len(CELLS), len(CONTRASTS) * len(SIZES))
        self.assertEqual([cell.name for cell in chosen(["topics-20-100"])], ["topics-20-100"])
        self.assertEqual(chosen(["unshaped-*", "e*"]), CONTROLS)
        self.assertEqual(chosen(["nothing"]), [])
