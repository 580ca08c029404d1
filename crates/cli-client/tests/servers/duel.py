"""The duel (2.3): two players, and a window in which both have to move. Each fault is a mistake at one place."""

import random
import select

import game
from service import MAX_BACKLOG

# A client cannot get enough replies of a byte, at most one a round, to fill its receive buffer in a short time.
UNSEEN = {"write_timeout_never"}

FAULTS = {
    **{fault: what for fault, what in game.FAULTS.items() if fault not in UNSEEN},
    # Judging. The first fault is invisible against a fair house, whose moves a client does not know.
    "win_lose_swapped": "sends z for a win and y for a loss",
    "both_same_reply": "sends the reply of the second player to both",
    "plays_itself": "judges a move that a player sends ahead against the player's own move in play",
    "first_reply_late": "sends the reply of the player who moved first only when that player moves again",
    "reveals_move": "sends the move of the first player to the second one at once",
    # The window.
    "no_void": "lets a move wait forever",
    "void_early": "makes a move void after half the window",
    "void_late": "makes a move void after twice the window",
    "void_is_draw": "sends x for a move that is void",
    "void_keeps_pair": "does not dissolve the pair when a move is void",
    "void_to_both": "sends v to the partner of a void move too",
    "void_closes": "closes the connection after v",
    "house_plays_after_timeout": "plays a random move against one that nobody meets within the window",
    "window_restarts_on_return": "gives a move a new window when it returns to the lobby",
    # Partners and the lobby.
    "no_pairing_of_third": "has one pair at a time: a third and a fourth player do not play",
    "joins_at_connect": "makes two clients partners when they connect instead of when they move",
    "partners_not_kept": "dissolves each pair after its round",
    "late_partner_blocks": "lets a move wait for its partner for the whole window",
    "patience_missing": "lets another player's move meet that of a partner at once",
    "partner_leaves_move_void": "makes a move void when the partner leaves",
    "partner_leaves_unnoticed": "keeps a pair whose one player has left",
    # Moves sent ahead.
    "sent_ahead_lost": "drops the bytes that arrive while a move is in play",
    "sent_ahead_judged_at_once": "judges all moves that a player has sent against one of the partner",
    "last_move_counts": "replaces a move in play by the one sent after it",
    "sent_ahead_window_from_arrival": "counts the window of a move that was sent ahead from its arrival",
    "invalid_out_of_order": "sends e at once, before the reply to the move in play",
    # The end of a connection.
    "half_close_withdraws": "withdraws the move in play at a half-close",
    "half_close_no_reply": "closes at a half-close, and judges the move in play without a reply to its player",
    "reset_keeps_move": "judges a move in play whose player has reset the connection",
}

# The faults that read while a move is in play. A correct server leaves the bytes in the socket.
READS_AHEAD = {
    "plays_itself",
    "sent_ahead_lost",
    "sent_ahead_judged_at_once",
    "last_move_counts",
    "sent_ahead_window_from_arrival",
    "invalid_out_of_order",
    "half_close_withdraws",
    "half_close_no_reply",
}

# How much such a fault stores.
MAX_SENT_AHEAD = 65536

# How long a move waits for the partner alone, in windows.
PATIENCE = 0.1


