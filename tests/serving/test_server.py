"""The port that a server listens on."""

import socket

import pytest

from bayescascade import CascadeError
from bayescascade.serving.server import listen


def test_answers_do_not_wait_for_an_acknowledgement_of_their_headers():
    with listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_that_is_taken():
    with listen("127.0.0.1", 0) as listening, pytest.raises(CascadeError, match="choose another host or port"):
        listen("127.0.0.1", listening.getsockname()[1])
