"""Both ends against a model: in any order and any pieces, what is received is what was sent."""

from dataclasses import replace as replace_identity

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from securechat.conversation import Speaker, Turn
from securechat.errors import Fault, LocalProtocolError
from securechat.ssh.keys import SigningKey
from securechat.wire.client_connection import RECALL_BURST
from securechat.wire.connection import MAX_CHUNK, State
from securechat.wire.events import (
    CallReceived,
    CallRefused,
    CancelReceived,
    FaultReceived,
    GoodbyeReceived,
    HostKeyAsked,
    HostKeyReceived,
    MessageReceived,
    MessageRefused,
    NewReceived,
    RecallReceived,
    ReplyReceived,
    ResultReceived,
)
from securechat.wire.host_keys import announce
from securechat.wire.items import Head, Piece
from securechat.wire.messages import Call, Reason, encode
from securechat.wire.records import RecordType
from tests.harness.pair import ABOUT, PQ, RSA, USER_KEY, Pair, identity

TEXT = st.text(max_size=40) | st.integers(0, 1500).map(lambda size: "字" * size)
QUOTA = 6000  # bytes that a client's messages may take
NEXT = SigningKey.generate()
IDENTITY = replace_identity(identity(), next_host_key=NEXT)
API = replace(ABOUT, api=True, software=announce("test", NEXT.blob))
HEAD = encode(Head(200, "text/plain"))


