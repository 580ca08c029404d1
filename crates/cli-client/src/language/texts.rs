//! All texts of the client, in English and Chinese. A missing translation does not compile.

use std::fmt::Display;

use proto::client::rps::Round;
use proto::wire::number::NumberError;
use proto::wire::rps::{Move, Outcome};

use super::Language;
use crate::error::FailureKind;

/// Defines a function for each entry, which returns the text in the language of the process.
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

pub(super) use texts;

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
    about "A client for the power server and the rock-paper-scissors server" "power 服务器和 rps（猜拳）服务器的客户端"
    exit_codes
        "Exit codes: 0 success; 1 error reply, server full, or a check failed;\n\
         2 usage error; 3 cannot connect, or the TLS handshake failed; 4 timeout;\n\
         5 protocol violation or broken connection; 130 Ctrl-C"
        "退出码：0 成功；1 错误应答、服务器已满，或检查未通过；2 用法错误；\n\
         3 无法连接，或 TLS 握手失败；4 超时；5 违反协议或连接断开；130 Ctrl-C"
    help_commands "Commands" "命令"
    help_arguments "Arguments" "参数"
    help_options "Options" "选项"
    help_common "For every command" "所有命令通用"
    help_examples "Examples:" "示例："
    help_short_end
        "For every command: --lang, --json, -q, -v, --trace, --timeout and the options\n\
         of TLS. --help adds these, full descriptions, examples and exit codes."
        "所有命令通用：--lang、--json、-q、-v、--trace、--timeout 和 TLS 的选项。\n\
         --help 列出这些选项、完整的说明、示例和退出码。"
    help_flag "Print help; --help has more than -h" "显示帮助；--help 比 -h 详细"
    help_command "Print this help, or the help of a command" "显示帮助，或某个命令的帮助"
    version_flag "Print the version" "显示版本"
    timeout
        "Timeout of each phase: resolve, connect, handshake, send, reply [default: 5s]"
        "每个阶段的超时：解析地址、连接、握手、发送、应答 [默认：5s]"
    lang
        "Language of the output: en or zh [default: from LC_ALL, LC_MESSAGES or LANG]"
        "输出的语言：en 或 zh [默认：依 LC_ALL、LC_MESSAGES、LANG]"
    json
        "Print one JSON object per line on standard output, errors included"
        "在标准输出上每行打印一个 JSON 对象，包括错误"
    quiet "Print only results and errors" "只打印结果和错误"
    verbose "Print the events of each connection on standard error" "在标准错误上打印每个连接的事件"
    trace
        "Like --verbose, with every byte sent and received"
        "同 --verbose，并打印收发的每个字节"
    cacert
        "For tls://: trust the authorities in this PEM file instead of the system's"
        "用于 tls://：信任这个 PEM 文件中的机构，而不是系统的"
    cert "For tls://: present the certificate in this PEM file; needs --key" "用于 tls://：出示这个 PEM 文件中的证书，须有 --key"
    key "For tls://: the private key of --cert, a PEM file" "用于 tls://：--cert 的私钥，PEM 文件"
    server_name
        "For tls://: the name in the server's certificate [default: the host of the endpoint]"
        "用于 tls://：服务器证书中的名称 [默认：端点的主机]"
    insecure "For tls://: accept any certificate of the server" "用于 tls://：接受服务器的任何证书"
    addr(variable, default)
        "Endpoint of the server: HOST:PORT, tls://HOST:PORT or unix:PATH [env: {variable}] [default: {default}]"
        "服务器的端点：HOST:PORT、tls://HOST:PORT 或 unix:PATH [环境变量：{variable}] [默认：{default}]"
    addrs(variable, default)
        "Endpoint of the server: HOST:PORT, tls://HOST:PORT or unix:PATH. Several, separated by commas or each with \
         its own --addr, are used in turn [env: {variable}] [default: {default}]"
        "服务器的端点：HOST:PORT、tls://HOST:PORT 或 unix:PATH。可有多个，用逗号隔开，或多次给出 --addr，依次使用 \
         [环境变量：{variable}] [默认：{default}]"
    opponent_addr
        "Endpoint of the server: HOST:PORT, tls://HOST:PORT or unix:PATH [env: RPS_ADDR; with --duel, DUEL_ADDR] \
         [default: 127.0.0.1:5001; with --duel, 127.0.0.1:5002]"
        "服务器的端点：HOST:PORT、tls://HOST:PORT 或 unix:PATH [环境变量：RPS_ADDR；用 --duel 时：DUEL_ADDR] \
         [默认：127.0.0.1:5001；用 --duel 时：127.0.0.1:5002]"

    power "Compute powers of numbers, one result per line" "求数的幂，每行一个结果"
    square "x·x" "平方：x·x"
    cube "x·x·x" "立方：x·x·x"
    fourth "x·x·x·x" "四次方：x·x·x·x"
    echo "The number itself" "这个数本身"
    numbers
        "Numbers such as 2, -0.5 or 1e-3; - reads them from standard input, one per line"
        "2、-0.5、1e-3 这样的数；- 表示从标准输入读取，每行一个"
    keep_alive
        "Send all requests on one connection, as lines, without waiting for each reply"
        "在一个连接上逐行发送全部请求，不等待每个应答"
    framing
        "How requests and replies end: eof half-closes the connection after the request, and the reply ends with the \
         stream; line ends both with a line end; bare has no terminator, and the reply is the bytes of one read \
         [default: eof; with --keep-alive: line]"
        "请求和应答怎样结束：eof 发完请求后半关闭连接，应答随流结束；line 请求和应答都以换行结束；\
         bare 没有结束标记，一次读到的就是应答 [默认：eof；用 --keep-alive 时：line]"
    framing_eof
        "Half-close after the request; the reply ends with the stream"
        "发完请求后半关闭；应答随流结束"
    framing_line "Send a line; the reply is a line" "发一行；应答是一行"
    framing_bare
        "Send no terminator; the reply is the bytes of one read"
        "不发结束标记；一次读到的就是应答"
    split
        "Send each request in pieces of this many bytes, as a network may. A server may take the first piece for a \
         whole request. With eof and line, the error reply to the other pieces shows this; with bare, the client reads \
         one reply and cannot detect it"
        "按这个字节数把每个请求分片发送，网络也可能这样做。服务器可能把第一片当成整个请求：\
         用 eof 和 line 时，其余各片会得到错误应答，问题因此可见；用 bare 时，客户端只读一次应答，无法发现"
    delay "With --split: pause between two pieces [default: 20ms]" "用 --split 时：两片之间的间隔 [默认：20ms]"

    rps "Play rock-paper-scissors on one connection" "在一个连接上猜拳"
    throw "Play these moves; print each move and its outcome on a line" "出这些拳，每行打印一拳及其结果"
    moves
        "scissors, rock, paper (or s, r, p, or 剪刀, 石头, 布, or 1, 2, 3); - reads moves from standard input, one per line"
        "剪刀、石头、布（或 1、2、3，或 scissors、rock、paper，或 s、r、p）；- 表示从标准输入读取，每行一拳"
    play "Play at a prompt or from standard input, and keep the score" "在提示符下玩，或从标准输入读取出拳，并计分"
    best_of
        "Play a match of this many rounds, an odd number: it ends when one side has won more than half; draws do not \
         count. With --duel, the match goes on against another player if the partner leaves"
        "打一场这么多局（奇数）的比赛：一方赢得过半即结束，平局不算。用 --duel 时，对手若离开，比赛会与另一位玩家继续"
    duel "Play against another player, and wait for their moves" "与另一位玩家对战，并等待对方出拳"
    window
        "With --duel: how long a move waits at most; must equal the server's duel.window. The client waits for this \
         time and --timeout [default: 30s]"
        "用 --duel 时：一拳最多等待多久；应等于服务器的 duel.window。客户端等待这么久再加 --timeout [默认：30s]"

    probe "Send one real request to check that a server works" "用一次真实的请求检查服务器是否正常"
    probe_power "Request a square from the power server" "向 power 服务器求一个平方"
    probe_rps "Play a round against the house" "与庄家猜一局"
    probe_duel
        "Send the duel server an invalid move, which does not disturb the players"
        "给对战服务器发一个无效的出拳，不打扰任何玩家"
    probe_duel_note
        "The solo server sends the same reply to an invalid move, so this probe\ncannot tell the two games apart."
        "庄家服务器对无效出拳的应答与此相同，因此这项检查分不出两种对局。"
    wait "Retry until the server works, for at most this long" "反复尝试直到正常，最多这么久"

    completions "Print a shell completion script" "打印 shell 的命令补全脚本"
    shell "bash, elvish, fish, powershell or zsh" "bash、elvish、fish、powershell 或 zsh"
    man "Print the manual page, or write one page per command" "打印手册页，或为每个命令写一页（英文）"
    man_folder "Folder for the pages, such as share/man/man1" "存放手册页的目录，如 share/man/man1"

    bench "Load a server, verify every reply, and measure" "给服务器加压，核对每个应答，并测量"
    bench_power "Request powers, on short or keep-alive connections" "求幂，用短连接或长连接"
    bench_rps "Play against the house, and test whether it is fair" "与庄家猜拳，并检验它是否公平"
    bench_duel "Let players play against each other, in pairs" "让玩家两两对战"
    bench_exchange
        "Repeat one request to any server that always sends the same reply"
        "向任意一个应答固定不变的服务器反复发送同一个请求"
    exchange_keep_alive
        "Keep each connection, and send its requests one after another"
        "保持连接，依次发送请求"
    exchange_send
        "The request: text with the escapes \\r, \\n, \\t, \\0, \\\\ and \\xHH"
        "请求：文本，可用转义 \\r、\\n、\\t、\\0、\\\\、\\xHH"
    exchange_expect "The expected reply, in the same notation; compared byte for byte" "预期的应答，写法相同，逐字节核对"
    exchange_addr
        "Endpoint of the server: HOST:PORT, tls://HOST:PORT or unix:PATH"
        "服务器的端点：HOST:PORT、tls://HOST:PORT 或 unix:PATH"
    pipeline_exchange
        "Requests in flight on each connection; implies --keep-alive [default: 1]"
        "每个连接上同时在途的请求数，自动启用 --keep-alive [默认：1]"
    connections "Number of concurrent connections [default: 50]" "同时的连接数 [默认：50]"
    requests "Stop after this many requests, such as 500, 100k or 2m" "发完指定数量的请求后结束，如 500、100k、2m"
    duration
        "Stop after this long [default: 5s, unless --requests is given]"
        "运行指定时长后结束 [默认：5s，除非给出 --requests]"
    rate
        "Open loop: send this many requests per second at fixed intervals, whether or not replies arrive. Latency \
         counts from the scheduled time; requests that were due but had no free connection are reported as not sent"
        "开环：每秒按固定间隔发出这么多请求，不管应答是否到达。延迟从计划的发送时刻算起；\
         到期却没有空闲连接的请求报告为未发出"
    pipeline "Requests in flight on each connection [default: 1]" "每个连接上同时在途的请求数 [默认：1]"
    pipeline_power
        "Requests in flight on each connection; implies --keep-alive [default: 1; with --compare: 64]"
        "每个连接上同时在途的请求数，自动启用 --keep-alive [默认：1；用 --compare 时：64]"
    warmup "Send the load for this long before counting starts" "先加压这么久，再开始计数"
    threads "Number of threads that send the load [default: 1]" "加压的线程数 [默认：1]"
    sources
        "Connect from these local addresses in turn; each has its own ports. Addresses and ranges, separated by \
         commas, such as 127.0.0.2-127.0.0.9"
        "轮流从本机的这些地址连接，每个地址有自己的端口：用逗号隔开的地址和范围，如 127.0.0.2-127.0.0.9"
    thresholds
        "Exit with 1 unless the run meets this condition, such as p99<2ms. Metrics: p50, p90, p95, p99, p99.9, p99.99, \
         max, min, mean (with a unit), throughput (per second; 100k), errors and unsent (a number, or 1%). Operators: \
         <, <=, >, >=. Repeat it, or separate conditions by commas. Errors in the run decide the exit code before \
         thresholds"
        "不满足此条件就以 1 退出，如 p99<2ms。指标：p50、p90、p95、p99、p99.9、p99.99、max、min、mean（带单位）、\
         throughput（每秒；100k）、errors 和 unsent（个数，或 1%）。运算符：<、<=、>、>=。可多次给出，或用逗号隔开。\
         若运行中有错误，退出码由错误决定"
    series
        "Write a JSON object per second to this file while the load runs, warm-up included"
        "加压期间每秒向这个文件写一个 JSON 对象，包括预热"
    bench_compare "Compare reports of --json: which figures differ beyond noise" "比较 --json 的报告：哪些数值的差异超出噪声"
    compare_files
        "Two or more files with reports of the same load, one per line; the first file is the baseline"
        "两个或更多文件，每行一个报告，负载相同；第一个文件作为基准"
    bench_compare_rule
        "A figure differs if a two-sided Mann-Whitney rank test of the runs has\n\
         p < 0.01. That takes at least 5 runs in each file. Without a real difference,\n\
         one figure in a hundred still differs."
        "数值有差异，指对各次运行做双侧 Mann-Whitney 秩检验，p < 0.01。\n\
         每个文件至少要有 5 次运行。即使没有真正的差异，一百个数值中也会有一个显示差异。"
    bench_keep_alive
        "Keep each connection, and send its requests as lines, one after another"
        "保持连接，逐行依次发送请求"
    bench_framing
        "How a request ends on a short connection: eof, line or bare [default: eof]"
        "短连接怎样结束一个请求：eof、line 或 bare [默认：eof]"
    compare
        "Run short, keep-alive and pipelined connections in turn, and show the cost of a connection"
        "依次用短连接、长连接、流水线各跑一遍，并列出一个连接的代价"
    bench_window
        "How long a move waits for another player's move (the server's duel.window); --timeout is added to this \
         [default: 30s]"
        "服务器让一拳等待对方多久（它的 duel.window）；--timeout 在此之外另计 [默认：30s]"
    op "Operation: square, cube, fourth or echo [default: square]" "运算：square、cube、fourth 或 echo [默认：square]"
    number "Operand [default: 2]" "操作数 [默认：2]"
}

