"""All values of a handshake and all records sealed or opened, for JSON test vectors."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.independent.schedule import HandshakeKeys, SessionKeys, Transcript, traffic_iv, traffic_key


@dataclass(frozen=True)
class Record:
    """One record with its traffic secret and seq."""

    side: str
    ts: bytes
    seq: int
    kind: int
    payload: bytes
    frame: bytes

    def as_json(self) -> dict[str, str | int]:
        return {
            "from": self.side,
            "ts": self.ts.hex(),
            "key": traffic_key(self.ts).hex(),
            "iv": traffic_iv(self.ts).hex(),
            "seq": self.seq,
            "type": self.kind,
            "payload": self.payload.hex(),
            "frame": self.frame.hex(),
        }


@dataclass
class Trace:
    """Filled during the handshake; ``values`` are named as in the specification."""

    values: dict[str, str] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)

    def add(self, **values: bytes | str) -> None:
        self.values |= {name: value.hex() if isinstance(value, bytes) else value for name, value in values.items()}

    def add_hex(self, values: Mapping[str, str]) -> None:
        self.values |= values

    def add_handshake_keys(self, keys: HandshakeKeys) -> None:
        self.add(
            prk=keys.prk,
            hs_client=keys.hs_client,
            hs_server=keys.hs_server,
            fin_client=keys.fin_client,
            fin_server=keys.fin_server,
            master=keys.master,
        )

    def add_session_keys(self, transcript: Transcript, keys: SessionKeys) -> None:
        self.add_hex({f"h{number}": value.hex() for number, value in enumerate(transcript.h)})
        self.add(app=keys.app, ts_client_0=keys.ts_client, ts_server_0=keys.ts_server, session_id=keys.session_id)

    def as_json(self) -> dict[str, object]:
        return {**self.values, "records": [record.as_json() for record in self.records]}
