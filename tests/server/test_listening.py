"""Addresses as gRPC writes them; what cannot be listened on is seen in test_app.py."""

from eyespot.server.listening import written


def test_address_brackets_ipv6():
    assert written("::1", 7) == "[::1]:7"
    assert written("127.0.0.1", 8001) == "127.0.0.1:8001"
