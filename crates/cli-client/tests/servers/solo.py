"""The game against the house (2.2). Each fault is a mistake at one place."""

import random

import game

FAULTS = {
    **game.FAULTS,
    # The house.
    "always_same_move": "the house always plays rock",
    "house_cycles": "the house plays scissors, rock, paper in turn",
    "house_shares_sequence": "every connection sees the same sequence of moves",
    "house_never_repeats": "the house never plays the same move twice in a row",
    "repeats_previous": "the house plays its last move again in half of the rounds",
    "copies_player": "the house plays the player's last move",
    "beats_previous_move": "the house plays the move that beats the player's last one",
    "house_sees_move": "the house often plays the move that beats the player's",
    "lets_player_win": "the house often plays the move that the player's beats",
    "biased_40_30_30": "the house plays scissors in 40 % of the rounds, and the others in 30 % each",
    "one_move_missing": "the house never plays paper",
    "same_house_in_a_read": "the house plays one move for all moves of a read",
    "draw_missing": "draws a win or a loss at random, never a draw",
    "void_from_house": "sends v in some rounds, although the house always plays",
    # The order and the number of replies.
    "half_close_drops_replies": "closes at a half-close without the replies to the bytes before it",
    "replies_after_last_invalid": "plays the moves behind the last invalid byte before it closes",
    "one_reply_per_read": "replies to the first byte of a read only",
    "out_of_order": "sends the replies to the bytes of one read in reverse order",
    "invalid_reported_last": "sends the replies to invalid bytes after those to the moves of the same read",
    "replies_at_newline": "replies only when LF arrives",
    "moves_after_lf_lost": "ignores the bytes of a read behind its first LF",
}

SCISSORS, ROCK, PAPER = game.MOVES


class SoloConnection(game.GameConnection):
    """One player against the house."""

    def __init__(self, service):
        super().__init__(service)
        self.random = random.Random(1 if self.fault == "house_shares_sequence" else None)
        self.house_last = None
        self.player_last = None

    def on_data(self, data):
        if self.fault == "replies_at_newline":
            self.buffer += data
            complete, separator, rest = bytes(self.buffer).rpartition(b"\n")
            data, self.buffer = complete + separator, bytearray(rest[-self.READ_BYTES :])
        if self.fault == "one_reply_per_read":
            data = data[:1]
        if self.fault == "moves_after_lf_lost":
            data = data.partition(b"\n")[0]
        replies = b"".join(self.replies_to(data))
        if self.fault == "half_close_drops_replies" and not self.is_over:
            # The replies are in a queue, and the half-close overtakes them.
            self.loop.call_later(0.05, self.send_late, replies)
        else:
            self.send(replies)
        if self.is_over:
            self.finish()

    def send_late(self, replies):
        """Sends replies unless the client has half-closed."""
        if not self.has_ended:
            self.send(replies)

    def replies_to(self, data):
        """Returns the replies to the bytes of one read."""
        replies = []
        invalid = []
        if self.fault == "same_house_in_a_read":
            self.house_last = self.random.choice(game.MOVES)
        for byte in data:
            if self.is_over and self.fault != "replies_after_last_invalid":
                break
            move = self.move_of(byte)
            if move is not None:
                replies.append(self.encoded(self.play(move)))
                self.count_round()
            elif self.fault == "invalid_reported_last":
                invalid.append(self.reply_to_invalid(byte))
            else:
                replies.append(self.reply_to_invalid(byte))
        replies += invalid
        if self.fault == "out_of_order":
            replies.reverse()
        return replies

    def play(self, move):
        """Plays a round, and returns the outcome for the player."""
        house = self.house_move(move)
        self.house_last, self.player_last = house, move
        if self.fault == "draw_missing":
            return self.random.choice([game.WIN, game.LOSE])
        if self.fault == "void_from_house" and self.random.random() < 0.05:
            return game.VOID
        return game.judge(move, house, self.fault)

    def house_move(self, move):
        """Returns the move of the house: each with the same probability, whatever came before."""
        draw = self.random.choice(game.MOVES)
        if self.fault == "always_same_move":
            return ROCK
        if self.fault == "house_cycles":
            return SCISSORS if self.house_last is None else next_move(self.house_last)
        if self.fault == "house_never_repeats" and self.house_last is not None:
            return self.random.choice([each for each in game.MOVES if each != self.house_last])
        if self.fault == "repeats_previous" and self.house_last is not None and self.random.random() < 0.5:
            return self.house_last
        if self.fault == "copies_player" and self.player_last is not None:
            return self.player_last
        if self.fault == "beats_previous_move" and self.player_last is not None:
            return next_move(self.player_last)
        if self.fault == "house_sees_move" and self.random.random() < 0.2:
            return next_move(move)
        if self.fault == "lets_player_win" and self.random.random() < 0.2:
            return next_move(next_move(move))
        if self.fault == "biased_40_30_30":
            return self.random.choices(game.MOVES, [40, 30, 30])[0]
        if self.fault == "one_move_missing":
            return self.random.choice([SCISSORS, ROCK])
        if self.fault == "same_house_in_a_read":
            return self.house_last
        return draw


def next_move(move):
    """Returns the move that beats `move`."""
    return game.MOVES[(move - SCISSORS + 1) % 3]
