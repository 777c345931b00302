"""Both ends against a model: in any order and any pieces, what is received is what was sent."""

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import Fault, LocalProtocolError
from securechat.wire.connection import MAX_CHUNK, State
from securechat.wire.events import (
    CancelReceived,
    FaultReceived,
    GoodbyeReceived,
    MessageReceived,
    MessageRefused,
    NewReceived,
    ReplyReceived,
)
from securechat.wire.messages import Reason
from tests.harness.pair import PQ, RSA, USER_KEY, Pair

TEXT = st.text(max_size=40) | st.integers(0, 1500).map(lambda size: "字" * size)
QUOTA = 6000  # bytes that a client's messages may take


class Session(RuleBasedStateMachine):
    """A session, and what each end should receive. Bytes are in transit until a rule delivers some of them."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[object] = []  # what the server should receive
        self.answered: list[tuple[str, int, object]] = []  # what the client should receive, with replies joined
        self.reply = ""  # the incomplete reply so far
        self.up = b""
        self.down = b""
        self.pair = Pair(PQ, quota=QUOTA).open()
        self.pair.server_events.clear()
        self.pair.client_events.clear()

    @precondition(lambda self: not self.said and not self.answered)
    @rule(suite=st.sampled_from([PQ, RSA]), anonymous=st.booleans())
    def start_anew(self, suite: object, anonymous: bool) -> None:
        suite_class = PQ if suite is PQ else RSA
        self.pair = Pair(suite_class, user_key=None if anonymous else USER_KEY, quota=QUOTA).open()
        self.pair.server_events.clear()
        self.pair.client_events.clear()
        self.up = self.down = b""

    def collect(self) -> None:
        self.up += self.pair.client.data_to_send()
        self.down += self.pair.server.data_to_send()

    @precondition(lambda self: not self.pair.client.goodbye_sent)
    @rule(text=TEXT)
    def say(self, text: str) -> None:
        message_id = self.pair.client.say(text)
        self.said.append(MessageReceived(message_id, text))

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

    def someone_waits(self) -> bool:
        server = self.pair.server
        return not server.goodbye_sent and server.next_reply_id < server.next_say_id

    @precondition(someone_waits)
    @rule(text=st.text(max_size=MAX_CHUNK // 4), last=st.booleans())
    def answer(self, text: str, last: bool) -> None:
        last = last or not text  # only the last chunk may be empty
        message_id = self.pair.server.next_reply_id
        self.pair.server.reply(message_id, text.encode(), last)
        self.reply += text
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

    @invariant()
    def the_server_heard_what_was_said(self) -> None:
        heard = self.pair.server_events
        for event, said in zip(heard, self.said, strict=False):
            if isinstance(event, MessageRefused):
                assert isinstance(said, MessageReceived)
                assert event.id == said.id
            else:
                assert event == said
        assert len(heard) <= len(self.said)

    @invariant()
    def the_quota_is_what_is_kept(self) -> None:
        """What is taken of it is the size of the messages that were kept and whose replies have not ended."""
        server = self.pair.server
        kept = [event for event in self.pair.server_events if isinstance(event, MessageReceived)]
        taken = sum(len(event.text.encode()) for event in kept if event.id >= server.next_reply_id)
        taken += len(server._message or b"")
        assert taken == self.pair.quota.taken <= QUOTA

    @invariant()
    def the_client_heard_the_answers(self) -> None:
        joined: list[tuple[str, int, object]] = []
        text = ""
        for event in self.pair.client_events:
            if isinstance(event, ReplyReceived):
                text += event.text
                if event.last:
                    joined.append(("reply", event.id, text))
                    text = ""
            elif isinstance(event, FaultReceived):
                joined.append(("fault", event.id, event.fault))
                text = ""
            elif isinstance(event, GoodbyeReceived):
                joined.append(("goodbye", event.reason, event.id))
        assert joined == self.answered[: len(joined)]

    def teardown(self) -> None:
        self.collect()
        self.pair.to_server(self.up)
        self.pair.to_client(self.down)
        assert len(self.pair.server_events) == len(self.said)
        self.the_server_heard_what_was_said()
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
