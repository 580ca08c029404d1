//! The texts of the client in each language. A missing translation does not compile.

use std::fmt::Display;

use proto::client::rps::Round;
use proto::wire::number::NumberError;
use proto::wire::rps::{Move, Outcome};

use super::Language;
use crate::error::FailureKind;

/// Defines a function for each entry, which returns its text in the language of the process.
macro_rules! texts {
    ($($name:ident $(($($argument:ident),*))? $english:literal $chinese:literal)*) => {$(
        pub(crate) fn $name($($($argument: impl Display),*)?) -> String {
            match Language::current() {
                Language::English => format!($english),
                Language::Chinese => format!($chinese),
            }
        }
    )*};
}

/// Defines a function for each type, which returns the name of a value in the language of the process.
macro_rules! names {
    ($($name:ident: $type:ty { $($value:pat => $english:literal $chinese:literal)* })*) => {$(
        pub(crate) fn $name(value: $type) -> &'static str {
            match (value, Language::current()) {$(
                ($value, Language::English) => $english,
                ($value, Language::Chinese) => $chinese,
            )*}
        }
    )*};
}

// Help.
texts! {
    about "Asks the power server and plays rock-paper-scissors" "向 power 服务器求幂，与 rps 服务器猜拳"
    exit_codes
        "Exit codes: 0 done; 1 the server refused, or a check failed; 2 wrong usage;\n\
         3 cannot connect; 4 timed out; 5 the server broke the protocol; 130 Ctrl-C"
        "退出码：0 完成；1 被服务器拒绝，或检查未通过；2 用法错误；3 无法连接；\n\
         4 超时；5 服务器违反协议；130 Ctrl-C"
    help_commands "Commands" "命令"
    help_arguments "Arguments" "参数"
    help_options "Options" "选项"
    help_common "For every command" "所有命令通用"
    help_usage "Usage" "用法"
    help_flag "Print help" "显示帮助"
    help_command "Print this help, or that of a command" "显示帮助，或某个命令的帮助"
    version_flag "Print the version" "显示版本"
    timeout
        "How long to wait in each phase: for the address, the connection, the sending, the reply [default: 5s]"
        "每个阶段最多等多久：解析地址、连接、发送、应答 [默认：5s]"
    lang
        "In which language to speak: en or zh [default: as LC_ALL, LC_MESSAGES or LANG says]"
        "使用的语言：en 或 zh [默认：依 LC_ALL、LC_MESSAGES、LANG]"
    json "Print one JSON object a line on standard output, errors included" "在标准输出上每行打印一个 JSON 对象，包括错误"
    quiet "Say nothing but answers and errors" "只打印答案和错误"
    verbose "Say on standard error how each connection goes" "在标准错误上说明每个连接的经过"
    trace
        "Show on standard error every byte that crosses, each way and with its time"
        "在标准错误上显示每个方向经过的每个字节及其时间"
    addr(variable, default)
        "Where the server listens [env: {variable}] [default: {default}]"
        "服务器地址 [环境变量：{variable}] [默认：{default}]"
    opponent_addr
        "Where the server listens [env: RPS_ADDR; with --duel, DUEL_ADDR] \
         [default: 127.0.0.1:5001; with --duel, 127.0.0.1:5002]"
        "服务器地址 [环境变量：RPS_ADDR；用 --duel 时：DUEL_ADDR] \
         [默认：127.0.0.1:5001；用 --duel 时：127.0.0.1:5002]"

    power "Ask for powers of numbers, one answer a line" "求数的幂，每行一个答案"
    square "x·x" "平方：x·x"
    cube "x·x·x" "立方：x·x·x"
    fourth "x·x·x·x" "四次方：x·x·x·x"
    echo "The number itself" "这个数本身"
    numbers
        "Numbers such as 2, -0.5 or 1e-3; - reads them from standard input, one a line"
        "2、-0.5、1e-3 这样的数；- 表示从标准输入读取，每行一个"
    keep_alive
        "Ask all on one connection, in lines, without waiting for each answer"
        "在一个连接上逐行发送全部请求，不等待每个答案"
    framing
        "How to end a request, and so how to know where the reply ends: eof closes the sending half, and the reply ends \
         with the stream; line sends a line, and the reply is one; bare sends nothing more, and the reply is what one \
         read delivers [default: eof; with --keep-alive: line]"
        "怎样结束一个请求，也就怎样知道应答在哪里结束：eof 关闭发送方向，应答随流结束；line 发送一行，应答也是一行；\
         bare 什么也不加，一次读到的就是应答 [默认：eof；用 --keep-alive 时：line]"
    split
        "Send each request in pieces of so many bytes, as a network may. A server may take the first that reads as a \
         request for all of it: with eof and line the error behind its hasty answer shows, but with bare a reader of \
         one reply cannot notice a wrong split"
        "把每个请求拆成每片这么多字节来发送，网络也可能这样做。服务器可能把先到的、看起来完整的一段当成整个请求：\
         用 eof 和 line 时，过早的答案后面会看到错误；而用 bare 时，只读一次应答的一方无法察觉错误的拆分"
    delay "With --split: how long to wait between two pieces [default: 20ms]" "用 --split 时：两片之间等多久 [默认：20ms]"

    rps "Play rock-paper-scissors on one connection" "在一个连接上猜拳"
    throw "Play these moves, one line each: the move and how it ended" "出这些拳，每行一拳：所出的和结果"
    moves
        "scissors, rock, paper (or s, r, p, or 剪刀, 石头, 布, or 1, 2, 3); - reads moves from standard input, one a line"
        "剪刀、石头、布（或 1、2、3，或 scissors、rock、paper，或 s、r、p）；- 表示从标准输入读取，每行一拳"
    play "Play at a prompt, or moves from standard input, and keep the score" "在提示符下玩，或从标准输入出拳，并计分"
    best_of
        "End once one side has won more than half of so many rounds, an odd number; draws do not count"
        "一方在这么多局（奇数）中赢得过半即结束；平局不算"
    duel "Play against another player, and wait for each of their moves" "与另一位玩家对战，并等待对方出拳"
    window
        "With --duel: how long the server lets a move wait for the other player's (its duel.window); --timeout comes \
         on top of it [default: 30s]"
        "用 --duel 时：服务器让一拳等对方多久（它的 duel.window）；--timeout 在此之外另计 [默认：30s]"

    probe "Check with a real exchange that a server works" "用一次真实的问答检查服务器是否正常"
    probe_power "Ask the power server for a square" "向 power 服务器求一个平方"
    probe_rps "Play a round against the house" "与庄家猜一局"
    probe_duel
        "Send the duel a byte that is no move, which disturbs no player"
        "给对战服务器发一个不是出拳的字节，不打扰任何玩家"
    wait "Try again until it works, for so long" "反复尝试直到正常，最多这么久"

    completions "Print a script that completes commands in a shell" "打印 shell 的命令补全脚本"
    shell "bash, elvish, fish, powershell or zsh" "bash、elvish、fish、powershell 或 zsh"

    bench "Put load on a server, verify every answer, and measure" "给服务器加压，核对每个答案，并测量"
    bench_power "Ask for powers, on short connections or kept ones" "求幂，用短连接或长连接"
    bench_rps "Play against the house, and see whether it is fair" "与庄家猜拳，并检验它是否公平"
    bench_duel "Let players meet each other, two at a time" "让玩家两两相遇对战"
    bench_exchange
        "Have any server answer the same request again and again, with the same bytes"
        "让任意服务器反复应答同一个请求，每次的字节都相同"
    exchange_keep_alive "Ask all on one connection each, one after the other" "保持连接，依次发送请求"
    exchange_send
        "The request: text, with \\r, \\n, \\t, \\0, \\\\ and \\xHH for bytes that are none"
        "请求：文本，其中 \\r、\\n、\\t、\\0、\\\\、\\xHH 表示非文本字节"
    exchange_expect "The right answer to it, written alike, byte for byte" "正确的应答，写法相同，逐字节核对"
    exchange_addr "Where the server listens" "服务器监听的地址"
    pipeline_exchange
        "So many requests in flight on each connection, which is then kept alive [default: 1]"
        "每个连接（因而是长连接）上同时有多少个请求在途 [默认：1]"
    connections "How many connections at once [default: 50]" "同时有多少个连接 [默认：50]"
    requests "Stop after so many requests, such as 500, 100k or 2m" "发完指定数量的请求后结束，如 500、100k、2m"
    duration
        "Stop after this long [default: 5s, where --requests does not say]"
        "运行指定时长后结束 [默认：5s，除非给出 --requests]"
    rate
        "Send so many requests a second, at even distances whatever becomes of them, and count an answer's time from \
         when its request should have been sent"
        "每秒等距发出这么多请求，不管应答如何；应答的时间从请求本应发出的时刻算起"
    pipeline "So many requests in flight on each connection [default: 1]" "每个连接上同时有多少个请求在途 [默认：1]"
    pipeline_power
        "So many requests in flight on each connection, which is then kept alive [default: 1; with --compare: 64]"
        "每个连接（因而是长连接）上同时有多少个请求在途 [默认：1；用 --compare 时：64]"
    warmup "Load for so long before anything is counted" "先加压这么久，再开始计数"
    threads "How many threads put the load on [default: 1]" "用多少个线程加压 [默认：1]"
    sources
        "Connect from these addresses of this machine in turn, each of which has ports of its own: addresses and ranges \
         with commas between them, such as 127.0.0.2-127.0.0.9"
        "轮流从本机的这些地址连接，每个地址有自己的端口：用逗号隔开的地址和范围，如 127.0.0.2-127.0.0.9"
    bench_keep_alive "Ask all on one connection each, in lines, one after the other" "保持连接，逐行依次发送请求"
    bench_framing
        "How to end a request on a short connection: eof, line or bare [default: eof]"
        "短连接怎样结束一个请求：eof、line 或 bare [默认：eof]"
    compare
        "Run short connections, kept ones and pipelined ones in turn, and show what a connection costs"
        "依次用短连接、长连接、流水线各跑一遍，并列出一个连接的代价"
    bench_window
        "How long the server lets a move wait for another player's (its duel.window); --timeout comes on top of it \
         [default: 30s]"
        "服务器让一拳等对方多久（它的 duel.window）；--timeout 在此之外另计 [默认：30s]"
    op "What to ask: square, cube, fourth or echo [default: square]" "求什么：square、cube、fourth 或 echo [默认：square]"
    number "Of which number [default: 2]" "求哪个数 [默认：2]"
}