// Usage errors.
texts! {
    usage_line(usage) "Usage: {usage}" "用法：{usage}"
    more_help(command) "For more information, try '{command} --help'." "详情请看 '{command} --help'。"
    invalid_line(quoted, expected) "{quoted} is {expected}" "{quoted} {expected}"
    invalid_value(value, argument, expected)
        "invalid value '{value}' for '{argument}': {expected}"
        "'{argument}' 的值 '{value}' 无效：{expected}"
    list_separator ", " "、"
    one_of(values) "one of {values}" "可以是 {values}"
    missing_value(argument) "a value is required for '{argument}'" "'{argument}' 需要一个值"
    missing_argument(arguments) "missing: {arguments}" "缺少：{arguments}"
    missing_command(commands) "a command is required: {commands}" "需要一个命令：{commands}"
    no_command "a command is required; --help lists them" "需要一个命令；--help 列出全部命令"
    takes_no_value(argument) "'{argument}' takes no value" "'{argument}' 不带值"
    argument_not_text "an argument is not valid UTF-8" "有参数不是有效的 UTF-8 文本"
    unknown_argument(argument) "unexpected argument '{argument}'" "无法识别的参数 '{argument}'"
    unknown_command(command) "unknown command '{command}'" "无法识别的命令 '{command}'"
    conflict(argument, other) "'{argument}' cannot be used with '{other}'" "'{argument}' 不能与 '{other}' 一起用"
    did_you_mean(suggestions) "; did you mean {suggestions}?" "；是不是 {suggestions}？"
    misplaced(argument, commands)
        "'{argument}' must come after a command: {commands}"
        "'{argument}' 须写在命令之后：{commands}"
    repeated(argument) "'{argument}' can be given only once" "'{argument}' 只能给出一次"
    not_a_move
        "not a move: scissors, rock or paper (s, r, p; 剪刀, 石头, 布; 1, 2, 3)"
        "不是有效的出拳：剪刀、石头、布（1、2、3；scissors、rock、paper；s、r、p）"
    not_a_duration
        "expected a duration with its unit, such as 5s or 250ms, up to 24h"
        "请输入带单位的时长，如 5s、250ms，最长 24h"
    unknown_escape(after)
        "unknown escape '\\{after}'; use \\r, \\n, \\t, \\0, \\\\ or \\xHH"
        "未知的转义 '\\{after}'；可用的有 \\r、\\n、\\t、\\0、\\\\、\\xHH"
    not_an_exchange "expected 1 to 512 bytes" "请输入 1 到 512 个字节"
    not_an_endpoint(reason)
        "{reason}; expected HOST:PORT, tls://HOST:PORT or unix:PATH, such as localhost:5000 or [::1]:5000"
        "{reason}；请输入 HOST:PORT、tls://HOST:PORT 或 unix:PATH，如 localhost:5000、[::1]:5000"
    no_address "the address is empty" "地址是空的"
    one_endpoint
        "expected one address; only 'bench duel' and 'probe duel' take a list"
        "请只输入一个地址；只有 'bench duel' 和 'probe duel' 接受列表"
    repeated_endpoint(source, endpoint)
        "{source}: {endpoint} is in the list twice; give each address once"
        "{source}：{endpoint} 在列表中重复；每个地址请只写一次"
    too_many_endpoints(source, count, most)
        "{source}: {count} addresses; at most {most} are allowed"
        "{source}：有 {count} 个地址，最多 {most} 个"
    not_for_clients
        "only servers use inherited sockets; expected HOST:PORT, tls://HOST:PORT or unix:PATH"
        "只有服务器使用继承的套接字；请输入 HOST:PORT、tls://HOST:PORT 或 unix:PATH"
    not_a_server_name "expected a DNS name or an IP address" "请输入 DNS 名称或 IP 地址"
    needs_option(option, other) "{option} needs {other}" "{option} 需要 {other}"
    invalid_file(option, file, reason) "{option}: {file}: {reason}" "{option}：{file}：{reason}"
    sources_need_ip(endpoint)
        "--sources: {endpoint} is a Unix socket, which has no source addresses"
        "--sources：{endpoint} 是 Unix 套接字，没有源地址"
    sources_of_other_version(endpoint, source)
        "--sources: {endpoint} cannot be reached from {source}: the IP versions differ"
        "--sources：无法从 {source} 到达 {endpoint}：IP 版本不同"
    too_few_players(connections, least)
        "-c {connections}: a duel needs at least {least} connections: two players, and one per address"
        "-c {connections}：对战至少需要 {least} 个连接：两个玩家，并且每个地址一个"
    not_a_threshold
        "expected a metric, an operator and a value, such as p99<2ms, throughput>=100k, errors<1% or unsent<=0"
        "请输入指标、运算符和数值，如 p99<2ms、throughput>=100k、errors<1%、unsent<=0"
    not_a_series_file
        "expected the name of a file; /dev/stdout is standard output"
        "请输入文件名；/dev/stdout 表示标准输出"
    not_a_count(least, most) "expected a whole number from {least} to {most}" "请输入 {least} 到 {most} 的整数"
    not_a_count_with_k(least, most)
        "expected a whole number from {least} to {most}; k stands for thousands"
        "请输入 {least} 到 {most} 的整数；k 表示千"
    not_a_count_with_k_and_m(least, most)
        "expected a whole number from {least} to {most}; k stands for thousands, m for millions"
        "请输入 {least} 到 {most} 的整数；k 表示千，m 表示百万"
    not_odd(least, most)
        "expected an odd number from {least} to {most}, so that one side can win more than half"
        "请输入 {least} 到 {most} 的奇数，才能分出过半"
    not_sources
        "expected addresses or ranges of one IP version, at most 256 addresses per range, such as \
         127.0.0.2-127.0.0.9,127.0.0.20"
        "请输入同一 IP 版本的地址或范围，每个范围最多 256 个地址，如 127.0.0.2-127.0.0.9,127.0.0.20"
    source_not_local(source, error)
        "--sources: {source} is not an address of this machine: {error}"
        "--sources：{source} 不是本机地址：{error}"
    keep_alive_needs_lines
        "--keep-alive needs line framing: remove --framing, or use --framing line"
        "--keep-alive 需要逐行：请去掉 --framing，或用 --framing line"
    in_variable(variable, value, expected)
        "{variable}: '{value}' is not an endpoint: {expected}"
        "{variable}：'{value}' 不是端点：{expected}"
    variable_not_text(variable) "{variable}: not valid UTF-8" "{variable}：不是有效的 UTF-8 文本"
    input_line(line, message) "standard input, line {line}: {message}" "标准输入第 {line} 行：{message}"
    input_too_long(limit) "the line is longer than {limit} bytes" "这一行超过 {limit} 字节"
    input_not_text "the line is not valid UTF-8" "这一行不是有效的 UTF-8 文本"
    input_broken(error) "standard input: {error}" "标准输入：{error}"
}

