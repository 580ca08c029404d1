//! The texts of `check`, in English and Chinese.

use std::fmt::Display;

use super::Language;
use super::texts::texts;

// Help.
texts! {
    check "Test whether a server implements its protocol correctly" "检查一个服务器是否正确实现了协议"
    check_power "Test a power server" "检查 power 服务器"
    check_rps "Test a rock-paper-scissors server against the house" "检查与庄家对战的猜拳服务器"
    check_duel "Test a duel server, in a lobby without other players" "检查对战服务器，大厅中不能有其他玩家"
    level
        "How much to check: core, full or robust. core: one write and one read; full: all promises of PROTOCOL.md; \
         robust: broken and hostile clients too. Each includes the level before [default: full]"
        "检查到哪一级：core、full 或 robust。core：一次写，一次读；full：PROTOCOL.md 的全部承诺；\
         robust：再加上有缺陷或恶意的客户端。每一级包括前一级 [默认：full]"
    level_core "One write, one read" "一次写，一次读"
    level_full "All promises of PROTOCOL.md" "PROTOCOL.md 的全部承诺"
    level_robust "Many connections, floods, resets, garbage" "大量连接、洪泛、重置、乱码"
    only
        "Only cases whose id or section contains this text; several texts are separated by commas"
        "只检查名称或章节含此文本的用例；多个文本用逗号隔开"
    list "Print the cases without running them" "只列出用例，不运行"
    slow "Also run cases that take longer than 10 s" "也运行超过 10 秒的用例"
    request_timeout "The server's timeouts.request [default: 5s]" "服务器的 timeouts.request [默认：5s]"
    idle(default) "The server's timeouts.idle [default: {default}]" "服务器的 timeouts.idle [默认：{default}]"
    max_request_bytes "The server's limits.max_request_bytes [default: 512]" "服务器的 limits.max_request_bytes [默认：512]"
    max_bad_frames "The server's limits.max_bad_frames [default: 16]" "服务器的 limits.max_bad_frames [默认：16]"
    window
        "The server's duel.window [default: measured, by letting one move go void]"
        "服务器的 duel.window [默认：让一拳作废来测量]"
    rounds
        "Rounds of the statistical cases. More rounds find smaller faults: 30k find a house that plays one move \
         in 35.3 % of the rounds, 3m the bias of 'random byte % 3' [default: 30k]"
        "统计用例的局数。局数越多，能发现的偏差越小：30k 能发现某一拳占 35.3 % 的庄家，\
         3m 能发现“随机字节 % 3”的偏差 [默认：30k]"
}

