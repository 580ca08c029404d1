"""Plays rock-paper-scissors against the house and in a duel, and checks each reply against the rule.

It was written from PROTOCOL.md alone, without knowledge of the server's code.

Usage: python3 peer.py SOLO_HOST:PORT DUEL_HOST:PORT WINDOW_SECONDS

The duel must have no other players meanwhile, and its window must be shorter than 30 s.
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

    def replies(self, count):
        """Reads `count` replies, or fewer if the server closes."""
        return self.stream.read(count)

    def last_replies(self):
        """Half-closes and reads to the end."""
        self.socket.shutdown(socket.SHUT_WR)
        return self.replies_to_end()

    def replies_to_end(self):
        with self.socket, self.stream:
            return self.stream.read()


def outcomes(mine, theirs):
    return bytes(b"xyz"[(my_move - their_move) % 3] for my_move, their_move in zip(mine, theirs))


def check(label, got, expected):
    if got != expected:
        raise ValueError(f"{label}: {got!r} instead of {expected!r}")


def check_even(label, pairs):
    """Checks that each of the nine pairs is within 15 % of its share: 7 standard deviations with 2,000 of each pair."""
    counts = collections.Counter(pairs)
    share = sum(counts.values()) / 9
    if len(counts) < 9 or any(abs(count - share) > 0.15 * share for count in counts.values()):
        raise ValueError(f"uneven distribution of {label}: {counts}")


def check_house(player):
    for move in MOVES * 30:
        player.send(bytes([move]))
        check("the reply to one move", player.replies(1).translate(ANY_OUTCOME), b".")
    moves = bytes(random.choices(MOVES, k=18000))
    # Read replies while sending: the server stops reading from a client that does not read its replies.
    sender = threading.Thread(target=player.send, args=(moves,))
    sender.start()
    replies = player.replies(len(moves))
    sender.join()
    check("the replies to many moves", (len(replies), replies.strip(b"xyz")), (len(moves), b""))
    house = bytes(MOVES[(move - MOVES[0] - b"xyz".index(reply)) % 3] for move, reply in zip(moves, replies))
    check_even("pairs of a move and the house's move", zip(moves, house))
    check_even("pairs of successive moves of the house", zip(house, house[1:]))
    player.send(b"\r\n1\r\n2\n\n3q\r1")
    check("the replies to 1, 2, 3, q, 1", player.last_replies().translate(ANY_OUTCOME), b"...e.")


def check_bad_bytes(address):
    for start in range(0, len(BAD_BYTES), BAD_BYTE_LIMIT):
        bad_bytes = BAD_BYTES[start : start + BAD_BYTE_LIMIT]
        player = Player(address)
        player.send(b"".join(bytes([bad_byte]) + b"1" for bad_byte in bad_bytes))
        full = len(bad_bytes) == BAD_BYTE_LIMIT  # then the server closes, without a reply to the last move
        replies = player.replies_to_end() if full else player.last_replies()
        expected = (b"e." * len(bad_bytes))[: 2 * len(bad_bytes) - full]
        check(f"the replies to {bad_bytes!r}", replies.translate(ANY_OUTCOME), expected)


def check_round(one, other, one_moves, other_moves):
    one.send(one_moves)
    other.send(other_moves)
    for player, mine, theirs in ((one, one_moves, other_moves), (other, other_moves, one_moves)):
        check(f"the replies to {mine!r} against {theirs!r}", player.replies(len(mine)), outcomes(mine, theirs))


def check_duel(one, other, third, fourth, window):
    for _ in range(300):
        check_round(one, other, *(bytes([random.choice(MOVES)]) for _ in range(2)))
    check_round(other, one, *(bytes(random.choices(MOVES, k=500)) for _ in range(2)))
    one.send(b"1\r\nq2")
    other.send(b"13")
    check("the replies to 1, q, 2 and to 1, 3", (one.replies(3), other.replies(2)), (b"xez", b"xy"))

    third.send(b"3")
    check_round(one, other, b"1", b"2")  # partners stay partners: neither meets the third
    fourth.send(b"1")
    check("the replies to 3 and 1", (third.replies(1), fourth.replies(1)), (b"z", b"y"))

    start = time.monotonic()
    one.send(b"1")
    check("the reply to a move without an opponent", one.replies(1), b"v")
    if time.monotonic() - start < window:
        raise ValueError(f"void after {time.monotonic() - start:.3f} s instead of {window} s")

    third.send(b"3")
    check("the replies to a partner that leaves", fourth.last_replies(), b"")
    other.send(b"1")  # the void move has dissolved the pair, so this player meets the third
    check("the replies to 3 and 1 of new partners", (third.replies(1), other.replies(1)), (b"z", b"y"))

    other.send(b"12")
    other.socket.shutdown(socket.SHUT_WR)
    third.send(b"31")
    check("the replies to 1, 2 and half-close", (other.replies_to_end(), third.replies(2)), (b"yy", b"zz"))
    check("the replies after the last", [player.last_replies() for player in (one, third)], [b"", b""])


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
