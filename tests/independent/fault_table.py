"""The complete table of the faults of a client or server."""

from tests.independent.call_faults import client_call_faults, server_call_faults
from tests.independent.faults import Fault
from tests.independent.hello_faults import hello_faults, welcome_faults
from tests.independent.proof_faults import certificate_faults, client_proof_faults, server_proof_faults
from tests.independent.record_faults import record_faults
from tests.independent.session_faults import client_session_faults, server_session_faults

FAULTS: dict[str, Fault] = {}
for _fault in (
    *hello_faults(),
    *welcome_faults(),
    *server_proof_faults(),
    *client_proof_faults(),
    *certificate_faults(),
    *record_faults("client"),
    *record_faults("server"),
    *client_session_faults(),
    *server_session_faults(),
    *client_call_faults(),
    *server_call_faults(),
):
    assert _fault.name not in FAULTS
    FAULTS[_fault.name] = _fault