// Usage errors.
texts! {
    usage_error(message) "error: {message}" "错误：{message}"
    more_help(command) "For more information, try '{command} --help'." "详情请看 '{command} --help'。"
    is_wrong(quoted, right) "{quoted} is {right}" "{quoted} {right}"
    invalid_value(value, argument, right)
        "invalid value '{value}' for '{argument}': {right}"
        "'{argument}' 的值 '{value}' 无效：{right}"
    one_of(values) "one of {values}" "可以是 {values}"
    missing_value(argument) "a value is required for '{argument}'" "'{argument}' 需要一个值"
    missing_argument(arguments) "these are required: {arguments}" "缺少：{arguments}"
    missing_command(commands) "a command is required: {commands}" "需要一个命令：{commands}"
    no_command "a command is required; --help lists them" "需要一个命令；--help 列出全部命令"
    takes_no_value(argument) "'{argument}' takes no value" "'{argument}' 不带值"
    argument_not_text "an argument is not valid UTF-8" "有参数不是有效的 UTF-8 文本"
    unknown_argument(argument) "unexpected argument '{argument}'" "无法识别的参数 '{argument}'"
    unknown_command(command) "unknown command '{command}'" "无法识别的命令 '{command}'"
    conflict(argument, other) "'{argument}' cannot be used with '{other}'" "'{argument}' 不能与 '{other}' 一起用"
    perhaps(suggestion) "; perhaps '{suggestion}' was meant" "；是不是 '{suggestion}'"
    not_a_move
        "not a move: scissors, rock or paper (s, r, p; 剪刀, 石头, 布; 1, 2, 3)"
        "不是有效的出拳：剪刀、石头、布（1、2、3；scissors、rock、paper；s、r、p）"
    not_a_duration
        "write a duration with its unit, such as 5s or 250ms, up to 24h"
        "请输入带单位的时长，如 5s、250ms，最长 24h"
    no_escape(after)
        "no escape begins with '\\{after}'; there are \\r, \\n, \\t, \\0, \\\\ and \\xHH"
        "没有以 '\\{after}' 开头的转义；可用的有 \\r、\\n、\\t、\\0、\\\\、\\xHH"
    not_an_exchange "write 1 to 512 bytes" "请输入 1 到 512 个字节"
    not_an_address
        "write a host and a port, such as localhost:5000 or [::1]:5000"
        "请输入主机和端口，如 localhost:5000、[::1]:5000"
    not_a_count(least, most)
        "write a whole number from {least} to {most}; 10k and 2m work too"
        "请输入 {least} 到 {most} 的整数；也可以写 10k、2m"
    not_odd "write an odd number, so that more than half can be won" "请输入奇数，才能分出过半"
    not_sources
        "write addresses of one kind and ranges of at most 256 of them, such as 127.0.0.2-127.0.0.9,127.0.0.20"
        "请输入同一类的地址和范围，每个范围最多 256 个，如 127.0.0.2-127.0.0.9,127.0.0.20"
    foreign_source(source, error)
        "--sources: {source} is no address of this machine: {error}"
        "--sources：{source} 不是本机地址：{error}"
    keep_alive_needs_lines
        "--keep-alive needs lines: leave --framing out, or make it line"
        "--keep-alive 需要逐行：请去掉 --framing，或写 --framing line"
    in_variable(variable, value, right)
        "{variable}: '{value}' is not an address: {right}"
        "{variable}：'{value}' 不是地址：{right}"
    variable_is_no_text(variable) "{variable}: not valid UTF-8" "{variable}：不是有效的 UTF-8 文本"
    input_line(line, wrong) "standard input, line {line}: {wrong}" "标准输入第 {line} 行：{wrong}"
    input_too_long(limit) "it has more than {limit} bytes" "超过 {limit} 字节"
    input_not_text "the line is not valid UTF-8" "这一行不是有效的 UTF-8 文本"
    input_broken(error) "standard input: {error}" "标准输入：{error}"
}