// Other errors, and hints what to try next.
texts! {
    interrupted "interrupted by a signal" "被信号中断"
    cannot_write(path, error) "cannot write to {path}: {error}" "无法写入 {path}：{error}"
    output_broken(error) "standard output: {error}" "标准输出：{error}"
    error_reply(address, reply) "{address}: error reply: {reply}" "{address}：错误应答：{reply}"
    error_reply_to(address, operand, reply)
        "{address}: error reply to {operand}: {reply}"
        "{address}：{operand} 的错误应答：{reply}"
    wrong_reply(address, request, reply, expected)
        "{address}: wrong reply to {request}: {reply}, expected {expected}"
        "{address}：请求 {request} 的应答有误：{reply}，应为 {expected}"
    longer_reply(address, request, expected, extra)
        "{address}: the reply to {request} is longer than {expected}: {extra} follows; add these bytes to --expect"
        "{address}：请求 {request} 的应答比 {expected} 长：其后还有 {extra}；请把这些字节加到 --expect"
    wrong_square(address, operand, reply, expected)
        "{address}: wrong reply: the square of {operand} is {expected}, not {reply}"
        "{address}：应答有误：{operand} 的平方应为 {expected}，不是 {reply}"
    house_void(address)
        "{address}: wrong reply: a void round, but the house always plays"
        "{address}：应答有误：这一局作废，但庄家总会应战"
    hint_not_listening
        "; nothing listens there: is the server running, and is the address right?"
        "；那里没有程序在监听：服务器在运行吗？地址对吗？"
    hint_cacert
        "; --cacert FILE names the certificate of the server's authority"
        "；--cacert FILE 指定签发服务器证书的机构的证书"
    hint_server_name
        "; --server-name NAME expects another name in the certificate"
        "；--server-name NAME 指定证书中的另一个名称"
    hint_expired
        "; the server needs a new one, unless the clock of this machine is wrong"
        "；服务器需要换新证书，除非本机时钟有误"
    hint_purpose
        "; the server needs a certificate with extendedKeyUsage serverAuth"
        "；服务器需要 extendedKeyUsage 为 serverAuth 的证书"
    hint_not_an_authority
        "; the server needs a certificate without CA:TRUE in basicConstraints: create a self-signed one with \
         openssl req -x509 -addext basicConstraints=critical,CA:FALSE"
        "；服务器需要 basicConstraints 中没有 CA:TRUE 的证书：自签名证书可用 \
         openssl req -x509 -addext basicConstraints=critical,CA:FALSE 生成"
    hint_other_cert
        "; --cert FILE and --key FILE must present another certificate"
        "；请用 --cert FILE 和 --key FILE 出示另一个证书"
    hint_cert
        "; --cert FILE and --key FILE present a certificate"
        "；--cert FILE 和 --key FILE 用来出示证书"
    hint_not_tls "; without TLS, leave out tls://" "；不用 TLS 时，请去掉 tls://"
    hint_closed
        "; try again later, and check the address and the log of the server"
        "；请稍后再试，并检查地址和服务器的日志"
    hint_is_power "; this looks like the power server" "；这看起来是 power 服务器"
    hint_is_rps "; this looks like the rps server" "；这看起来是 rps 服务器"
    hint_tls "; the server may speak TLS: try tls://HOST:PORT" "；服务器可能使用 TLS：可试 tls://HOST:PORT"
    insecure_warning
        "warning: --insecure: the server's certificate is not verified"
        "警告：--insecure：不验证服务器的证书"
    hint_expect
        "; the reply may be longer than --expect"
        "；应答可能比 --expect 长"
    hint_timeout "; --timeout sets how long to wait" "；--timeout 设定最多等多久"
    hint_framing
        "; if the server ends its replies in another way, try another --framing, such as bare"
        "；服务器若用别的方式结束应答，可换一种 --framing，如 bare"
    hint_split
        "; the request was sent in pieces, and the server took the first pieces for a whole request: with \
         framing.settle it waits for the rest"
        "；请求是分片发出的，服务器把先到的几片当成了整个请求：设置 framing.settle 可以让它等待其余部分"
    hint_duel
        "; --timeout sets how long to wait, and --duel waits for another player"
        "；--timeout 设定最多等多久，--duel 会等待另一位玩家"
    hint_is_duel
        "; this may be the address of the duel server: check it with 'probe duel'"
        "；这可能是对战服务器的地址，请用 'probe duel' 检查"
    hint_probe_rps
        "; is this an rps server? check it with 'probe rps'"
        "；这是 rps 服务器吗？请用 'probe rps' 检查"
    hint_outcome_unknown "; the outcome of the move is unknown" "；这一拳的结果未知"
    hint_window
        ": --window (as the server's duel.window) plus --timeout"
        "：即 --window（应与服务器的 duel.window 一致）加 --timeout"
    hint_ports
        "; all local ports for this server are in use or in TIME_WAIT: add addresses with --sources, or make fewer \
         connections per second (--rate, --keep-alive)"
        "；到这个服务器的本地端口都在使用或处于 TIME_WAIT：可用 --sources 增加地址，\
         或减少每秒的连接数（--rate、--keep-alive）"
    hint_files
        "; the open-file limit is reached: raise it with ulimit -n, or use fewer connections (-c)"
        "；已达到打开文件数的上限：可用 ulimit -n 提高，或减少连接（-c）"
}

