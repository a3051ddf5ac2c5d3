"""A connection under TLS is to others what a socket is: what could not go yet goes once, and an end is an end."""

import builders_ends as build


def test_what_could_not_go_is_sent_again_and_crosses_once() -> None:
    giving, taking = build.secured()
    sent, came, waits = bytes(range(256)) * (1 << 16), bytearray(), 0
    for each in (giving, taking):
        each.settimeout(0)
    left = memoryview(sent)
    room = memoryview(bytearray(1 << 20))
    while len(came) < len(sent):
        try:
            while left:
                left = left[giving.send(left) :]
        except BlockingIOError:
            waits += 1
        try:
            while count := taking.recv_into(room):
                came += room[:count]
        except BlockingIOError:
            pass
    assert waits
    assert came == sent
    for each in (giving, taking):
        each.close()


def test_the_end_of_the_connection_is_the_end_of_what_comes_however_it_ended() -> None:
    giving, taking = build.secured()
    giving.sendall(b"last")
    giving.close()
    assert taking.recv(100) == b"last"
    assert taking.recv(100) == b""
    taking.close()


def test_after_the_last_word_the_peer_is_heard_out_undeciphered() -> None:
    giving, taking = build.secured()
    taking.shutdown(1)
    giving.sendall(b"word")
    giving.close()
    heard = b""
    while more := taking.recv(100):
        heard += more
    assert heard
    assert b"word" not in heard
    taking.close()