// Other errors, and hints what to try next.
texts! {
    interrupted "asked to end by a signal" "收到信号，已结束"
    output_broken(error) "standard output: {error}" "标准输出：{error}"
    refused(address, refusal) "{address}: the server refused: {refusal}" "{address}：服务器拒绝：{refusal}"
    wrong_square(address, asked, answer)
        "{address}: the square of {asked} came back as {answer}"
        "{address}：{asked} 的平方得到的是 {answer}"
    house_voids(address)
        "{address}: it voids a round that the house always plays"
        "{address}：庄家总会应战，这一局却作废了"
    hint_nobody_listens
        "; nothing listens there: is the server running, and is this its address?"
        "；那里没有程序在监听：服务器在运行吗？地址对吗？"
    hint_timeout "; --timeout sets how long to wait" "；--timeout 设定最多等多久"
    hint_framing
        "; a server that ends its replies otherwise may need another --framing, such as bare"
        "；服务器若用别的方式结束应答，可换一种 --framing，如 bare"
    hint_pieces
        "; the request went out in pieces, and the server took the first that read as one for all of it: its \
         framing.settle makes it wait for more"
        "；请求是分片发出的，服务器把先到的一段当成了整个请求：它的 framing.settle 可以让它多等一会儿"
    hint_duel
        "; --timeout sets how long to wait, and --duel waits for another player"
        "；--timeout 设定最多等多久，--duel 会等待另一位玩家"
    hint_is_duel
        "; this may be the address of the duel, which 'probe duel' checks"
        "；这可能是对战的地址，请用 'probe duel' 检查"
    hint_window
        ": that is --window, which should be the server's own, and --timeout on top of it"
        "：即 --window（应与服务器一致）再加 --timeout"
    hint_ports
        "; every local port towards it is in use or was within the last minute: --sources adds addresses, and fewer \
         connections a second (--rate, --keep-alive) need fewer ports"
        "；通往它的本地端口都在用，或一分钟内刚用过：--sources 可增加地址，减少每秒连接数（--rate、--keep-alive）\
         可少用端口"
    hint_files
        "; this process may open no more files: ulimit -n shows how many, and -c asks for fewer connections"
        "；本进程不能再打开更多文件：ulimit -n 显示上限，-c 可减少连接"
}