// Games and probes.
texts! {
    prompt(won, lost) "{won}:{lost} scissors, rock or paper? " "{won}:{lost} 剪刀、石头还是布？"
    play_keys "s, r, p: scissors, rock, paper; q: end" "s、r、p：剪刀、石头、布；q：结束"
    play_help
        "scissors, s, 1 or 剪刀\nrock, r, 2 or 石头\npaper, p, 3 or 布\n\
         q, quit, exit or Ctrl-D: end the game\nhelp, ?: this list"
        "剪刀（s、1、scissors）\n石头（r、2、rock）\n布（p、3、paper）\n\
         q、quit、exit、Ctrl-D：结束\nhelp、?：显示这张表"
    reconnected
        "the server had closed the idle connection; connected again: the opponent may be another player now"
        "服务器关闭了空闲的连接；已重新连接：对手可能换了人"
    you "you" "你"
    house "house" "庄家"
    other_player "other player" "对方"
    waiting(left) "waiting for the other player: {left} s left" "等待对方出拳：还剩 {left} 秒"
    round_void
        "no other player moved in time: the round is void,\nand the next opponent may be another player"
        "没有别的玩家及时出拳，这一局作废，不计胜负；\n下一局的对手可能换人"
    streak(rounds) "{rounds} wins in a row!" "{rounds} 连胜！"
    losing_streak(rounds) "{rounds} losses in a row." "{rounds} 连败。"
    score(won, lost, drawn) "{won} won, {lost} lost, {drawn} drawn" "{won} 胜，{lost} 负，{drawn} 平"
    score_void(void) ", {void} void" "，{void} 作废"
    match_won(won, lost) "You win the match {won}:{lost}." "你以 {won}:{lost} 赢得比赛。"
    match_lost(won, lost) "You lose the match {won}:{lost}." "你以 {won}:{lost} 输掉比赛。"
    server_at(server, address) "{server} at {address}" "{address} 的 {server}"
    works(server, millis) "{server} works ({millis} ms)" "{server} 正常（{millis} 毫秒）"
    probing(server, left) "{server}: not yet, {left} s left" "{server}：尚未就绪，还剩 {left} 秒"
    not_yet(error) "not yet: {error}" "尚未就绪：{error}"
}

