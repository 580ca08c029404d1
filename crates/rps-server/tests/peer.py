"""Plays rock-paper-scissors against the house and in a duel, and checks every answer against the rule.

Written from PROTOCOL.md alone, by somebody who had not seen the server.

Usage: python3 peer.py SOLO_HOST:PORT DUEL_HOST:PORT WINDOW_SECONDS

Nobody else may play on the duel server meanwhile, and its window has to be shorter than 30 s.
"""

import collections
import random
import socket
import sys
import threading
import time

TIMEOUT_SECONDS = 30
MOVES = b"123"  # scissors, rock, paper: each beats the one before it, and the first beats the last
BAD_BYTES = bytes(set(range(256)) - set(MOVES + b"\r\n"))
BAD_BYTE_LIMIT = 16
ANY_OUTCOME = bytes.maketrans(b"xyz.", b"...?")


class Player:
    def __init__(self, address):
        self.socket = socket.create_connection(address, TIMEOUT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = self.socket.makefile("rb")

    def send(self, data):
        self.socket.sendall(data)

    def answers(self, count):
        """So many answers, or fewer if the server closes."""
        return self.stream.read(count)

    def last_answers(self):
        """Half-closes and reads to the end."""
        self.socket.shutdown(socket.SHUT_WR)
        return self.answers_to_end()

    def answers_to_end(self):
        with self.socket, self.stream:
            return self.stream.read()


def outcomes(mine, theirs):
    return bytes(b"xyz"[(my_move - their_move) % 3] for my_move, their_move in zip(mine, theirs))


def check(what, got, expected):
    if got != expected:
        raise ValueError(f"{what}: {got!r} instead of {expected!r}")


def check_even(what, pairs):
    """Each of the nine pairs within 15 % of its share: with 2,000 in each, that is 7 standard deviations."""
    counts = collections.Counter(pairs)
    share = sum(counts.values()) / 9
    if len(counts) < 9 or any(abs(count - share) > 0.15 * share for count in counts.values()):
        raise ValueError(f"{what} is uneven: {counts}")


def check_house(player):
    for move in MOVES * 30:
        player.send(bytes([move]))
        check("the answer to one move", player.answers(1).translate(ANY_OUTCOME), b".")
    moves = bytes(random.choices(MOVES, k=18000))
    # A server reads no further from whoever does not take its answers, so they are read while the rest is sent.
    sender = threading.Thread(target=player.send, args=(moves,))
    sender.start()
    answers = player.answers(len(moves))
    sender.join()
    check("the answers to many moves", (len(answers), answers.strip(b"xyz")), (len(moves), b""))
    house = bytes(MOVES[(move - MOVES[0] - b"xyz".index(answer)) % 3] for move, answer in zip(moves, answers))
    check_even("what the house shows against each move", zip(moves, house))
    check_even("what the house shows after each of its own", zip(house, house[1:]))
    player.send(b"\r\n1\r\n2\n\n3q\r1")
    check("the answers to 1, 2, 3, q, 1", player.last_answers().translate(ANY_OUTCOME), b"...e.")


def check_bad_bytes(address):
    for start in range(0, len(BAD_BYTES), BAD_BYTE_LIMIT):
        bad_bytes = BAD_BYTES[start : start + BAD_BYTE_LIMIT]
        player = Player(address)
        player.send(b"".join(bytes([bad_byte]) + b"1" for bad_byte in bad_bytes))
        full = len(bad_bytes) == BAD_BYTE_LIMIT  # then the server closes by itself, and the last move is not answered
        answers = player.answers_to_end() if full else player.last_answers()
        expected = (b"e." * len(bad_bytes))[: 2 * len(bad_bytes) - full]
        check(f"the answers to {bad_bytes!r}", answers.translate(ANY_OUTCOME), expected)


def check_round(one, other, one_moves, other_moves):
    one.send(one_moves)
    other.send(other_moves)
    for who, mine, theirs in ((one, one_moves, other_moves), (other, other_moves, one_moves)):
        check(f"the answers to {mine!r} against {theirs!r}", who.answers(len(mine)), outcomes(mine, theirs))


def check_duel(one, other, third, fourth, window):
    for _ in range(300):
        check_round(one, other, *(bytes([random.choice(MOVES)]) for _ in range(2)))
    check_round(other, one, *(bytes(random.choices(MOVES, k=500)) for _ in range(2)))
    one.send(b"1\r\nq2")
    other.send(b"13")
    check("the answers to 1, q, 2 and to 1, 3", (one.answers(3), other.answers(2)), (b"xez", b"xy"))

    third.send(b"3")
    check_round(one, other, b"1", b"2")  # partners stay partners: no move of theirs is judged against the third's
    fourth.send(b"1")
    check("the answers to 3 and 1", (third.answers(1), fourth.answers(1)), (b"z", b"y"))

    begin = time.monotonic()
    one.send(b"1")
    check("the answer to a move that nobody meets", one.answers(1), b"v")
    if time.monotonic() - begin < window:
        raise ValueError(f"void after {time.monotonic() - begin:.3f} s instead of {window} s")

    third.send(b"3")
    check("the answers to a partner that leaves", fourth.last_answers(), b"")
    other.send(b"1")  # the void has left this one without a partner too, so it meets the third
    check("the answers to 3 and 1 of new partners", (third.answers(1), other.answers(1)), (b"z", b"y"))

    other.send(b"12")
    other.socket.shutdown(socket.SHUT_WR)
    third.send(b"31")
    check("the answers to 1, 2 and half-close", (other.answers_to_end(), third.answers(2)), (b"yy", b"zz"))
    check("the answers after the last", [player.last_answers() for player in (one, third)], [b"", b""])


def main():
    solo, duel = ((host, int(port)) for host, _, port in (argument.rpartition(":") for argument in sys.argv[1:3]))
    try:
        check_house(Player(solo))
        check_bad_bytes(solo)
        check_duel(*(Player(duel) for _ in range(4)), float(sys.argv[3]))
    except (OSError, ValueError) as error:
        sys.exit(f"peer.py: {error}")
    print("all right")


if __name__ == "__main__":
    main()