class Duel:
    """The lobby, and the rule: which moves meet. A player is a connection.

    At most one move waits in the lobby. Every other move in play waits for the partner of its player alone.
    """

    def __init__(self, service):
        self.service = service
        self.fault = service.fault
        self.waiting = None
        # Who has connected without a partner: the fault `joins_at_connect`.
        self.unpaired = None
        self.reset_watch = select.epoll()
        self.is_watching = False
        # By the number of their socket.
        self.players = {}

    def watch(self, player):
        """Watches for a reset of the player's connection.

        asyncio does not report a reset while it does not read, and a connection with a move in play does not read.
        epoll reports errors without a request for them, and with EPOLLET only once.
        """
        if not self.is_watching:
            self.is_watching = True
            player.loop.add_reader(self.reset_watch.fileno(), self.on_watch)
        self.players[player.file_number] = player
        self.reset_watch.register(player.file_number, select.EPOLLET)

    def on_watch(self):
        """Reports resets to the players."""
        for file_number, events in self.reset_watch.poll(0):
            if events & select.EPOLLERR:
                self.players[file_number].on_error_event()

    def join(self, player):
        """Handles a player who connects."""
        if self.fault == "joins_at_connect":
            if self.unpaired:
                self.pair(player, self.unpaired)
                self.unpaired = None
            else:
                self.unpaired = player

    def move(self, player, move):
        """Handles a move of a player who has none in play."""
        now = player.loop.time()
        if player.partner:
            # The partner's patience or window may have ended, and its timer not run yet.
            self.on_time(player.partner, now)
        window = self.service.window * {"void_early": 0.5, "void_late": 2.0}.get(self.fault, 1.0)
        begin = player.arrived if self.fault == "sent_ahead_window_from_arrival" else now
        player.move = move
        player.window_end = begin + window
        player.patience_end = now + self.service.window * PATIENCE
        if self.fault == "late_partner_blocks":
            player.patience_end = player.window_end
        if player.window_end <= now:
            self.on_time(player, now)
        elif not player.partner or (self.fault == "patience_missing" and not player.partner.move):
            self.enter_lobby(player, now)
        elif player.partner.move:
            self.judge(player, player.partner)
        else:
            if self.fault == "reveals_move":
                player.partner.send(bytes([move]))
            player.set_move_timer(min(player.patience_end, player.window_end))

    def on_time(self, player, now):
        """Handles the end of a move's patience or window, if it has come. Both exclude their last instant."""
        if not player.move:
            return
        if player.window_end <= now:
            if self.fault != "no_void":
                self.void(player, now)
        elif player.patience_end <= now:
            self.enter_lobby(player, now)

    def leave(self, player, now):
        """Handles a player who leaves. A move in play is withdrawn."""
        if self.unpaired is player:
            self.unpaired = None
        self.take_move(player)
        if self.fault != "partner_leaves_unnoticed":
            self.part(player, now)

    def enter_lobby(self, player, now):
        """Brings a move into the lobby. If another one waits there, the two players become partners."""
        if not player.move or self.waiting is player:
            return
        if self.waiting:
            self.on_time(self.waiting, now)
        if self.waiting and not (self.fault == "no_pairing_of_third" and self.has_pair()):
            waiting = self.waiting
            self.pair(player, waiting)
            self.judge(player, waiting)
        elif self.waiting:
            player.set_move_timer(player.window_end)
        else:
            self.waiting = player
            player.set_move_timer(player.window_end)

    def has_pair(self):
        """Returns whether two players are partners."""
        return any(player.partner for player in self.service.open)

    def pair(self, player, other):
        """Makes two players partners. The partners that they had are without one."""
        for each in (player, other):
            if each.partner:
                each.partner.partner = None
        player.partner, other.partner = other, player

    def part(self, player, now):
        """Dissolves the player's pair. The partner's move in play goes to the lobby."""
        partner, player.partner = player.partner, None
        if not partner:
            return
        partner.partner = None
        if not partner.move:
            return
        if self.fault == "partner_leaves_move_void":
            self.void(partner, now)
            return
        if self.fault == "window_restarts_on_return":
            partner.window_end = now + self.service.window
        self.on_time(partner, now)
        self.enter_lobby(partner, now)

    def take_move(self, player):
        """Takes the player's move out of play, and returns it."""
        if self.waiting is player:
            self.waiting = None
        move, player.move = player.move, None
        player.set_move_timer(None)
        return move

    def judge(self, player, partner):
        """Judges the moves of two partners. `player` has moved last, or has come to the lobby last."""
        moves = {player: self.take_move(player), partner: self.take_move(partner)}
        replies = {}
        for each, other in ((player, partner), (partner, player)):
            replies[each] = [game.judge(moves[each], moves[other], self.fault)]
            if self.fault == "sent_ahead_judged_at_once":
                ahead, each.buffer = bytes(each.buffer), bytearray()
                replies[each] += [game.judge(move, moves[other]) for move in ahead if move in game.MOVES]
        if self.fault == "both_same_reply":
            replies[partner] = replies[player]
        if self.fault == "partners_not_kept":
            player.partner = partner.partner = None
        for each in (partner, player):
            each.on_replies(replies[each], is_late=self.fault == "first_reply_late" and each is partner)
        # Only now, so that both have their replies before the next round.
        for each in (partner, player):
            each.play()

    def void(self, player, now):
        """Makes the player's move void, and dissolves its pair."""
        move, partner = self.take_move(player), player.partner
        if self.fault != "void_keeps_pair":
            self.part(player, now)
        reply = game.VOID
        if self.fault == "void_is_draw":
            reply = game.DRAW
        elif self.fault == "house_plays_after_timeout":
            reply = game.judge(move, random.choice(game.MOVES))
        elif self.fault == "void_to_both" and partner:
            partner.send(game.VOID)
        player.on_replies([reply])
        if self.fault == "void_closes":
            player.is_over = True
        player.play()