// Games and probes.
texts! {
    prompt(won, lost) "{won}:{lost} scissors, rock or paper? " "{won}:{lost} 剪刀、石头还是布？"
    you "you" "你"
    house "house" "庄家"
    other_player "other player" "对方"
    waiting(left) "waiting for the other player: {left} s left" "等待对方出拳：还剩 {left} 秒"
    nobody_moved
        "no other player moved in time, so this round counts for nobody"
        "没有别的玩家及时出拳，这一局作废，不计胜负"
    streak(rounds) "{rounds} wins in a row!" "{rounds} 连胜！"
    losing_streak(rounds) "{rounds} losses in a row." "{rounds} 连败。"
    score(won, lost, drawn) "{won} won, {lost} lost, {drawn} drawn" "{won} 胜，{lost} 负，{drawn} 平"
    score_void(void) ", {void} void" "，{void} 作废"
    match_won(won, lost) "You win the match {won}:{lost}." "你以 {won}:{lost} 赢得比赛。"
    match_lost(won, lost) "You lose the match {won}:{lost}." "你以 {won}:{lost} 输掉比赛。"
    server_at(server, address) "{server} at {address}" "{address} 的 {server}"
    works(server, millis) "{server} works ({millis} ms)" "{server} 正常（{millis} 毫秒）"
    not_yet(failure) "not yet: {failure}" "尚未就绪：{failure}"
}

