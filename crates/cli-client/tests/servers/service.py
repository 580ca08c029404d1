"""The common part of the three services: settings, the listener, and a connection's reads, writes, timers and close.

A service has a subclass of `Connection`, which overrides the methods of its first section. A `fault` is the name of one
deliberate mistake, or the empty string. Only the standard library of Python 3.11 on Linux is used. Section numbers are
those of `crates/proto/PROTOCOL.md`.
"""

import asyncio
import fcntl
import os
import re
import resource
import signal
import socket
import struct
import sys
import termios
import threading

# How long a half-closed connection reads and discards what its client still sends (1.4).
LINGER = 1.0

# At a close, a client that acknowledges its replies slowly has this many write timeouts (1.4).
WRITE_TIMEOUTS_AT_CLOSE = 6

# The first connections of `slow_accept_after_many` are served at once, and each of the others after the delay.
PROMPT_CONNECTIONS = 64
SLOW_ACCEPT = 3.0

# How much `reads_without_bound` stores for one connection, so that a test cannot take all memory.
MAX_BACKLOG = 256 << 20

# The size of the send buffers that the kernel is asked for.
SEND_BUFFER = 65536

# Faults of a connection or of the process, which each service can have.
SHARED_FAULTS = {
    "idle_never": "ignores timeouts.idle: a silent connection stays open forever",
    "write_timeout_never": "ignores timeouts.write: keeps a connection whose client never reads its replies",
    "reads_without_bound": "keeps reading from a client that does not read its replies, so its memory grows",
    "close_resets": "closes the socket without reading what the client still sends, so the kernel sends an RST",
    "no_fin_after_half_close": "sends the replies after a half-close, but does not end its own stream",
    "one_connection_at_a_time": "serves the next connection when the one before it has ended",
    "slow_accept_after_many": "serves a connection only after 3 s if 64 others are open",
    "limit_closes_silently": "closes a connection above limits.max_connections without a reply",
    "limit_never": "ignores limits.max_connections",
    "dies_on_reset": "the process exits when a client resets its connection",
}

DEFAULTS = {
    "timeouts.request": "5s",
    "timeouts.idle": "60s",
    "timeouts.write": "5s",
    "framing.settle": "0s",
    "limits.max_request_bytes": "512",
    "limits.max_connections": "10000",
    "limits.max_bad_frames": "16",
    "duel.window": "30s",
}

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def setting(text):
    """Returns the value of a setting: a whole number, or a duration such as 200ms or 5s in seconds."""
    if re.fullmatch("[0-9]+", text):
        return int(text)
    duration = re.fullmatch("([0-9]+)(ms|s|m|h)", text)
    if not duration:
        sys.exit(f"neither a number nor a duration such as 200ms or 5s: {text}")
    return int(duration[1]) * UNITS[duration[2]]


class Service:
    """The state that all connections of a server share."""

    def __init__(self, connection_class, fault, settings):
        values = {key: setting(text) for key, text in {**DEFAULTS, **settings}.items()}
        self.connection_class = connection_class
        self.fault = fault
        self.request_timeout = values["timeouts.request"]
        self.idle_timeout = values["timeouts.idle"]
        self.write_timeout = values["timeouts.write"]
        self.settle = values["framing.settle"]
        self.max_request_bytes = values["limits.max_request_bytes"]
        self.max_connections = values["limits.max_connections"]
        self.max_bad_frames = values["limits.max_bad_frames"]
        self.window = values["duel.window"]
        self.open = set()
        # Connections that `one_connection_at_a_time` does not serve yet.
        self.queue = []
        # One read at a time uses it, so the connections share it.
        read_bytes = 65536 if fault == "reads_without_bound" else connection_class.READ_BYTES
        self.scratch = memoryview(bytearray(read_bytes))
        # The state that is specific to the service, such as the lobby of the duel.
        self.shared = connection_class.new_shared(self)
        self.loop = None

    async def run(self):
        """Listens on a free port of 127.0.0.1, prints the address, and serves until SIGTERM or the end of stdin."""
        self.loop = asyncio.get_running_loop()
        listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        # Connections inherit it. Without it the kernel stores megabytes of replies for a client that does not read.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        server = await self.loop.create_server(lambda: self.connection_class(self), sock=listener, backlog=4096)
        stopped = asyncio.Event()
        self.loop.add_signal_handler(signal.SIGTERM, stopped.set)
        # epoll does not accept every kind of stdin, such as a file. So a thread reads it.
        threading.Thread(target=self.await_end_of_stdin, args=(stopped,), daemon=True).start()
        print(f"listening on 127.0.0.1:{listener.getsockname()[1]}", flush=True)
        await stopped.wait()
        server.close()

    def await_end_of_stdin(self, stopped):
        """Reads stdin to its end, then stops the server."""
        while os.read(0, 4096):
            pass
        self.loop.call_soon_threadsafe(stopped.set)


