"""How a command connects, and what it says when it cannot."""

import pytest

from eyespot.cli.connection import _reason


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ("last error: a: b: Socket closed", "may want TLS"),
        ("Tls handshake failed: error:1000007d:SSL: CERTIFICATE_VERIFY_FAILED: x: OK", "authority"),
        ("Hostname Verification Check failed.", "another name"),
        ("error:100000f7:WRONG_VERSION_NUMBER: y: OK", "does not speak TLS"),
        ("last error: x: Connection refused", "connection refused"),
    ],
)
def test_why_no_connection_came_about_is_told_plainly(details, expected):
    assert expected in _reason(details)
