#!/usr/bin/env bash
# Builds the workspace, starts both servers as they are shipped, but on free
# ports, and drives them: every command of the client with good and bad input,
# raw bytes, the servers' own checks, and the ways they start and end.
#
# Needs a Rust toolchain, bash (4.4 or later) and coreutils. Takes a few
# seconds once all is built, and leaves nothing behind but the build. Stops at
# the first difference and says what was wanted.
set -euo pipefail
cd "$(dirname "$0")/.."
exec </dev/null

# Whatever the caller has set, what is checked is what is shipped.
unset "${!POWER_SERVER_@}" "${!RPS_SERVER_@}"
export LC_ALL=C # so that one character is one byte
wait_seconds=12 # longer than a server may take to end, which is timeouts.drain

passed=0
pass() {
    local line="ok: ${*//$'\n'/\\n}"
    passed=$((passed + 1))
    ((${#line} <= 120)) || line=${line:0:117}...
    echo "$line"
}
fail() {
    echo "FAILED: $*" >&2
    exit 1
}
# Here and below, what is wanted is a pattern, in which * stands for anything.
expect() { # WHAT WANTED GOT
    # shellcheck disable=SC2053
    [[ $3 == $2 ]] || fail "$1: wanted '$2', got '$3'"
}

declare -A pid output log # of the servers that run, by name
declare -A address        # of what listens, by service
declare -A services=([power-server]="power admin" [rps-server]="solo duel admin")
clean_up() {
    local status=$? server
    for server in "${!pid[@]}"; do
        kill -KILL "${pid[$server]}" 2>/dev/null || true
        wait "${pid[$server]}" 2>/dev/null || true
        if ((status != 0)); then
            printf '%s\n' "--- log of $server" "${log[$server]}$(timeout 1 cat <&"${output[$server]}")" >&2
        fi
    done
    rm -rf "$scratch"
}
scratch=$(mktemp -d)
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

start() { # SERVER ARGUMENT...
    local server=$1 fd line awaited
    mkfifo "$scratch/log"
    "$bin/$server" --config "config/$server.toml" "${@:2}" >"$scratch/log" 2>&1 &
    pid[$server]=$!
    exec {fd}<"$scratch/log"
    rm "$scratch/log"
    output[$server]=$fd
    log[$server]=
    read -ra awaited <<<"${services[$server]}"
    while read -r -t "$wait_seconds" -u "$fd" line; do
        log[$server]+=$line$'\n'
        if [[ $line =~ ' listening '.*service=\"${awaited[0]}\".*address=([^ ]+) ]]; then
            address[${awaited[0]}]=${BASH_REMATCH[1]}
            pass "$*: ${awaited[0]} listens on ${BASH_REMATCH[1]}"
            awaited=("${awaited[@]:1}")
            ((${#awaited[@]} > 0)) || return 0
        fi
    done
    fail "$*: wanted it to tell where ${awaited[*]} is listening"
}

stop() { # SERVER HOW SUMMARY
    local server=$1 fd=${output[$1]} rest all status=0
    kill -TERM "${pid[$server]}"
    # The log ends when the server has.
    rest=$(timeout "$wait_seconds" cat <&"$fd") || fail "$server stopped $2: wanted it to end within $wait_seconds s"
    wait "${pid[$server]}" || status=$?
    all=${log[$server]}$rest
    log[$server]=$all
    expect "$server stopped $2: exit code" 0 "$status"
    expect "$server stopped $2: last line of the log" "* stopped $3" "${all##*$'\n'}"
    all=${all//panicked=0/}
    expect "$server stopped $2: the log" "!(*error*|*panic*)" "${all,,}"
    exec {fd}<&-
    unset "pid[$server]"
    pass "$server stopped $2: exit code 0, and the log ends with 'stopped $3'"
}

check() { # EXIT_CODE STDOUT STDERR PROGRAM ARGUMENT...
    local what="${*:4}" out err status=0
    out=$("$bin/$4" "${@:5}" 2>"$scratch/stderr") || status=$?
    err=$(<"$scratch/stderr")
    [[ $status == "$1" ]] || fail "$what: wanted exit code $1, got $status, with '$out' and, on stderr, '$err'"
    expect "$what: stdout" "$2" "$out"
    expect "$what: stderr" "$3" "$err"
    pass "$what: exit code $1${out:+: $out}${err:+ (stderr: $err)}"
}
gives() { # STDOUT ARGUMENT...
    check 0 "$1" "" cli-client "${@:2}"
}
fails() { # EXIT_CODE STDERR ARGUMENT...
    check "$1" "" "$2" cli-client "${@:3}"
}

# Raw bytes. What is printed in pieces ends a piece at a line's end.
connect() { # SERVICE
    exec {raw}<>"/dev/tcp/${address[$1]%:*}/${address[$1]##*:}"
}
disconnect() {
    exec {raw}>&-
}
# So many bytes come back; more than those would be taken for the next answer.
answers() { # SENT COUNT WANTED
    local got
    printf %b "$1" >&"$raw"
    read -r -N "$2" -t "$wait_seconds" -u "$raw" got || fail "sent '$1': wanted '$3', got '$got'"
    expect "sent '$1'" "$3" "$got"
    pass "sent '$1', got '$got'"
}
# All that comes back until the server closes.
ends_with() { # SENT WANTED
    local got
    printf %b "$1" >&"$raw"
    got=$(timeout "$wait_seconds" cat <&"$raw") || fail "sent '$1': wanted '$2' and the end"
    expect "sent '$1'" "$2" "$got"
    disconnect
    pass "sent '${1:0:30}', got '$got' and the end"
}

cargo build --release --locked
bin=${CARGO_TARGET_DIR:-target}/release

# --- The configuration

check 2 "" "*$scratch/none.toml*" power-server --config "$scratch/none.toml"
check 2 "" "*--listen: listen:*\"nowhere\"*" power-server --listen nowhere
POWER_SERVER_LISTEN=nowhere check 2 "" "*POWER_SERVER_LISTEN: listen:*" power-server
printf '[limits]\nmax_conections = 5\n' >"$scratch/bad.toml"
for server in power-server rps-server; do
    check 2 "" "*bad.toml:2: limits.max_conections:*" "$server" --config "$scratch/bad.toml"
    check 2 "" "*limits.backlog=0: limits.backlog:*" "$server" --set limits.backlog=0
    check 0 "*backlog = 7*" "" "$server" --config "config/$server.toml" --set limits.backlog=7 --check-config
    "$bin/$server" --config "config/$server.toml" --check-config >"$scratch/effective.toml"
    effective=$(<"$scratch/effective.toml")
    check 0 "${effective//[/\\[}" "" "$server" --config "$scratch/effective.toml" --check-config
done

# --- The servers

any_power_port=(--listen 127.0.0.1:0 --admin-listen 127.0.0.1:0)
any_rps_port=(--solo-listen 127.0.0.1:0 --duel-listen 127.0.0.1:0 --admin-listen 127.0.0.1:0)
start power-server "${any_power_port[@]}"
admin_of_power=${address[admin]}
start rps-server "${any_rps_port[@]}"
export POWER_ADDR=${address[power]} RPS_ADDR=${address[solo]} DUEL_ADDR=${address[duel]}
check 0 "" "" power-server --healthcheck --listen "$POWER_ADDR"
check 0 "" "" rps-server --healthcheck --solo-listen "$RPS_ADDR" --duel-listen "$DUEL_ADDR"
check 1 "*ERROR*$POWER_ADDR*in use*" "" power-server --listen "$POWER_ADDR"
check 1 "*ERROR*$RPS_ADDR*in use*" "" rps-server --solo-listen "$RPS_ADDR" --duel-listen ""
check 1 "*ERROR*$DUEL_ADDR*in use*" "" rps-server --solo-listen "" --duel-listen "$DUEL_ADDR"

# --- cli-client power

gives 4.0 power square 2
gives -0.125 power cube -.5
gives 16.0 power fourth 2
gives 1e-05 power echo 0.00001
gives $'4.0\n9.0\n1e+16' power square 2 -3 1e8
gives $'49.0\n4.0\n9.0' power square 7 - < <(printf '2\n\n3')
gives $'49.0\n4.0\n9.0' power square --keep-alive 7 - < <(printf '2\n3\n')
for framing in eof line bare; do
    gives $'10.889999999999999\n4.0' power square 3.3 2 --framing "$framing"
    fails 1 "*refused: RANGE *'1e+200'*1.79*e+308*" power square 1e200 --framing "$framing"
done
check 1 $'4.0\n9.0' "*refused: RANGE *" cli-client power square 2 1e200 3
check 1 $'4.0\n9.0' "*refused: RANGE *" cli-client power square 2 1e200 3 --keep-alive
check 2 4.0 "*line 2: 'x'*" cli-client power square - < <(printf '2\nx\n')
fails 2 "*'abc'*not a decimal number*" power square abc
fails 2 "*<NUMBER>*" power square
fails 2 "*'root'*" power root 2
fails 2 "*'soon'*" power square 2 --timeout soon
# The other server's bytes begin as an error does, but are none, and no line either.
fails 5 "*$RPS_ADDR*protocol*" power square 2 --addr "$RPS_ADDR"
fails 4 "*$RPS_ADDR*the beginning of a reply, but not its end, within 100ms*" power square 2 --addr "$RPS_ADDR" --framing line --timeout 100ms

# --- cli-client rps

outcome='@(draw|win|lose)'
gives "scissors $outcome"$'\n'"rock $outcome"$'\n'"paper $outcome" rps throw scissors 2 布
gives "rock $outcome"$'\n'"paper $outcome" rps throw - < <(printf '石头\n3\n')
fails 2 "*line 1: 'x'*" rps throw - < <(printf 'x\n')
fails 2 "*'lizard'*not a move*" rps throw lizard
fails 2 "*<MOVE>*" rps throw
fails 5 "*$POWER_ADDR*protocol*" rps throw rock --addr "$POWER_ADDR"

# --- cli-client rps, against each other

# Two players: the first one waits for the second.
duel() { # SECOND_PLAYER WANTED_OF_SECOND FIRST_PLAYER WANTED_OF_FIRST
    local fd first status=0
    # shellcheck disable=SC2086
    exec {fd}< <(printf 'rock\nrock\nrock\n' | "$bin/cli-client" $3)
    local player=$!
    # shellcheck disable=SC2086
    gives "$2" $1
    first=$(timeout "$wait_seconds" cat <&"$fd") || fail "$3: wanted it to end"
    wait "$player" || status=$?
    exec {fd}<&-
    expect "$3: exit code" 0 "$status"
    expect "$3: stdout" "$4" "$first"
    pass "$3, meanwhile: exit code 0: $first"
}
duel "rps throw paper scissors 2 --duel" $'paper win\nscissors lose\nrock draw' \
    "rps play --duel" $'rock lose\nrock win\nrock draw\n1 won, 1 lost, 1 drawn'
duel "rps play --duel --addr $DUEL_ADDR" "0 won, 0 lost, 0 drawn" \
    "rps throw 3 --addr $RPS_ADDR" "paper $outcome"
gives "rock $outcome"$'\n'"@(1 won, 0 lost, 0 drawn|0 won, 1 lost, 0 drawn|0 won, 0 lost, 1 drawn)" rps play < <(printf 'r\n')
fails 4 "*no reply within 100ms; *--duel*" rps throw rock --addr "$DUEL_ADDR" --timeout 100ms
fails 2 "*--duel*" rps throw rock --window 5s
fails 2 "*odd number*" rps play --best-of 2

# --- cli-client probe

gives "power at $POWER_ADDR works *" probe power
gives "power at $POWER_ADDR works *" probe power --wait 5s
gives "rps at $RPS_ADDR works *" probe rps
gives "rps at $RPS_ADDR works *" probe rps --wait 5s
gives "duel at $DUEL_ADDR works *" probe duel
gives "duel at $DUEL_ADDR works *" probe duel --wait 5s
check 0 "" "" cli-client probe power -q
fails 5 "*protocol*" probe power --addr "$RPS_ADDR"
fails 5 "*protocol*" probe rps --addr "$POWER_ADDR"
fails 5 "*protocol*" probe duel --addr "$POWER_ADDR"

# --- cli-client bench, and the other ways in which it speaks

gives "*a2.0 on short connections*1,000 answered right*p50 *" bench power -n 1k
gives "*10,000 answered right*" bench power -n 10k --pipeline 64
gives "*short*kept alive*64 in flight*A connection *costs*" bench power -n 500 --compare
gives "*1,000 answered right*outcomes*fairness*" bench rps -n 1k --rate 20k
gives '{"schema":1,"bench":"duel",*"requests":100,"right":100,"errors":{},*' --json bench duel -c 2 -n 100
fails 2 "*whole number*" bench power -n 0
check 0 4.0 "*>  61 32 2e 30 * a2.0*half-close*first byte*<  64 34 2e 30 * d4.0*close*" cli-client power square 2 --trace
fails 5 "*framing.settle*" power square 12 --split 2
gives '{"schema":1,"op":"square","operand":2.0,"result":4.0}' --json power square 2
check 2 '{"schema":1,"error":{"kind":"usage",*' "" cli-client --json power square abc
gives "石头 @(胜利|失败|平局)" --lang zh rps throw rock
fails 2 "错误：*" --lang zh power square abc
gives "*_cli__client*" completions bash

# --- The admin listeners

for port in "$admin_of_power" "${address[admin]}"; do
    address[admin]=$port
    connect admin
    ends_with 'GET /healthz HTTP/1.0\r\n\r\n' 'HTTP/1.0 200 OK*ok'
    connect admin
    ends_with 'GET /readyz HTTP/1.0\r\n\r\n' 'HTTP/1.0 200 OK*ready'
    connect admin
    ends_with 'GET /metrics HTTP/1.0\r\n\r\n' 'HTTP/1.0 200 OK*_connections_total{result="accepted"} [1-9]*'
    connect admin
    ends_with 'GET / HTTP/1.0\r\n\r\n' 'HTTP/1.0 404 Not Found*/metrics'
done

# --- Raw bytes

connect power
answers a2 4 d4.0
answers b-3 6 d-27.0
disconnect
connect power
answers 'a2\n' 5 $'d4.0\n'
ends_with "x\nc2\r\n\nd-0\na$(printf %0600d 2)" $'eBADOP *\nd16.0\nd-0.0\neTOOLONG *'
connect power
ends_with x 'eBADOP *'
connect solo
answers '1\n9' 2 '[xyz]e'
answers '1\r\n23' 3 '[xyz][xyz][xyz]'
ends_with '3abcdefghijklmno123' '[xyz]eeeeeeeeeeeeeee'
connect duel
other=$raw
connect duel
printf 1 >&"$other"
answers '\n?2' 2 'ey'
raw=$other
answers '' 1 z
# A move that nobody meets while the server runs.
printf 123 >&"$raw"

# --- The end: idle, with nobody listening any more, full, and while in use

stop power-server idle "accepted=* rejected=0 panicked=0 cut=0"
stop rps-server "with a move in play" "accepted=* rejected=0 panicked=0 cut=0"
ends_with "" vvv
fails 3 "*$POWER_ADDR*cannot connect*" power square 2
fails 3 "*$POWER_ADDR*cannot connect*" probe power --wait 10ms
fails 3 "*$RPS_ADDR*cannot connect*" rps throw rock
check 1 "" "*not healthy*$POWER_ADDR*" power-server --healthcheck --listen "$POWER_ADDR"
check 1 "" "*not healthy*$RPS_ADDR*" rps-server --healthcheck --solo-listen "$RPS_ADDR" --duel-listen ""
check 1 "" "*not healthy*$DUEL_ADDR*" rps-server --healthcheck --solo-listen "" --duel-listen "$DUEL_ADDR"

start power-server "${any_power_port[@]}" --set limits.max_connections=1
connect power
answers a2 4 d4.0
fails 1 "*BUSY*" power square 2 --addr "${address[power]}"
stop power-server "in use" "accepted=1 rejected=1 panicked=0 cut=0"
ends_with "" ""

start rps-server "${any_rps_port[@]}" --set limits.max_connections=1
connect solo
answers 1 1 '[xyz]'
fails 1 "*full*" rps throw rock --addr "${address[solo]}"
fails 1 "*full*" rps throw rock --duel --addr "${address[duel]}"
stop rps-server "in use" "accepted=1 rejected=2 panicked=0 cut=0"
ends_with "" ""

echo "smoke: $passed passed, 0 failed"