class DuelConnection(game.GameConnection):
    """One player of the duel. `buffer` has the bytes that were sent ahead."""

    # Few, because the bytes of a read wait here for the move in play. The others stay in the socket.
    READ_BYTES = 16

    @staticmethod
    def new_shared(service):
        return Duel(service)

    def __init__(self, service):
        super().__init__(service)
        self.duel = service.shared
        self.file_number = None
        self.partner = None
        self.move = None
        self.patience_end = self.window_end = None
        self.move_timer = None
        self.has_left = False
        self.is_playing = False
        # When the last bytes arrived.
        self.arrived = None
        self.late_replies = b""

    # Events.

    def on_open(self):
        super().on_open()
        self.file_number = self.transport.get_extra_info("socket").fileno()
        self.duel.watch(self)
        self.duel.join(self)

    def on_data(self, data):
        self.arrived = self.loop.time()
        self.buffer += data
        self.play()

    def on_eof(self):
        if self.move and self.fault == "half_close_withdraws":
            self.leave()
        if self.move and self.fault == "half_close_no_reply":
            # The move stays in play, but the connection is closed.
            self.transport.write_eof()
            self.transport.close()
        self.play()

    def on_reset(self):
        if not (self.move and self.fault == "reset_keeps_move"):
            self.leave()

    def on_end(self):
        if not (self.move and self.fault in ("reset_keeps_move", "half_close_no_reply")):
            self.leave()

    def on_error_event(self):
        """Handles a reset that came while the connection did not read."""
        if not self.transport.is_closing():
            self.after_reset()
            self.transport.abort()

    def leave(self):
        """Leaves the duel, once."""
        if not self.has_left and self.file_number is not None:
            self.has_left = True
            self.buffer.clear()
            self.duel.leave(self, self.loop.time())

    def deadline(self):
        return None if self.move else super().deadline()

    def wants_input(self):
        reads_ahead = len(self.buffer) < MAX_SENT_AHEAD and self.fault in READS_AHEAD
        if self.fault == "reads_without_bound":
            reads_ahead = len(self.buffer) < MAX_BACKLOG
        return super().wants_input() and (not self.move or reads_ahead)

    def set_move_timer(self, deadline):
        """Sets the timer of the move in play; None stops it."""
        if self.move_timer:
            self.move_timer.cancel()
        self.move_timer = None
        if deadline is not None:
            self.move_timer = self.loop.call_at(deadline, self.on_move_timer, deadline)

    def on_move_timer(self, deadline):
        """Handles the end of the patience or window. The timer may run a clock tick early."""
        self.move_timer = None
        self.duel.on_time(self, max(deadline, self.loop.time()))

    # Moves and replies.

    def play(self):
        """Plays the bytes of the client, until a move has to wait for its reply."""
        if self.is_playing:
            # A round that `play_next` began has been judged, and the loop below goes on.
            return
        self.is_playing = True
        while self.buffer and not self.is_over and not self.has_ended:
            if not self.move:
                byte = self.buffer[0]
                del self.buffer[0]
                self.play_next(byte)
            if self.move:
                if self.fault in READS_AHEAD:
                    self.buffer[:] = self.handle_ahead(bytes(self.buffer))
                if self.move:
                    break
        self.is_playing = False
        if self.has_ended and not self.move:
            self.leave()
        elif not self.move and (self.is_over or (self.peer_ended and not self.buffer)):
            self.finish()
        self.control_reading()
        self.arm()

    def play_next(self, byte):
        """Plays one byte; no move is in play."""
        move = self.move_of(byte)
        if move is None:
            self.send(self.reply_to_invalid(byte))
        else:
            self.send_late_replies()
            self.duel.move(self, move)

    def on_replies(self, replies, is_late=False):
        """Sends the replies to moves."""
        encoded = b"".join(map(self.encoded, replies))
        if is_late:
            self.late_replies += encoded
        else:
            self.send(encoded)
        for _ in replies:
            self.count_round()

    def send_late_replies(self):
        """Sends what the fault `first_reply_late` has held back."""
        late, self.late_replies = self.late_replies, b""
        self.send(late)

    def handle_ahead(self, data):
        """Handles the bytes behind a move in play, for a fault. Returns those to store."""
        if self.fault == "sent_ahead_lost":
            return b""
        moves = bytes(byte for byte in data if byte in game.MOVES)
        if self.fault == "invalid_out_of_order":
            for byte in data:
                if byte not in game.MOVES:
                    self.send(self.reply_to_invalid(byte))
            return moves
        if self.fault == "last_move_counts" and moves:
            self.move = moves[-1]
            return b""
        if self.fault == "plays_itself" and moves:
            mine = self.duel.take_move(self)
            self.on_replies([game.judge(mine, moves[0]), game.judge(moves[0], mine)])
            return moves[1:]
        return data
