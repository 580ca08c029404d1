"""The power service (section 1): a number in, a number out. Each fault is a mistake at one place."""

import math
import os
from fractions import Fraction

import decimals
from service import SHARED_FAULTS, Connection

FAULTS = {
    **decimals.FAULTS,
    # Arithmetic.
    "pow_operator": "computes x**3 and x**4 with the power operator instead of one product at a time",
    "fourth_is_square_of_square": "computes the fourth power as (x*x)*(x*x)",
    "exact_arithmetic": "computes powers exactly and rounds once, as decimal or fraction arithmetic does",
    "underflow_is_range": "sends RANGE for a result that is too small",
    "subnormals_are_zero": "replaces subnormal results by zero",
    "overflow_inf": "sends dinf for a result that is too large",
    "overflow_closes": "closes the connection without a reply when a result is too large",
    "echo_missing": "does not know the op letter d",
    "uppercase_ops": "accepts capital op letters",
    # The end of a request, and of a reply.
    "one_read_one_request": "takes the bytes of each read as one request",
    "first_line_only_of_a_read": "replies to the first line of a read and drops the others",
    "remainder_dropped": "drops the unfinished line at the end of a read",
    "joined_bare_requests": "keeps a bare request in its buffer after the reply, in front of the bytes that follow",
    "replies_out_of_order": "sends the replies to the requests of one read in reverse order",
    "no_lf_in_reply": "sends no LF after the reply to a line",
    "crlf_reply": "ends replies to lines with CR LF",
    "nul_terminated": "sends a NUL byte after each reply",
    "bare_reply_has_lf": "sends an LF after the reply to a bare request",
    "lf_on_half_close_reply": "sends an LF after the reply to a request that ends with a half-close",
    "lines_do_not_last": "after a line, takes a complete request without LF as a bare one again",
    "replies_to_blank_lines": "sends BADOP for a blank line",
    "cr_not_stripped": "takes the CR before an LF as a byte of the request",
    "strips_all_cr": "removes every CR at the end of a line",
    "leading_blank_accepted": "ignores spaces and tabs before the op letter",
    "late_lf_missing": "sends no LF when the line end of a bare request follows later",
    "bare_needs_lf": "waits for LF or a half-close, and sends no reply to a bare request",
    "bare_incomplete_is_error": "sends an error for the beginning of a bare request, such as a-",
    "bare_cr_is_error": "does not wait for the LF after a CR that ends the bytes so far",
    "bare_error_waits": "waits for LF instead of rejecting bytes that cannot become a request",
    "half_close_closes_without_reply": "drops a bare request that a half-close ends",
    "last_line_lost": "drops the last line if a half-close ends it instead of LF",
    "half_close_cuts_number": "takes the beginning of a number as the number at a half-close: a1e is a1",
    "closes_after_one_reply": "closes the connection after the first reply",
    # Error replies.
    "code_missing": "sends only e for every error",
    "message_missing": "sends the code without a space and a message",
    "unknown_code": "sends the code ERROR for every error",
    "lowercase_code": "sends the code in lower case",
    "message_not_ascii": "sends a message with letters outside ASCII",
    "message_of_two_lines": "sends an error reply of two lines",
    "message_too_long": "quotes the whole request in an error reply, so that it can have more than 1,024 bytes",
    "badop_is_badnum": "sends BADNUM for an unknown op letter",
    "missing_number_is_badop": "sends BADOP for an op letter without a number",
    "range_is_badnum": "sends BADNUM for a number that is too large",
    "error_keeps_open_bare": "keeps the connection open after an invalid bare request",
    "error_closes_line": "closes the connection after an invalid line",
    "range_closes_line": "closes the connection after RANGE",
    "dies_on_garbage": "the process exits when a request is not ASCII",
    # Limits and timeouts.
    "toolong_never": "has no limit on the length of a request",
    "toolong_off_by_one": "sends TOOLONG for a request of exactly the longest length",
    "toolong_late": "sends TOOLONG only when the end of the request arrives",
    "toolong_keeps_open": "keeps the connection open after TOOLONG",
    "toolong_counts_cr": "counts the CR of CR LF in the length of a request",
    "replies_after_error_close": "replies to the lines after the one that is too long, and closes then",
    "no_request_timeout": "waits forever for the rest of a request",
    "silence_never_times_out": "waits forever for the first byte of a connection",
    "timeout_extended_by_bytes": "counts the request timeout from the last byte",
    "timeout_without_reply": "closes at the request timeout without TIMEOUT",
    "timeout_keeps_open": "keeps the connection open after TIMEOUT",
    "idle_sends_timeout": "sends TIMEOUT when an idle connection closes",
    **SHARED_FAULTS,
}