class Session(RuleBasedStateMachine):
    """A session, and what each end should receive. Bytes are in transit until a rule delivers some of them."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[object] = []  # what the server should receive
        self.answered: list[tuple[str, int, object]] = []  # what the client should receive, with replies joined
        self.reply = ""  # the incomplete reply so far
        self.up = b""
        self.down = b""
        self.has_asked: bool | None = False  # for the next host key; None until a message takes the question along
        self.pair = Pair(PQ, about=API, quota=QUOTA, server_identity=IDENTITY).open()
        self.recalls = 0.0  # that were sent, less one for each minute
        self.forgotten = 0  # bytes of recalled turns
        self.has_begun = False  # the incomplete reply
        self.pair.server_events.clear()
        self.pair.client_events.clear()

    @precondition(lambda self: not self.said and not self.answered)
    @rule(suite=st.sampled_from([PQ, RSA]), anonymous=st.booleans())
    def start_anew(self, suite: object, anonymous: bool) -> None:
        suite_class = PQ if suite is PQ else RSA
        user_key = None if anonymous else USER_KEY
        self.pair = Pair(suite_class, about=API, user_key=user_key, quota=QUOTA, server_identity=IDENTITY).open()
        self.has_asked = False
        self.pair.server_events.clear()
        self.pair.client_events.clear()
        self.up = self.down = b""

    @precondition(lambda self: not self.pair.client.goodbye_sent and self.pair.client.next_say_id == 1)
    @rule()
    def ask_host_key(self) -> None:
        self.pair.client.ask_host_key()
        self.has_asked = None

    def expect(self, *events: object) -> None:
        """The server should receive these, after a question that they take along."""
        if self.has_asked is None:
            self.said.append(HostKeyAsked())
            self.has_asked = True
        self.said += events

    def owes_host_key(self) -> bool:
        return self.pair.server.owes_host_key and not self.pair.server.goodbye_sent

    @precondition(owes_host_key)
    @rule()
    def send_host_key(self) -> None:
        self.pair.server.send_host_key()
        self.answered.append(("host key", 0, NEXT.blob))

    def collect(self) -> None:
        self.up += self.pair.client.data_to_send()
        self.down += self.pair.server.data_to_send()

    @precondition(lambda self: not self.pair.client.goodbye_sent)
    @rule(text=TEXT)
    def say(self, text: str) -> None:
        message_id = self.pair.client.say(text)
        self.expect(MessageReceived(message_id, text))

    @precondition(lambda self: not self.pair.client.goodbye_sent)
    @rule(body=TEXT)
    def call(self, body: str) -> None:
        message_id = self.pair.client.call("models", body.encode())
        self.expect(CallReceived(message_id, "models", body.encode()))

    @precondition(lambda self: not self.pair.client.goodbye_sent)
    @rule(text=TEXT, texts=st.lists(TEXT, max_size=3))
    def recall(self, text: str, texts: list[str]) -> None:
        """What does not fit into the quota is dropped, and the message after it refused."""
        turns = [Turn(Speaker.ROBOT, text) for text in texts]
        client = self.pair.client
        if client.pending or self.recalls > RECALL_BURST - 1:
            try:
                client.say(text, turns)
            except LocalProtocolError:
                return
            raise AssertionError("turns were recalled at the wrong time")
        self.recalls += 1
        message_id = client.say(text, turns)
        self.expect(RecallReceived(turns), MessageReceived(message_id, text))

    @precondition(lambda self: not self.pair.client.goodbye_sent)
    @rule()
    def start_afresh(self) -> None:
        self.pair.client.start_afresh()
        self.said.append(NewReceived())

    @precondition(lambda self: not self.pair.client.goodbye_sent)
    @rule(message_id=st.integers(0, 5))
    def cancel(self, message_id: int) -> None:
        client = self.pair.client
        if client.next_reply_id <= message_id < client.next_say_id:
            self.said.append(CancelReceived(message_id))
        client.cancel(message_id)

    @precondition(lambda self: not self.pair.client.goodbye_sent)
    @rule()
    def pad_up(self) -> None:
        self.pair.client.pad()

    @precondition(lambda self: not self.pair.server.goodbye_sent)
    @rule()
    def pad_down(self) -> None:
        self.pair.server.pad()

    @rule(seconds=st.sampled_from([1.0, 901.0]))
    def wait(self, seconds: float) -> None:
        """Deliver everything before time passes: REKEYs of hours that arrive at once would exceed their limit."""
        self.carry_up(1 << 30)
        self.carry_down(1 << 30)
        self.pair.clock.advance(seconds)
        self.recalls = max(0.0, self.recalls - seconds / 60)

    def someone_waits(self) -> bool:
        server = self.pair.server
        return not server.goodbye_sent and server.next_reply_id < server.next_say_id

    @precondition(someone_waits)
    @rule(text=st.text(max_size=MAX_CHUNK // 4), last=st.booleans())
    def answer(self, text: str, last: bool) -> None:
        last = last or not text  # only the last chunk may be empty
        server = self.pair.server
        message_id = server.next_reply_id
        if server._pending[0][0] == RecordType.CALL:
            text = text[: MAX_CHUNK // 5]
            server.result(message_id, (b"" if self.has_begun else HEAD) + encode(Piece(text.encode())), last)
        else:
            server.reply(message_id, text.encode(), last)
        self.reply += text
        self.has_begun = not last
        if last:
            self.answered.append(("reply", message_id, self.reply))
            self.reply = ""

    @precondition(someone_waits)
    @rule(fault=st.sampled_from(Fault))
    def fail(self, fault: Fault) -> None:
        message_id = self.pair.server.next_reply_id
        self.pair.server.fault(message_id, fault)
        self.answered.append(("fault", message_id, fault))
        self.reply = ""
        self.has_begun = False

    @precondition(lambda self: not self.someone_waits() and not self.pair.server.goodbye_sent)
    @rule()
    def answer_too_early(self) -> None:
        try:
            self.pair.server.reply(self.pair.server.next_reply_id, b"", True)
        except LocalProtocolError:
            return
        raise AssertionError("a reply to nothing was sent")

    @precondition(lambda self: not self.pair.client.goodbye_sent)
    @rule(reason=st.sampled_from(Reason))
    def leave(self, reason: Reason) -> None:
        self.pair.client.goodbye(reason, self.pair.client.next_reply_id - 1)
        self.said.append(GoodbyeReceived(reason, self.pair.client.next_reply_id - 1))

    @precondition(lambda self: not self.pair.server.goodbye_sent)
    @rule(reason=st.sampled_from(Reason))
    def send_away(self, reason: Reason) -> None:
        self.pair.server.goodbye(reason, 0)
        self.answered.append(("goodbye", reason, 0))

    @rule(size=st.integers(1, 3000))
    def carry_up(self, size: int) -> None:
        self.collect()
        self.pair.to_server(self.up[:size])
        self.up = self.up[size:]

    @rule(size=st.integers(1, 3000))
    def carry_down(self, size: int) -> None:
        self.collect()
        self.pair.to_client(self.down[:size])
        self.down = self.down[size:]

    @rule()
    def forget(self) -> None:
        """The server remembers none of the turns."""
        size = self.recalled()
        self.pair.server.forget(size)
        self.forgotten += size

    def recalled(self) -> int:
        """The bytes of the recalled turns that the server has and did not forget."""
        recalls = [event for event in self.pair.server_events if isinstance(event, RecallReceived)]
        return sum(len(turn.text.encode()) for event in recalls for turn in event.turns) - self.forgotten

    @invariant()
    def the_server_heard_what_was_said(self) -> None:
        self.unheard()

    def unheard(self) -> list[object]:
        """What was said and is not heard yet."""
        said = list(self.said)
        for event in self.pair.server_events:
            expected = said.pop(0)
            if isinstance(event, MessageRefused):
                if isinstance(expected, RecallReceived):  # it was dropped
                    expected = said.pop(0)
                assert isinstance(expected, MessageReceived)
                assert event.id == expected.id
            elif isinstance(event, CallRefused):
                assert isinstance(expected, CallReceived)
                assert event.id == expected.id
            else:
                assert event == expected
        return said

    @invariant()
    def the_quota_is_what_is_kept(self) -> None:
        """What is taken of it is the size of the messages that were kept and whose replies have not ended."""
        server = self.pair.server
        taken = self.recalled() + len(server._message)
        for event in self.pair.server_events:
            if isinstance(event, MessageReceived) and event.id >= server.next_reply_id:
                taken += len(event.text.encode())
            if isinstance(event, CallReceived) and event.id >= server.next_reply_id:
                taken += len(encode(Call(event.path, event.body)))
        assert taken == self.pair.quota.taken <= QUOTA

    @invariant()
    def the_client_heard_the_answers(self) -> None:
        joined: list[tuple[str, int, object]] = []
        text, data = "", b""
        for event in self.pair.client_events:
            if isinstance(event, ReplyReceived):
                text += event.text
                if event.last:
                    joined.append(("reply", event.id, text))
                    text = ""
            elif isinstance(event, ResultReceived):
                data += b"".join(item.data for item in event.items if isinstance(item, Piece))
                if event.last:
                    joined.append(("reply", event.id, data.decode()))
                    data = b""
            elif isinstance(event, FaultReceived):
                joined.append(("fault", event.id, event.fault))
                text, data = "", b""
            elif isinstance(event, HostKeyReceived):
                joined.append(("host key", 0, event.successor))
            elif isinstance(event, GoodbyeReceived):
                joined.append(("goodbye", event.reason, event.id))
        assert joined == self.answered[: len(joined)]

    def teardown(self) -> None:
        self.collect()
        self.pair.to_server(self.up)
        self.pair.to_client(self.down)
        assert self.unheard() == []
        self.the_client_heard_the_answers()
        for end in (self.pair.client, self.pair.server):
            assert end.state in (State.OPEN, State.ENDED)
            end.close()
        assert self.pair.quota.taken == 0


class SessionTests(SynchronousTestCase):
    """The state machine, driven at random."""

    def test_anySequence(self) -> None:
        """Random sessions of up to 50 steps each."""
        run_state_machine_as_test(Session)
