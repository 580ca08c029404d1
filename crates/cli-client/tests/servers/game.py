"""The game's bytes and its rule (2.1), with the faults of games against the house and of duels."""

from service import SHARED_FAULTS, Connection

# Faults that both games can have.
FAULTS = {
    "scissors_beat_rock": "judges scissors against rock as a win of scissors",
    "rock_beats_paper": "judges rock against paper as a win of rock",
    "paper_beats_scissors": "judges paper against scissors as a win of paper",
    "draw_is_win": "judges equal moves as a win",
    "draw_is_lose": "judges equal moves as a loss",
    "moves_from_zero": "takes 0, 1 and 2 as the moves",
    "replies_to_newline": "sends e for LF",
    "replies_to_cr": "sends e for CR",
    "replies_with_newline": "sends an LF after each reply",
    "upper_case_reply": "sends the replies in upper case",
    "void_for_invalid": "sends v for a byte that is not a move",
    "two_bytes_for_invalid": "sends two bytes for a byte that is not a move",
    "silent_on_invalid": "sends nothing for a byte that is not a move",
    "closes_on_invalid": "closes the connection at the first byte that is not a move",
    "bad_frames_no_limit": "ignores limits.max_bad_frames",
    "bad_frames_closes_early": "closes the connection one invalid byte before limits.max_bad_frames",
    "bad_frames_per_run": "counts the invalid bytes since the last move instead of all",
    "bad_frames_closes_without_e": "closes the connection at the last invalid byte without its e",
    "sends_banner": "sends a line of text to a new client",
    "idle_short": "closes an idle connection after a second",
    "closes_after_each_round": "closes the connection after one round",
    "closes_after_ten_rounds": "closes the connection after ten rounds",
    **SHARED_FAULTS,
}

MOVES = b"123"
# The pairs of moves that a fault judges the wrong way round.
REVERSED_PAIRS = {
    "scissors_beat_rock": set(b"12"),
    "rock_beats_paper": set(b"23"),
    "paper_beats_scissors": set(b"13"),
}

DRAW, WIN, LOSE, VOID, INVALID, FULL = b"x", b"y", b"z", b"v", b"e", b"f"


def judge(move, other, fault=""):
    """Returns the outcome for the player of `move`: each move beats the one before it in the order 1, 2, 3, 1."""
    if move == other:
        return {"draw_is_win": WIN, "draw_is_lose": LOSE}.get(fault, DRAW)
    wins = (move - other) % 3 == 1
    if fault == "win_lose_swapped" or {move, other} == REVERSED_PAIRS.get(fault):
        wins = not wins
    return WIN if wins else LOSE


class GameConnection(Connection):
    """What the connections of both games do alike."""

    def __init__(self, service):
        super().__init__(service)
        self.invalid = 0
        self.rounds = 0
        self.is_over = False

    def on_open(self):
        if self.fault == "sends_banner":
            self.send(b"1: scissors, 2: rock, 3: paper\n")

    def deadline(self):
        return self.idle_since + (1.0 if self.fault == "idle_short" else self.service.idle_timeout)

    def full_reply(self):
        return FULL

    def move_of(self, byte):
        """Returns the move that a byte is, or None."""
        if self.fault == "moves_from_zero":
            byte += 1
        return byte if byte in MOVES else None

    def encoded(self, reply):
        """Returns the reply to a move or an invalid byte as it is sent."""
        if self.fault == "upper_case_reply":
            reply = reply.upper()
        return reply + b"\n" if self.fault == "replies_with_newline" else reply

    def count_round(self):
        """Counts a round."""
        self.rounds += 1
        if self.fault == "bad_frames_per_run":
            self.invalid = 0
        limit = {"closes_after_each_round": 1, "closes_after_ten_rounds": 10}.get(self.fault)
        if self.rounds == limit:
            self.is_over = True

    def reply_to_invalid(self, byte):
        """Counts a byte that is no move, and returns its reply."""
        replies_to = {"replies_to_newline": b"\n", "replies_to_cr": b"\r"}.get(self.fault, b"")
        if byte in b"\r\n" and byte not in replies_to:
            return b""
        self.invalid += 1
        limit = self.service.max_bad_frames - (self.fault == "bad_frames_closes_early")
        is_last = (self.invalid >= limit and self.fault != "bad_frames_no_limit") or self.fault == "closes_on_invalid"
        if is_last:
            self.is_over = True
        if self.fault == "silent_on_invalid" or (is_last and self.fault == "bad_frames_closes_without_e"):
            return b""
        if self.fault == "void_for_invalid":
            return self.encoded(VOID)
        return self.encoded(INVALID) * (2 if self.fault == "two_bytes_for_invalid" else 1)