class Connection(asyncio.BufferedProtocol):
    """One connection. Its timers are absolute: bytes that trickle in do not extend them."""

    READ_BYTES = 4096

    # The methods that a service overrides.

    @staticmethod
    def new_shared(_):
        """Returns the state that is specific to the service, if it needs one."""
        return None

    def on_data(self, data):
        """Handles bytes from the client."""
        raise NotImplementedError

    def on_eof(self):
        """Handles the client's half-close."""
        self.finish()

    def on_open(self):
        """Handles a new connection that is within the limits."""

    def on_end(self):
        """Handles the end of the game: no further byte of the client counts."""

    def on_reset(self):
        """Handles a reset by the client, before `on_end`."""

    def deadline(self):
        """Returns when `on_deadline` is due, or None."""
        return self.idle_since + self.service.idle_timeout

    def on_deadline(self):
        """Handles the deadline: by default, closes the idle connection without a reply."""
        if self.fault != "idle_never":
            self.finish()

    def full_reply(self):
        """Returns the reply to a connection above limits.max_connections."""
        raise NotImplementedError

    # Reads and writes.

    def __init__(self, service):
        self.service = service
        self.fault = service.fault
        self.loop = service.loop
        self.transport = None
        # The unfinished part of the input.
        self.buffer = bytearray()
        self.idle_since = self.loop.time()
        self.has_ended = False
        self.peer_ended = False
        self.is_half_closed = False
        self.is_blocked = False
        self.is_held = False
        # What `reads_without_bound` has read while replies are unwritten.
        self.backlog = bytearray()
        self.sent = 0
        self.acknowledged = 0
        self.timer = None
        self.write_timer = None
        self.close_timer = None
        self.close_deadline = None

    def connection_made(self, transport):
        self.transport = transport
        # `pause_writing` follows as soon as the socket takes less than the whole of a reply.
        transport.set_write_buffer_limits(high=0)
        service = self.service
        if len(service.open) >= service.max_connections and self.fault != "limit_never":
            if self.fault != "limit_closes_silently":
                self.send(self.full_reply())
            self.finish()
            return
        service.open.add(self)
        self.on_open()
        self.arm()
        if self.fault == "one_connection_at_a_time" and len(service.open) > 1:
            service.queue.append(self)
            self.is_held = True
            self.control_reading()
        if self.fault == "slow_accept_after_many" and len(service.open) > PROMPT_CONNECTIONS:
            self.is_held = True
            self.control_reading()
            self.loop.call_later(SLOW_ACCEPT, self.serve_now)

    def serve_now(self):
        """Begins to read from a connection that a fault has delayed."""
        self.is_held = False
        self.control_reading()

    def get_buffer(self, _):
        return self.service.scratch

    def buffer_updated(self, count):
        if self.has_ended:
            return
        data = bytes(self.service.scratch[:count])
        if self.fault == "reads_without_bound" and self.is_blocked:
            self.backlog += data
            self.control_reading()
        else:
            self.on_data(data)
        self.arm()

    def eof_received(self):
        self.peer_ended = True
        while self.backlog and not self.has_ended:
            self.handle_backlog()
        if self.has_ended:
            self.await_acknowledgement()
        else:
            self.on_eof()
            self.arm()
        # The transport stays open for the replies.
        return True

    def wants_input(self):
        """Returns whether the connection reads. A service can add a reason not to."""
        reads_on = self.fault == "reads_without_bound" and len(self.backlog) < MAX_BACKLOG
        return not self.is_held and (not self.is_blocked or reads_on)

    def handle_backlog(self):
        """Handles a part of what `reads_without_bound` has stored."""
        data = bytes(self.backlog[: self.READ_BYTES])
        del self.backlog[: self.READ_BYTES]
        self.on_data(data)

    def control_reading(self):
        """Pauses or resumes reading. After the client's FIN there is nothing to read."""
        if self.peer_ended or self.transport.is_closing():
            return
        if self.wants_input() or self.is_half_closed:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def send(self, replies):
        """Writes replies. The idle timeout begins."""
        if not replies or self.transport.is_closing():
            return
        if self.write_timer is None:
            self.acknowledged = self.sent - self.unacknowledged()
            self.write_timer = self.loop.call_later(self.service.write_timeout, self.check_acknowledgements)
        self.sent += len(replies)
        self.idle_since = self.loop.time()
        self.transport.write(replies)

    def pause_writing(self):
        self.is_blocked = True
        self.control_reading()

    def resume_writing(self):
        self.is_blocked = False
        self.idle_since = self.loop.time()
        while self.backlog and not self.is_blocked and not self.has_ended:
            self.handle_backlog()
        if self.has_ended and not self.is_blocked:
            self.half_close()
        self.control_reading()
        self.arm()

    def unacknowledged(self):
        """Returns how many bytes of replies the client's kernel has not acknowledged."""
        queued = fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, b"\0" * 4)
        return struct.unpack("i", queued)[0] + self.transport.get_write_buffer_size()

    def check_acknowledgements(self):
        """Resets the connection if its client has acknowledged nothing since the last check."""
        self.write_timer = None
        if self.transport.is_closing() or self.fault == "write_timeout_never":
            return
        unacknowledged = self.unacknowledged()
        acknowledged = self.sent - unacknowledged
        if unacknowledged and acknowledged == self.acknowledged:
            self.reset()
        elif unacknowledged:
            self.acknowledged = acknowledged
            self.write_timer = self.loop.call_later(self.service.write_timeout, self.check_acknowledgements)

    # The deadline.

    def current_deadline(self):
        """Returns the deadline. There is none while replies are unwritten, or after the end."""
        return None if self.has_ended or self.is_blocked or self.is_held else self.deadline()

    def arm(self):
        """Sets the timer. A timer that is early stays: `on_timer` sets it again."""
        deadline = self.current_deadline()
        if deadline is None or (self.timer and self.timer.when() <= deadline):
            return
        if self.timer:
            self.timer.cancel()
        self.timer = self.loop.call_at(deadline, self.on_timer)

    def on_timer(self):
        self.timer = None
        deadline = self.current_deadline()
        if deadline is not None and deadline <= self.loop.time():
            # A request that has arrived by now counts. A timer of 0 s runs after one more look at the socket.
            self.timer = self.loop.call_later(0, self.on_final_timer)
        else:
            self.arm()

    def on_final_timer(self):
        self.timer = None
        deadline = self.current_deadline()
        if deadline is not None and deadline <= self.loop.time():
            self.on_deadline()
        else:
            self.arm()

    # The close.

    def finish(self):
        """Half-closes after the replies so far. Later bytes of the client get no reply."""
        if self.has_ended:
            return
        if self.fault == "no_fin_after_half_close" and self.peer_ended:
            return
        self.has_ended = True
        self.on_end()
        if self.fault == "close_resets" and not self.peer_ended:
            self.transport.close()
        elif not self.is_blocked:
            self.half_close()

    def half_close(self):
        """Sends a FIN, then discards what the client sends, for at most a second."""
        if self.is_half_closed:
            return
        self.is_half_closed = True
        try:
            self.transport.write_eof()
        except OSError:
            # The client has reset the connection.
            self.transport.abort()
            return
        self.close_deadline = self.loop.time() + WRITE_TIMEOUTS_AT_CLOSE * self.service.write_timeout
        self.control_reading()
        if self.peer_ended:
            self.await_acknowledgement()
        else:
            self.close_timer = self.loop.call_later(LINGER, self.await_acknowledgement)

    def await_acknowledgement(self, interval=0.001):
        """Closes when the client's kernel has acknowledged every reply."""
        if not self.is_half_closed or self.transport.is_closing():
            return
        if self.close_timer:
            self.close_timer.cancel()
        if not self.unacknowledged():
            self.transport.close()
        elif self.close_deadline <= self.loop.time():
            self.reset()
        else:
            # The kernel sends no event for an acknowledgement.
            self.close_timer = self.loop.call_later(interval, self.await_acknowledgement, min(2 * interval, 0.25))

    def reset(self):
        """Closes with an RST."""
        self.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        self.transport.abort()

    def connection_lost(self, error):
        for timer in (self.timer, self.write_timer, self.close_timer):
            if timer:
                timer.cancel()
        self.service.open.discard(self)
        if self in self.service.queue:
            self.service.queue.remove(self)
        elif self.service.queue:
            self.service.queue.pop(0).serve_now()
        if error is not None:
            self.after_reset()
        if not self.has_ended:
            self.has_ended = True
            self.on_end()

    def after_reset(self):
        """Handles an RST of the client."""
        if self.fault == "dies_on_reset":
            os._exit(1)
        if not self.has_ended:
            self.on_reset()


def raise_open_file_limit():
    """Allows as many open files as the hard limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