// The output of a run.
texts! {
    announce(server, count, level) "{server}: level {level}, cases: {count}" "{server}：级别 {level}，用例数 {count}"
    announce_robust(connections)
        "The robust cases open up to {connections} connections at a time, and send up to 32 MiB; each ends \
         within two minutes."
        "robust 用例最多同时打开 {connections} 个连接，最多发送 32 MiB；每个用例在两分钟内结束。"
    announce_lobby
        "Other players in the lobby would disturb the cases."
        "大厅里的其他玩家会干扰这些用例。"
    announce_window(seconds)
        "Measuring the window: one move waits until it is void, for at most {seconds} s; --window skips this."
        "正在测量窗口：让一拳等到作废，最多 {seconds} 秒；用 --window 可跳过。"
    no_case(pattern)
        "--only: no case has '{pattern}' in its id or section; --list shows all"
        "--only：没有名称或章节含 '{pattern}' 的用例；--list 列出全部"
    hint_nothing_answered(service)
        "; nothing was answered at all: is this the {service} service?"
        "；没有得到任何应答：这是 {service} 服务吗？"
    label_sent "sent" "发送"
    label_expected "expected" "应收到"
    label_received "received" "实际收到"
    label_why "why" "原因"
    label_likely "likely" "可能是"
    earlier(count) "… {count} earlier writes and reads" "……此前还有 {count} 次收发"
    more_bytes(count) "… and {count} more bytes" "……还有 {count} 字节"
    the_end "the end of the stream" "流结束"
    nothing(seconds) "nothing for {seconds} s" "{seconds} 秒内什么也没有"
    reset "a reset (RST)" "连接被重置（RST）"
    truncated "a FIN without close_notify" "没有 close_notify 的 FIN"
    error "an error of the connection" "连接出错"
    then_nothing(seconds) "then nothing for {seconds} s" "此后 {seconds} 秒内什么也没有"
    too_early(seconds) "after {seconds} s, which is too early" "在 {seconds} 秒时，太早了"
    then_end "then the end of the stream" "然后流结束"
    then_reset "then a reset (RST)" "然后连接被重置（RST）"
    then_truncated "then a FIN without close_notify" "然后是没有 close_notify 的 FIN"
    then_error "then an error of the connection" "然后连接出错"
    section_counts(number, title, ok, fail, skip)
        "{number:<4} {title}: {ok} ok, {fail} failed, {skip} skipped"
        "{number:<4} {title}：{ok} 通过，{fail} 失败，{skip} 跳过"
    summary(server, ok, fail, skip, verdict)
        "{server}: {ok} ok, {fail} failed, {skip} skipped: {verdict}"
        "{server}：{ok} 通过，{fail} 失败，{skip} 跳过：{verdict}"
    verdict_ok(level) "no fault found at level {level}" "在 {level} 级别未发现错误"
    verdict_none "no case was run" "没有运行任何用例"
    verdict_fail(level) "faults found at level {level}" "在 {level} 级别发现了错误"
    skip_gone "the server can no longer be reached" "服务器已无法连接"
    skip_setting(setting)
        "needs a server with {setting}"
        "需要设置为 {setting} 的服务器"
    skip_unknown_window "the window is not known" "窗口未知"
    skip_tls "only over TLS: --addr tls://HOST:PORT" "仅用于 TLS：--addr tls://HOST:PORT"
    skip_unix "a Unix socket has no reset" "Unix 套接字没有重置"
    skip_window(least) "needs a window of at least {least}, to tell the times apart" "需要至少 {least} 的窗口才能区分时间"
    skip_slow(duration) "takes about {duration}; --slow runs it" "约需 {duration}；用 --slow 运行"
}

// The results of the cases that are code.
texts! {
    note_numbers(count) "{count} random numbers" "{count} 个随机数"
    note_in_flight(count) "{count} requests in flight" "{count} 个在途请求"
    note_p(p, rounds) "p = {p} after {rounds} rounds" "{rounds} 局后 p = {p}"
    note_connections(count, rejected)
        "{count} connections at a time, {rejected} of them rejected"
        "同时 {count} 个连接，其中 {rejected} 个被拒"
    note_unread(kib) "it stopped reading after {kib} KiB" "在 {kib} KiB 后停止读取"
    note_clients(count) "{count} clients" "{count} 个客户端"
    note_players(players, rounds) "{players} players, {rounds} rounds each" "{players} 个玩家，各 {rounds} 局"
    note_rounds(rounds) "{rounds} rounds" "{rounds} 局"
    note_disconnected(seconds) "disconnected {seconds} s after its first request" "第一个请求之后 {seconds} 秒被断开"
    expect_other_moves "other moves of the house on another connection" "另一个连接上庄家的出拳不同"
    expect_disconnect "the server resets the connection of a client that never reads" "服务器重置从不读取的客户端的连接"
    note_window(seconds) "the window is about {seconds} s" "窗口约 {seconds} 秒"
    expect_stops_reading
        "the server stops reading while its replies are not read"
        "应答无人读取时，服务器停止读取"
    took_unread(mib) "it took {mib} MiB of requests" "它收下了 {mib} MiB 的请求"
    expect_in_time "the case ends in time" "用例按时结束"
    expect_zero_sum "as many wins as losses" "胜负次数相等"
    won_and_lost(won, lost) "{won} wins and {lost} losses" "{won} 胜 {lost} 负"
    expect_rule
        "each move wins, loses and draws about as often as any other"
        "每一种拳的胜、负、平都差不多一样多"
    outcomes_with(mv, won, lost, drawn)
        "{mv}: {won} won, {lost} lost, {drawn} drawn"
        "{mv}：{won} 胜，{lost} 负，{drawn} 平"
    expect_fair "the house plays each move about a third of the time" "庄家每种拳各约三分之一"
    house_moves(scissors, rock, paper)
        "scissors {scissors}, rock {rock}, paper {paper}"
        "剪刀 {scissors}，石头 {rock}，布 {paper}"
    expect_independent "a move of the house does not depend on its move before" "庄家的一拳与它的前一拳无关"
    expect_no_memory
        "a move of the house does not depend on the round before"
        "庄家的一拳与前一局无关"
    house_depends "it does" "有关"
}