OPERATIONS = {b"a": (2, "square"), b"b": (3, "cube"), b"c": (4, "fourth power"), b"d": (1, "number")}
BLANKS = b" \t"

# How long a fault that depends on the half-close waits for it.
FAULTY_SETTLE = 0.05


class RequestError(Exception):
    """An error reply: its code and message."""

    def __init__(self, code, message):
        super().__init__(code, message)
        self.code = code
        self.message = message


def quoted(text):
    """Returns invalid bytes as printable ASCII, for a message."""
    return repr(bytes(text[:24]))[1:]


class PowerConnection(Connection):
    """Finds the requests in the bytes of one connection, and sends the replies."""

    def __init__(self, service):
        super().__init__(service)
        self.accepted = self.loop.time()
        self.has_replied = False
        # Whether an LF has arrived: requests and replies are lines from then on.
        self.uses_lines = False
        # Whether the last request was bare, so that its line end can still follow.
        self.follows_bare = False
        # When the request in the buffer began.
        self.request_began = self.accepted
        # Whether an error has closed the connection: later bytes get no reply.
        self.requests_ended = False
        self.settle_timer = None
        self.settle = service.settle
        if self.fault in ("half_close_closes_without_reply", "lf_on_half_close_reply"):
            self.settle = FAULTY_SETTLE
        self.limit = service.max_request_bytes - (self.fault == "toolong_off_by_one")

    # Events.

    def on_data(self, data):
        if self.fault == "dies_on_garbage" and not data.isascii():
            os._exit(1)
        now = self.loop.time()
        had_part, length = bool(self.buffer), len(self.buffer) + len(data)
        self.buffer += data
        if self.fault == "one_read_one_request":
            replies = self.reply_to_read()
        else:
            replies = self.reply_to_requests()
        is_new = not had_part or len(self.buffer) < length
        if is_new and (self.has_replied or replies or self.fault == "silence_never_times_out"):
            # Blank lines get no reply, so they do not extend the idle timeout.
            self.request_began = min(now, self.idle_since + self.service.idle_timeout)
        if self.fault == "timeout_extended_by_bytes":
            self.request_began = now
        self.send_all(replies)

    def on_eof(self):
        replies = self.reply_to_requests()
        rest, self.buffer = bytes(self.buffer), bytearray()
        is_lost = self.fault == ("last_line_lost" if self.uses_lines else "half_close_closes_without_reply")
        if rest.strip(BLANKS) and not is_lost and not self.requests_ended:
            if self.fault == "half_close_cuts_number":
                beginnings = (rest[:length] for length in range(len(rest), 0, -1))
                rest = next(filter(self.is_complete, beginnings), rest)
            has_lf = self.uses_lines or self.fault == "lf_on_half_close_reply"
            replies.append(self.reply_to(rest, has_lf))
        self.send_all(replies)
        self.finish()

    def send_all(self, replies):
        """Sends replies with one write."""
        if self.fault == "replies_out_of_order":
            replies.reverse()
        self.send(b"".join(replies))
        if replies:
            self.has_replied = True
            self.requests_ended |= self.fault == "closes_after_one_reply"
        if self.requests_ended:
            self.finish()

    def resume_writing(self):
        # A request behind replies that were unwritten has its whole time.
        self.request_began = self.loop.time()
        super().resume_writing()

    def full_reply(self):
        return self.error_reply(RequestError("BUSY", "too many connections are open: try again later"), False)

    # Deadlines.

    def deadline(self):
        if not self.has_replied and not self.buffer and self.fault == "silence_never_times_out":
            return None
        if self.buffer or not self.has_replied:
            return self.request_began + self.service.request_timeout
        return self.idle_since + self.service.idle_timeout

    def on_deadline(self):
        if self.has_replied and not self.buffer:
            if self.fault == "idle_sends_timeout":
                self.send_timeout()
            super().on_deadline()
        elif self.fault == "timeout_keeps_open":
            self.buffer.clear()
            self.send_timeout()
        elif self.fault != "no_request_timeout":
            if self.fault != "timeout_without_reply":
                self.send_timeout()
            self.finish()

    def send_timeout(self):
        """Sends TIMEOUT."""
        self.has_replied = True
        error = RequestError("TIMEOUT", f"no complete request came within {self.service.request_timeout:g} s")
        self.send(self.error_reply(error, self.uses_lines))

    # The end of a request (1.2).

    def reply_to_requests(self):
        """Takes the complete requests from the buffer, and returns their replies."""
        replies = []
        if self.settle_timer:
            self.settle_timer.cancel()
            self.settle_timer = None
        while self.buffer and not self.requests_ended:
            line, has_lf, rest = self.next_line()
            if self.is_too_long(line, has_lf):
                self.on_too_long(replies)
                del self.buffer[:rest]
            elif has_lf:
                del self.buffer[:rest]
                self.on_line(line, replies)
                if self.fault == "first_line_only_of_a_read":
                    self.buffer.clear()
            elif self.uses_lines and self.fault != "lines_do_not_last":
                if self.fault == "remainder_dropped":
                    self.buffer.clear()
                break
            elif not self.on_bare(replies):
                break
        return replies

    def is_too_long(self, line, has_lf):
        """Returns whether the request is longer than the limit, the line end not counted."""
        if self.fault == "toolong_late" and not has_lf and (self.uses_lines or not self.is_complete(line)):
            return False
        return len(line) > self.limit and self.fault != "toolong_never"

    def next_line(self):
        """Returns the line at the beginning of the buffer, whether it has an LF, and where the next one begins."""
        # A longer line is an error before its LF arrives, so a search beyond it would depend on how the bytes came.
        limit = None if self.fault in ("toolong_never", "toolong_late") else self.limit + 2
        end = self.buffer.find(b"\n", 0, limit)
        has_lf = end >= 0
        line = bytes(self.buffer[:end] if has_lf else self.buffer)
        if self.fault == "strips_all_cr":
            line = line.rstrip(b"\r")
        elif self.fault not in ("toolong_counts_cr", "cr_not_stripped"):
            line = line.removesuffix(b"\r")
        return line, has_lf, end + 1 if has_lf else len(self.buffer)

    def on_line(self, line, replies):
        """Handles a line without its LF."""
        follows_bare, self.follows_bare, self.uses_lines = self.follows_bare, False, True
        if self.fault == "toolong_counts_cr":
            line = line.removesuffix(b"\r")
        if line.strip(BLANKS) or (self.fault == "replies_to_blank_lines" and not follows_bare):
            replies.append(self.reply_to(line, True))
        elif follows_bare and self.fault != "late_lf_missing":
            replies.append(b"\n")

    def on_bare(self, replies):
        """Handles bytes without an LF. Returns whether they were a request."""
        text = bytes(self.buffer)
        ends_with_cr = text.endswith(b"\r") and self.fault != "bare_cr_is_error"
        if ends_with_cr or self.fault == "bare_needs_lf" or not self.is_decided(text):
            return False
        if not self.is_complete(text) and self.fault == "bare_error_waits":
            return False
        if self.is_complete(text) and self.settle and not self.peer_ended:
            self.settle_timer = self.loop.call_later(self.settle, self.on_settled)
            return False
        if self.peer_ended:
            # The half-close ends this request: see `on_eof`.
            return False
        self.take_bare(text, replies)
        return self.fault != "joined_bare_requests"

    def take_bare(self, text, replies):
        """Replies to a bare request, and closes if it is invalid."""
        if self.fault != "joined_bare_requests":
            self.buffer.clear()
        self.follows_bare = True
        replies.append(self.reply_to(text, self.uses_lines or self.fault == "bare_reply_has_lf"))
        if not self.is_complete(text) and self.fault != "error_keeps_open_bare":
            self.end_requests()

    def on_settled(self):
        """Takes the complete bare request in the buffer as final."""
        if self.buffer and not self.requests_ended:
            replies = []
            self.take_bare(bytes(self.buffer), replies)
            self.send_all(replies)
            self.arm()

    def is_decided(self, text):
        """Returns whether bytes without an LF are a request, or cannot become one."""
        if self.fault == "bare_incomplete_is_error" and text.strip(BLANKS):
            return True
        if self.fault == "leading_blank_accepted":
            text = text.lstrip(BLANKS)
        if not text.strip(BLANKS):
            return False
        if not self.is_operation(text):
            return True
        return self.is_complete(text) or not decimals.is_beginning(text[1:])

    def is_complete(self, text):
        """Returns whether the bytes are a request."""
        if self.fault == "leading_blank_accepted":
            text = text.lstrip(BLANKS)
        return self.is_operation(text) and decimals.parse(text[1:], self.fault) is not None

    def reply_to_read(self):
        """Takes all bytes so far as one request: the fault `one_read_one_request`."""
        text, self.buffer = bytes(self.buffer), bytearray()
        has_lf = text.endswith(b"\n")
        self.uses_lines = self.uses_lines or has_lf
        text = text.removesuffix(b"\n").removesuffix(b"\r")
        replies = []
        if self.is_too_long(text, has_lf):
            self.on_too_long(replies)
        elif text.strip(BLANKS):
            replies.append(self.reply_to(text, has_lf))
            if not self.uses_lines and not self.is_complete(text):
                self.end_requests()
        return replies

    def end_requests(self):
        """Ends the connection after the replies so far."""
        self.requests_ended = True

    def on_too_long(self, replies):
        """Replies to a request that is too long, and ends the connection."""
        error = RequestError("TOOLONG", f"a request has at most {self.service.max_request_bytes} bytes before its end")
        replies.append(self.error_reply(error, self.uses_lines))
        if self.fault == "replies_after_error_close":
            _, _, rest = bytes(self.buffer).partition(b"\n")
            replies += [self.reply_to(line, True) for line in rest.split(b"\n") if line.strip(BLANKS)]
        if self.fault != "toolong_keeps_open":
            self.end_requests()

    # Replies (1.1, 1.3).

    def is_operation(self, text):
        """Returns whether the bytes begin with an op letter."""
        op = bytes(text[:1])
        if self.fault == "uppercase_ops":
            op = op.lower()
        return op in OPERATIONS and not (self.fault == "echo_missing" and op == b"d")

    def reply_to(self, text, has_lf):
        """Returns the reply to one request, with its terminator."""
        if self.fault == "leading_blank_accepted":
            text = text.lstrip(BLANKS)
        try:
            reply = b"d" + decimals.shortest(self.result_of(text), self.fault).encode()
        except RequestError as error:
            return self.error_reply(error, has_lf, text)
        except OverflowError:
            # Only the fault `overflow_closes` comes here: the reply is lost with the connection.
            self.end_requests()
            return b""
        return reply + self.terminator(has_lf)

    def result_of(self, text):
        """Returns the result of a request, or raises its error."""
        if not self.is_operation(text):
            code = "BADNUM" if self.fault == "badop_is_badnum" else "BADOP"
            raise RequestError(code, f"{quoted(text[:1])} is no operation: send a, b, c or d")
        operand = decimals.parse(text[1:], self.fault)
        if operand is None:
            code = "BADNUM"
            if self.fault == "missing_number_is_badop" and not text[1:].strip(BLANKS):
                code = "BADOP"
            raise RequestError(code, f"{quoted(text[1:])} is not a decimal number")
        exponent, name = OPERATIONS[text[:1].lower()]
        result = self.power(operand, exponent)
        if math.isinf(result) and self.fault == "overflow_closes":
            raise OverflowError
        if math.isinf(result) and self.fault != "overflow_inf":
            code = "BADNUM" if self.fault == "range_is_badnum" else "RANGE"
            raise RequestError(code, f"the {name} of {quoted(text[1:])} is too large for a double")
        if result == 0 and operand != 0 and self.fault == "underflow_is_range":
            raise RequestError("RANGE", f"the {name} of {quoted(text[1:])} is too small for a double")
        if self.fault == "subnormals_are_zero" and abs(result) < 2.0**-1022:
            return math.copysign(0.0, result)
        return result

    def power(self, operand, exponent):
        """Returns the product, rounded after each step from the left."""
        if self.fault == "pow_operator" and math.isfinite(operand):
            try:
                return operand**exponent
            except OverflowError:
                return math.inf
        if self.fault == "exact_arithmetic" and math.isfinite(operand) and operand and exponent > 1:
            try:
                return float(Fraction(operand) ** exponent)
            except OverflowError:
                return math.inf
        if self.fault == "fourth_is_square_of_square" and exponent == 4:
            return (operand * operand) * (operand * operand)
        if self.fault == "float32":
            return decimals.to_float32(math.prod([operand] * exponent))
        result = operand
        for _ in range(exponent - 1):
            result *= operand
        return result

    def error_reply(self, error, has_lf, text=b""):
        """Returns an error reply with its terminator. An invalid line leaves the connection open."""
        is_line_error = error.code in ("BADOP", "BADNUM")
        if (is_line_error and self.fault == "error_closes_line") or (
            error.code == "RANGE" and self.fault == "range_closes_line"
        ):
            self.end_requests()
        reply = f"e{error.code} {error.message}"
        if self.fault == "code_missing":
            reply = "e"
        elif self.fault == "message_missing":
            reply = f"e{error.code}"
        elif self.fault == "unknown_code":
            reply = f"eERROR {error.message}"
        elif self.fault == "lowercase_code":
            reply = f"e{error.code.lower()} {error.message}"
        elif self.fault == "message_not_ascii":
            reply = f"e{error.code} ungültig: {error.message}"
        elif self.fault == "message_of_two_lines":
            reply = f"e{error.code} error\n{error.message}"
        elif self.fault == "message_too_long" and is_line_error:
            reply = f"e{error.code} invalid: {bytes(text)!r}"
        return reply.encode() + self.terminator(has_lf)

    def terminator(self, has_lf):
        """Returns the bytes after a reply."""
        if self.fault == "nul_terminated":
            return b"\n\0" if has_lf else b"\0"
        if not has_lf or self.fault == "no_lf_in_reply":
            return b""
        return b"\r\n" if self.fault == "crlf_reply" else b"\n"