// Results of a load.
texts! {
    bench_progress(correct, rate, errors)
        "{correct} replies, {rate}/s, {errors} errors"
        "{correct} 个应答，{rate}/秒，{errors} 个错误"
    bench_short(server, request, framing, connections)
        "{server}: {request} on short connections{framing}, {connections} at a time"
        "{server}：{request}，短连接{framing}，同时 {connections} 个"
    bench_in_parentheses(framing) " ({framing})" "（{framing}）"
    bench_keep_alive_load(server, request, connections, in_flight)
        "{server}: {request} on {connections} keep-alive connections, each with {in_flight} in flight"
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
    bench_correct(correct, seconds)
        "{correct} correct replies in {seconds} s"
        "{correct} 个应答正确，用时 {seconds} 秒"
    bench_throughput "throughput" "吞吐量"
    bench_per_second(rate) "{rate}/s" "{rate}/秒"
    bench_latency "latency" "延迟"
    bench_client "client" "客户端"
    bench_cpu(each, cores) "{each} of CPU time per request, {cores} cores busy" "每个请求用 CPU {each}，占 {cores} 个核"
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
        "{count} were due but had no free connection; latency includes their wait"
        "{count} 个到期而始终没有空闲连接；延迟包括它们的等待时间"
    bench_in_play "in play" "未决"
    bench_no_reply(count) "{count} had no reply at the end" "结束时 {count} 个还没有应答"
    bench_aborted "Aborted: no correct reply for a long time." "已中止：长时间没有正确的应答。"
    bench_fair(chi_square, p, least)
        "chi-square {chi_square}, p = {p}: fair (at least {least})"
        "卡方 {chi_square}，p = {p}：公平（不低于 {least}）"
    bench_unfair(chi_square, p, least)
        "chi-square {chi_square}, p = {p}: very unlikely for a fair house (below {least})"
        "卡方 {chi_square}，p = {p}：公平的庄家几乎不会这样（低于 {least}）"
    bench_error(count, first) "{count}; the first: {first}" "{count} 个；第一个：{first}"
    bench_rate_missed(rate) "The rate of {rate}/s was not reached." "没有达到每秒 {rate} 个。"
    bench_saturated(more)
        "The client used a whole core and may be the limit: try --threads {more}."
        "客户端用满了一个核，它可能是瓶颈：可试 --threads {more}。"
    bench_saturated_threads(threads, more)
        "The client used {threads} whole cores and may be the limit: try --threads {more}."
        "客户端用满了 {threads} 个核，它可能是瓶颈：可试 --threads {more}。"
    bench_column_short "short" "短连接"
    bench_column_keep_alive "keep-alive" "长连接"
    bench_column_pipelined(in_flight) "{in_flight} in flight" "在途 {in_flight}"
    bench_cost(wall_clock, connections, wait)
        "A new connection per request costs {wall_clock} more wall-clock time per request,\n\
         and each of {connections} callers waits {wait} longer."
        "若每个请求新建一个连接，每个请求多花 {wall_clock}；并发的 {connections} 个调用者各多等 {wait}。"
    bench_cost_not_measurable
        "These runs are too short to measure the cost of a new connection per request."
        "这几次运行太短，测不出每个请求新建一个连接的代价。"
    bench_not_met(condition, figure)
        "threshold not met: {condition}: measured {figure}"
        "未达到阈值：{condition}：实测 {figure}"
    bench_nothing_measured "nothing" "无"
    series_failed(file, reason) "--series: {file}: {reason}" "--series：{file}：{reason}"
    compare_file(file, reason) "{file}: {reason}" "{file}：{reason}"
    compare_not_reports
        "each line must be a report of 'bench --json'; five runs: for i in 1 2 3 4 5; do cli-client bench ... --json; \
         done"
        "每行须是一个 'bench --json' 的报告；运行五次：for i in 1 2 3 4 5; do cli-client bench ... --json; done"
    compare_is_comparison
        "a report of --compare has three loads: compare reports of single loads"
        "--compare 的报告包含三种负载：请比较单一负载的报告"
    compare_one_file "bench compare needs two or more files" "bench compare 需要两个或更多文件"
    compare_too_long(bytes) "longer than {bytes} bytes" "超过 {bytes} 字节"
    compare_too_many(runs, most) "{runs} runs; at most {most} are allowed" "有 {runs} 次运行，最多 {most} 次"
    compare_workloads(file, workload, other_file, other)
        "{file} has a run of {workload}, and {other_file} one of {other}: compare runs of the same workload"
        "{file} 中有 {workload} 的运行，{other_file} 中有 {other} 的运行：请比较同一种负载"
    compare_title(workload, file, runs, other_file, other_runs)
        "{workload}: medians of {file} (runs: {runs}) -> {other_file} (runs: {other_runs})"
        "{workload}：{file}（{runs} 次运行）-> {other_file}（{other_runs} 次运行）的中位数"
    compare_parameters "The runs have different parameters:" "各次运行的参数不同："
    compare_better(p) "better (p = {p})" "更好（p = {p}）"
    compare_worse(p) "worse (p = {p})" "更差（p = {p}）"
    compare_within_noise(p) "within noise (p = {p})" "在噪声内（p = {p}）"
    compare_equal "equal" "相同"
    compare_incomplete(names)
        "Not compared, because a run lacks them: {names}"
        "有的运行缺少这些数值，未比较：{names}"
    compare_unknown "noise unknown" "噪声未知"
    compare_noise_unknown
        "The noise is unknown with so few runs:\nmake at least 5 runs for each file, one report per line."
        "运行次数太少，噪声未知。请为每个文件至少运行 5 次，每行一个报告。"
    power_out_of_range
        "--number: the result is beyond the largest double, 1.7976931348623157e+308"
        "--number：结果超出最大的双精度数 1.7976931348623157e+308"
    too_many_connections(connections, files, most)
        "-c {connections}: the open-file limit (ulimit -Hn is {files}) leaves room for {most} connections"
        "-c {connections}：打开文件数的上限（ulimit -Hn 为 {files}）只够 {most} 个连接"
}