// Likely mistakes.
texts! {
    mistake_crlf "the reply ends with CR LF; it has to end with LF alone" "应答以 CR LF 结尾，应只以 LF 结尾"
    mistake_no_line_feed
        "after a line, every reply is a line: the LF is missing"
        "收到一行之后，每个应答也是一行：缺少 LF"
    mistake_line_feed
        "a reply to a request without LF has no line end"
        "请求没有 LF 时，应答也没有行尾"
    mistake_terminator "the reply ends with a NUL; it has no terminator" "应答以 NUL 结尾，应没有结束符"
    mistake_order "the replies are not in the order of the requests" "应答的顺序与请求不一致"
    mistake_one_read
        "one read was taken for one request: a read may have a part of a request, or several"
        "把一次读取当成了一个请求：一次读取可能只有半个请求，也可能有好几个"
    mistake_carriage_return
        "one CR before the LF belongs to the line end: remove it before you parse"
        "LF 前的一个 CR 属于行尾：解析前请去掉"
    mistake_inner_carriage_return
        "only one CR before the LF belongs to the line end: strip() removes more, and strtod() skips white space"
        "只有 LF 前的一个 CR 属于行尾：strip() 去掉得更多，strtod() 会跳过空白"
    mistake_blanks_reply "blanks alone are no request, and get no reply" "只有空白不是请求，没有应答"
    mistake_blanks "spaces and tabs around the number are allowed" "数的前后允许有空格和制表符"
    mistake_blank_line "a blank line gets no reply" "空行没有应答"
    mistake_rejects(request)
        "'{request}' is valid by the grammar of PROTOCOL.md, but was rejected"
        "按 PROTOCOL.md 的语法，'{request}' 是有效的，却被拒绝了"
    mistake_rejects_late
        "bytes that cannot become a request have to be rejected at once"
        "不可能成为请求的字节应立即拒绝"
    mistake_limit_off
        "the limit counts wrong: a request of exactly the limit is valid, and its line end does not count"
        "上限算错了：长度恰好为上限的请求有效，行尾不计入"
    mistake_last_line
        "the half-close ends the last line too, so it has to get its reply"
        "半关闭也结束最后一行，它也应得到应答"
    mistake_timeout_without_reply
        "the deadline ended the connection without the error reply TIMEOUT"
        "到期时没有发 TIMEOUT 错误应答就结束了连接"
    mistake_idle_reply "an idle connection closes without a reply" "空闲连接关闭时不发应答"
    mistake_few_digits
        "too few digits: the text has to read back as the same double"
        "数字太少：文本应能读回同一双精度数"
    mistake_zeros "zeros too many: 4.0 and not 4.00 or 04.0" "多余的零：应为 4.0，不是 4.00 或 04.0"
    mistake_one_at_a_time
        "clients are served one after the other: each connection needs its own task, thread or event"
        "客户端是一个接一个服务的：每个连接应有自己的任务、线程或事件"
    mistake_gone "the server has stopped: an error of one connection must not end it" "服务器已停止：一个连接的错误不应使它终止"
    mistake_echo "the operation d, echo, is missing" "缺少操作 d（原样返回）"
    mistake_underflow
        "a result that is too small becomes 0.0; only one that is too large is RANGE"
        "太小的结果变为 0.0；只有太大的才是 RANGE"
    mistake_reset
        "the socket was closed while bytes of the client were unread, which sends an RST: half-close, read to \
         the end, then close"
        "客户端还有字节未读时就关闭了套接字，因此发出 RST：应先半关闭，读到结尾，再关闭"
    mistake_closes
        "the connection was closed although the client may send more"
        "客户端可能还要发送，连接却被关闭了"
    mistake_overflow
        "an overflow raised an error that ended the connection: the reply is RANGE"
        "溢出引发的错误终止了连接：应答应为 RANGE"
    mistake_no_error
        "an invalid request ended the connection without an error reply"
        "无效的请求没有得到错误应答，连接就结束了"
    mistake_half_close
        "the end of the client's data ended the connection before the replies were sent"
        "客户端数据一结束，应答还没发出，连接就结束了"
    mistake_late_line_feed
        "the line end arrived after the bare reply, so the LF of the reply has to follow"
        "行尾在无结束符的应答之后才到，应答的 LF 必须补发"
    mistake_no_deadline
        "no deadline, or one that each byte extends: count from the start of the request"
        "没有期限，或者每个字节都会延长期限：应从请求开始时计时"
    mistake_no_limit
        "a request may grow without bound: reply TOOLONG as soon as it exceeds the limit"
        "请求可以无限增长：一超过上限就应答 TOOLONG"
    mistake_waits_for_line_feed
        "the server waits for LF or the half-close: bytes without LF count as soon as they are a request, or cannot be one"
        "服务器在等 LF 或半关闭：没有 LF 的字节一旦是完整的请求，或不可能成为请求，就应处理"
    mistake_close_notify
        "over TLS, the end of the data is close_notify, and then the FIN"
        "在 TLS 上，数据以 close_notify 结束，然后才是 FIN"
    mistake_stays_open
        "the connection stays open: after its last reply, the server has to close"
        "连接一直开着：最后一个应答之后，服务器应关闭连接"
    mistake_extra_bytes "the server sent bytes that belong to no request" "服务器发送了不属于任何请求的字节"
    mistake_incomplete
        "these bytes may still become a request: wait for the rest"
        "这些字节还可能成为请求：应等待其余部分"
    mistake_speaks_first
        "the server sent bytes before any request; it only replies"
        "服务器主动发送了数据；它只应发送应答"
    mistake_line_end_reply "a line end alone gets no reply" "单独的行尾没有应答"
    mistake_infinity
        "the result is infinite, for which the wire has no number: the reply is RANGE"
        "结果是无穷大，协议中没有这样的数：应答应为 RANGE"
    mistake_negative_zero "the sign of zero is lost: -0.0 is a number of its own" "零的符号丢了：-0.0 是另一个数"
    mistake_percent_g "the number has the few digits of '%g'" "这个数只有 '%g' 的几位数字"
    mistake_float32 "computed with single precision: numbers are doubles" "用了单精度：数应为双精度"
    mistake_product_order
        "a power function, or other rounding: the cube is (x·x)·x and the fourth power \
         ((x·x)·x)·x, each product rounded"
        "用了幂函数或别的舍入：立方是 (x·x)·x，四次方是 ((x·x)·x)·x，每个乘积都舍入一次"
    mistake_rounding
        "rounded in another way: a decimal becomes the nearest double, ties to even"
        "舍入方式不同：十进制数应取最近的双精度数，两者同样近时取偶数"
    mistake_other_operation
        "another operation: a is the square, b the cube, c the fourth power, d the number"
        "操作弄错了：a 平方，b 立方，c 四次方，d 数本身"
    mistake_tie
        "of two shortest digit strings, the farther one: take the one nearest to the double (as Python's repr does)"
        "两个最短数字串中取了较远的一个：应取离双精度数更近的（如 Python 的 repr）"
    mistake_digits
        "more digits than needed (such as '%.17g'): use the fewest that read back as the same double"
        "数字太多（如 '%.17g'）：应使用能读回同一双精度数的最少数字"
    mistake_positional "from 1e16 on, and below 0.0001, numbers have an exponent" "从 1e16 起、以及小于 0.0001 的数要用指数"
    mistake_exponent "from 0.0001 to below 1e16, numbers have no exponent" "0.0001 到 1e16 之间的数不用指数"
    mistake_exponent_layout
        "an exponent has a sign and at least two digits: 1e+16, 1e-05"
        "指数要有符号和至少两位数字：1e+16、1e-05"
    mistake_no_point
        "a whole number needs its '.0' ('%g' and integers have none)"
        "整数值也要有 '.0'（'%g' 和整数没有）"
    mistake_upper_case_op "op letters are lower case" "操作字母是小写的"
    mistake_leading_blank "no blank is allowed before the op letter" "操作字母前不允许有空白"
    mistake_float_syntax
        "the language's own float() accepts more than the grammar of PROTOCOL.md: inf, nan, 1_0, 0x10, other digits"
        "语言自带的 float() 比 PROTOCOL.md 的语法接受得多：inf、nan、1_0、0x10、其他数字"
    mistake_lower_case "the wire has lower case and upper case where PROTOCOL.md has them" "大小写应与 PROTOCOL.md 一致"
    mistake_message
        "after the code, an error reply has a space and a message of printable ASCII"
        "错误码之后要有一个空格和可打印 ASCII 的说明"
    mistake_reply_form
        "a reply is d and a number, or e, a code and a message; nothing else is sent"
        "应答是 d 和一个数，或 e、错误码和说明；不发送别的内容"
    mistake_incomplete_at_end
        "an incomplete request at the half-close gets an error reply"
        "半关闭时不完整的请求应得到错误应答"
    mistake_long_message "a reply has at most 1,024 bytes: shorten what the message quotes" "应答最多 1024 字节：请缩短说明中引用的内容"
    mistake_unknown_code
        "an error reply is e, one of the codes BADOP, BADNUM, RANGE, TOOLONG, TIMEOUT, BUSY, a space, and a message"
        "错误应答是 e、错误码（BADOP、BADNUM、RANGE、TOOLONG、TIMEOUT、BUSY 之一）、空格和说明"
    mistake_other_code(code, expected) "{code} instead of {expected}" "应为 {expected}，却是 {code}"
    mistake_line_in_game "a reply is one byte, without a line end" "应答是一个字节，没有行尾"
    mistake_two_bytes "an invalid byte gets one e, not two bytes" "无效字节只得到一个 e，不是两个字节"
    mistake_closes_on_invalid
        "an invalid byte closed the connection; only the last of the allowed ones does"
        "一个无效字节就关闭了连接；达到上限的那一个才会关闭"
    mistake_invalid_ignored "an invalid byte gets e: a client counts its replies" "无效字节应得到 e：客户端会数应答"
    mistake_rule
        "the outcomes depend on the player's move: a pair is judged wrong, or the house sees the move before it plays"
        "结果取决于玩家的拳：有一对拳判错了，或者庄家先看了玩家的拳"
    mistake_seed
        "the random numbers start anew on each connection: use one generator, or seed each from the system"
        "每个连接的随机数都从头开始：请共用一个生成器，或各自用系统的随机种子"
    mistake_no_write_timeout
        "no timeout for writes: a client that never reads keeps its connection and its buffers"
        "写没有超时：从不读取的客户端一直占用连接和缓冲区"
    mistake_move_rejected "a valid move was rejected: 1, 2 and 3 are moves" "有效的出拳被拒绝了：1、2、3 是出拳"
    mistake_accepts_byte "only 1, 2 and 3 are moves; any other byte gets e" "只有 1、2、3 是出拳；其他字节得到 e"
    mistake_bad_frames
        "count all invalid bytes of the connection; the last of those allowed gets its e, and then the server closes"
        "应累计连接上的全部无效字节；达到上限的那个得到 e，然后服务器关闭连接"
    mistake_house_void "the house always plays: v is a reply of the duel only" "庄家总会出拳：v 只用于对战"
    mistake_pair(mv, house, judged, right)
        "{mv} against {house} is judged as '{judged}'; right is '{right}'"
        "{mv}对{house}被判为“{judged}”，应为“{right}”"
    mistake_unfair
        "the house prefers a move: draw each with the same probability, as randrange(3) does"
        "庄家偏爱某一拳：每种拳的概率应相同，如 randrange(3)"
    mistake_follows_itself "the house follows a pattern of its own: draw each move anew" "庄家有自己的规律：每一拳都应重新随机选择"
    mistake_looks_at_player
        "the house reacts to the player: its move must not depend on earlier rounds"
        "庄家会根据玩家出拳：它的出拳不应取决于以前的局"
    mistake_early
        "a timeout ended too early: it counts from the last reply, or from the first byte"
        "超时太早：应从上一个应答或第一个字节算起"
    mistake_patience
        "another player met the move at once: the partner has a tenth of the window to move"
        "别的玩家立即遇到了这一拳：搭档有窗口十分之一的时间出拳"
    mistake_reveals "the server sent a move to a player: only the outcome may be sent" "服务器把出拳发给了玩家：只能发送结果"
    mistake_void_to_partner "v was sent to a player without a move in play" "向没有出拳的玩家发送了 v"
    mistake_error_closes
        "an error in a line closed the connection: only TOOLONG, TIMEOUT and BUSY close it"
        "行中的错误关闭了连接：只有 TOOLONG、TIMEOUT、BUSY 会关闭"
    mistake_is_rps "this looks like the rps server" "这像是猜拳服务器"
    mistake_is_power "this looks like the power server" "这像是 power 服务器"
    mistake_unreachable
        "this connection could not be made; the next one could"
        "这个连接没能建立；下一个可以"
    mistake_void_early "the window ended early: v comes at its end and not before" "窗口提前结束：v 在窗口结束时才发出"
    mistake_no_void
        "no timer ends the window, or one that is too late: a move that no other move meets is void at its end"
        "没有计时器结束窗口，或者太晚：无人应战的一拳在窗口结束时应作废"
    mistake_void_is_draw "a void move is v, not a draw" "作废是 v，不是平局"
    mistake_other_judge
        "judged against another move than the rule says, or by another rule"
        "判定时用错了对方的拳，或规则不对"
    mistake_swapped
        "the replies of the two players are swapped, or this pair is judged the wrong way round"
        "两个玩家的应答弄反了，或者这一对拳判反了"
    mistake_backpressure
        "no backpressure: stop reading from a client while its replies cannot be written"
        "没有反压：应答写不出去时，应停止读取该客户端"
    mistake_void_unexpected "the move was void although another move was there to meet it" "明明有另一拳可以相遇，这一拳却作废了"
    mistake_no_judgement
        "the round was not judged at once: both players get their replies when the second move arrives"
        "这一局没有立即判定：第二拳一到，两个玩家都应得到应答"
    mistake_judged_without "judged without a second player's move" "没有第二个玩家出拳就判定了"
}

/// Returns the reason of the cases that are transcripts, in both languages.
pub(crate) fn why_transcript(line: usize) -> [String; 2] {
    [format!("PROTOCOL.md shows this dialogue in line {line}."), format!("PROTOCOL.md 第 {line} 行给出了这段对话。")]
}