// Results of a load.
texts! {
    bench_progress(right, rate, errors)
        "{right} answers, {rate}/s, {errors} errors"
        "{right} 个应答，{rate}/秒，{errors} 个错误"
    bench_short(server, request, framing, connections)
        "{server}: {request} on short connections{framing}, {connections} at a time"
        "{server}：{request}，短连接{framing}，同时 {connections} 个"
    bench_in_parentheses(framing) " ({framing})" "（{framing}）"
    bench_kept(server, request, connections, in_flight)
        "{server}: {request} on {connections} kept connections, each with {in_flight} in flight"
        "{server}：{request}，{connections} 个长连接，每个在途 {in_flight} 个"
    bench_house(server, connections, in_flight)
        "{server}: the house against {connections} players, each with {in_flight} in flight"
        "{server}：庄家对 {connections} 个玩家，每个在途 {in_flight} 拳"
    bench_players(server, connections, in_flight)
        "{server}: {connections} players against each other, each with {in_flight} in flight"
        "{server}：{connections} 个玩家互相对战，每个在途 {in_flight} 拳"
    bench_compared(server, request, connections)
        "{server}: {request}, {connections} connections at a time"
        "{server}：{request}，同时 {connections} 个连接"
    bench_requests "requests" "请求"
    bench_right(right, seconds) "{right} answered right in {seconds} s" "{right} 个答对，用时 {seconds} 秒"
    bench_throughput "throughput" "吞吐量"
    bench_a_second(rate) "{rate}/s" "{rate}/秒"
    bench_latency "latency" "延迟"
    bench_client "client" "客户端"
    bench_cpu(each, cores) "{each} of its CPU time a request, {cores} cores busy" "每个请求用 CPU {each}，占 {cores} 个核"
    bench_cpu_row "client's CPU" "客户端 CPU"
    bench_errors "errors" "错误"
    bench_outcome "outcomes" "结果"
    bench_outcomes(draw, win, lose) "draw {draw}, win {win}, lose {lose}" "平局 {draw}，胜利 {win}，失败 {lose}"
    bench_fairness "fairness" "公平性"
    bench_house_moves "the house" "庄家"
    bench_evenness "evenness" "均匀性"
    bench_moves(scissors, rock, paper)
        "scissors {scissors}, rock {rock}, paper {paper}"
        "剪刀 {scissors}，石头 {rock}，布 {paper}"
    bench_unsent "not sent" "未发出"
    bench_not_sent(count)
        "{count} were due and had no free connection to the end; they count with their wait"
        "{count} 个到期而始终没有空闲连接；按已等待的时间计入延迟"
    bench_in_play "in play" "在途"
    bench_unanswered(count) "{count} had no answer at the end" "结束时 {count} 个还没有应答"
    bench_given_up "Given up, since nothing was answered any more for long." "长时间没有任何应答，已放弃。"
    bench_fair(chi_square, p) "chi-square {chi_square}, p = {p}: fair" "卡方 {chi_square}，p = {p}：公平"
    bench_unfair(chi_square, p)
        "chi-square {chi_square}, p = {p}: a fair house would hardly do this"
        "卡方 {chi_square}，p = {p}：公平的庄家几乎不会这样"
    bench_troubles(count, first) "{count}; the first: {first}" "{count} 个；第一个：{first}"
    bench_rate_missed(rate) "The rate of {rate}/s was not reached." "没有达到每秒 {rate} 个。"
    bench_saturated
        "This client was busy all the time, so it may be what limited the load: --threads adds to it."
        "客户端一直在满负荷运行，它可能是瓶颈：可用 --threads 增加线程。"
    bench_column_short "short" "短连接"
    bench_column_kept "kept alive" "长连接"
    bench_column_pipelined(in_flight) "{in_flight} in flight" "在途 {in_flight}"
    bench_cost(machine, connections, caller)
        "A connection for each request costs {machine} of the machines' time and, with {connections} at a time,\n\
         {caller} of its caller's."
        "每个请求一个连接，机器要多花 {machine}；同时 {connections} 个时，调用者要多等 {caller}。"
    bench_cost_too_small
        "A connection for each request costs less than these runs can tell: longer ones can."
        "这几次运行还测不出每个请求一个连接的代价：请运行得更久。"
    wrong_answer(address, asked, answer, right)
        "{address}: asked {asked}, it answered {answer}, and {right} is right"
        "{address}：问 {asked}，答 {answer}，正确的是 {right}"
    no_such_power
        "--number: that power of it is beyond the largest double, 1.7976931348623157e+308"
        "--number：该数的这个幂超出最大的双精度数 1.7976931348623157e+308"
    too_many_connections(connections, most)
        "-c {connections}: this process may open files for {most} connections; ulimit -n says how many files"
        "-c {connections}：本进程打开的文件只够 {most} 个连接；ulimit -n 显示文件上限"
}

