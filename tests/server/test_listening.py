"""Addresses as gRPC writes them; what cannot be listened on is seen in test_app.py."""

import socket

from eyespot.server.listening import check_address, reserve_port, written


def test_address_brackets_ipv6():
    assert written("::1", 7) == "[::1]:7"
    assert written("127.0.0.1", 8001) == "127.0.0.1:8001"


def test_a_port_that_is_held_is_free_for_those_who_name_it():
    with reserve_port("127.0.0.1") as holder:
        port = holder.getsockname()[1]
        check_address("127.0.0.1", port)
        with socket.create_server(("127.0.0.1", port)) as server:
            assert server.getsockname()[1] == port
