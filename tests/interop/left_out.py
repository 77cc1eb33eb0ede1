"""The tests of kazoo's suite that are left out, by name, each with its reason. A row that matches no test fails the run."""

from __future__ import annotations

from fnmatch import fnmatchcase

LEFT_OUT: dict[str, str] = {
    "test_client.py::TestSSLClient::*": "TLS",
    "test_client.py::TestReconfig::*": "reconfig",
    "test_connection.py::TestReadOnlyMode::*": "read-only mode",
    "test_sasl.py::TestLegacySASLDigestAuthentication::*": "SASL",
    "test_sasl.py::TestSASLDigestAuthentication::*": "SASL",
    "test_sasl.py::TestSASLGSSAPIAuthentication::*": "SASL and Kerberos",
    "test_gevent_handler.py::*": "gevent",
    "test_eventlet_handler.py::*": "eventlet",
    "test_utils.py::*eventlet*": "eventlet",
}


def left_out(name: str) -> str | None:
    """Why this test (`file::class::name`) is not run; None if it is."""
    return next((reason for glob, reason in LEFT_OUT.items() if fnmatchcase(name, glob)), None)