// Events of a connection, for --verbose and --trace.
texts! {
    trace_resolved(name, addresses, millis)
        "resolve     {name} is {addresses} ({millis} ms)"
        "解析        {name} 即 {addresses}（{millis} 毫秒）"
    trace_connect(address) "connect     to {address}" "连接        {address}"
    trace_connected(local) "connected   from {local}" "已连上      从 {local}"
    trace_failed(message) "failed      {message}" "失败        {message}"
    trace_half_closed "half-close  we send nothing more, and still listen" "半关闭      我方不再发送，但仍在接收"
    trace_ended "end         the server sends nothing more" "结束        服务器不再发送"
    trace_broken(error) "broken      {error}" "断开        {error}"
    trace_closed(sent, received)
        "close       {sent} bytes sent, {received} received"
        "关闭        共发 {sent} 字节，收 {received} 字节"
    trace_first "first byte" "首字节"
}

// Names of values.
names! {
    not_a_number: NumberError {
        NumberError::Malformed => "not a decimal number such as 2, -0.5 or 1e-3" "不是 2、-0.5、1e-3 这样的十进制数"
        NumberError::OutOfRange
            => "beyond the largest double, 1.7976931348623157e+308" "超出最大的双精度数 1.7976931348623157e+308"
    }
    shown: Move {
        Move::Scissors => "scissors" "剪刀"
        Move::Rock => "rock" "石头"
        Move::Paper => "paper" "布"
    }
    round: Round {
        Round::Judged(Outcome::Draw) => "draw" "平局"
        Round::Judged(Outcome::Win) => "win" "胜利"
        Round::Judged(Outcome::Lose) => "lose" "失败"
        Round::Void => "void" "作废"
    }
    kind: FailureKind {
        FailureKind::Usage => "usage" "用法错误"
        FailureKind::Refused => "refused" "被拒绝"
        FailureKind::Reset => "reset" "连接被重置"
        FailureKind::Timeout => "timeout" "超时"
        FailureKind::Protocol => "protocol" "违反协议"
        FailureKind::Closed => "closed" "连接被关闭"
        FailureKind::Unresolved => "name not resolved" "无法解析名字"
        FailureKind::Unreachable => "unreachable" "不可达"
        FailureKind::NoLocalPort => "no local port" "没有本地端口"
        FailureKind::NoFiles => "no more files" "打开的文件太多"
        FailureKind::Wrong => "wrong answer" "答案错误"
        FailureKind::System => "system" "系统错误"
        FailureKind::Interrupted => "interrupted" "被中断"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Objects have these names from `proto`, lines have them from here.
    #[test]
    fn english_names_are_those_of_proto() {
        for mine in Move::ALL {
            assert_eq!(shown(mine), mine.to_string());
        }
        for ended in [Outcome::Draw, Outcome::Win, Outcome::Lose].map(Round::Judged).into_iter().chain([Round::Void]) {
            assert_eq!(round(ended), ended.to_string());
        }
        for error in [NumberError::Malformed, NumberError::OutOfRange] {
            assert_eq!(not_a_number(error), error.to_string());
        }
    }
}