// Events of a connection, for --verbose and --trace.
texts! {
    trace_resolved(name, addresses, millis)
        "resolve     {name} is {addresses} ({millis} ms)"
        "解析        {name} 即 {addresses}（{millis} 毫秒）"
    trace_connect(address) "connect     to {address}" "连接        {address}"
    trace_connected(local) "connected   from {local}" "已连上      从 {local}"
    trace_connected_unnamed "connected" "已连上"
    trace_handshake(version, suite, subject)
        "handshake   {version}, {suite}, server's subject '{subject}'"
        "TLS 握手    {version}，{suite}，服务器主体 '{subject}'"
    trace_failed(message) "failed      {message}" "失败        {message}"
    trace_half_closed
        "half-close  the client sends nothing more, but still receives"
        "半关闭      客户端不再发送，但仍在接收"
    trace_half_closed_tls
        "half-close  close_notify and FIN: the client only receives now"
        "半关闭      close_notify 和 FIN：客户端此后只接收"
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
    move_name: Move {
        Move::Scissors => "scissors" "剪刀"
        Move::Rock => "rock" "石头"
        Move::Paper => "paper" "布"
    }
    outcome_name: Round {
        Round::Judged(Outcome::Draw) => "draw" "平局"
        Round::Judged(Outcome::Win) => "win" "胜利"
        Round::Judged(Outcome::Lose) => "lose" "失败"
        Round::Void => "void" "作废"
    }
    kind_name: FailureKind {
        FailureKind::Usage => "usage" "用法错误"
        FailureKind::Refused => "refused" "被拒绝"
        FailureKind::Reset => "reset" "连接被重置"
        FailureKind::Timeout => "timeout" "超时"
        FailureKind::Protocol => "protocol" "违反协议"
        FailureKind::Closed => "closed" "连接被关闭"
        FailureKind::Unresolved => "name not resolved" "无法解析名字"
        FailureKind::Unreachable => "unreachable" "不可达"
        FailureKind::Handshake => "TLS handshake" "TLS 握手"
        FailureKind::NoLocalPort => "no local port" "没有本地端口"
        FailureKind::NoFiles => "open-file limit" "打开的文件太多"
        FailureKind::Wrong => "wrong reply" "应答有误"
        FailureKind::System => "system" "系统错误"
        FailureKind::Interrupted => "interrupted" "被中断"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `--json` prints the names of `proto`, text output prints these.
    #[test]
    fn english_names_equal_those_of_proto() {
        for mv in Move::ALL {
            assert_eq!(move_name(mv), mv.to_string());
        }
        for round in [Outcome::Draw, Outcome::Win, Outcome::Lose].map(Round::Judged).into_iter().chain([Round::Void]) {
            assert_eq!(outcome_name(round), round.to_string());
        }
        for error in [NumberError::Malformed, NumberError::OutOfRange] {
            assert_eq!(not_a_number(error), error.to_string());
        }
    }
}
