#!/usr/bin/env bash
# Shows that a service of several replicas loses nothing while they are replaced
# one after the other: two power servers and two rock-paper-scissors servers run
# behind HAProxy with the configuration that is shipped (config/deploy/haproxy.cfg)
# and under constant load, and each in turn gets SIGTERM, without HAProxy being
# told, ends, and is started anew.
#
# What has to hold: no request of a short connection fails; a long connection
# ends between an answer and the next move, and never with a move unanswered; a
# duel waits for nobody who plays at the other replica; and each server ends with
# exit code 0, and cuts nothing.
#
# Needs a Rust toolchain, bash (4.4 or later), coreutils, haproxy (2.6 or later)
# and python3 (3.9 or later). All of it runs on loopback, on free ports, for less than a
# minute once all is built, and leaves nothing behind but the build.
set -euo pipefail
cd "$(dirname "$0")/.."
exec </dev/null

# Whatever the caller has set, what is checked is what is shipped.
unset "${!POWER_@}" "${!RPS_@}" "${!SOLO_@}" "${!DUEL_@}" "${!STATUS_@}"
export LC_ALL=C

most_seconds=60 # for all of it
wait_seconds=12 # for one thing; longer than timeouts.drain
games=8         # at once, of the load

passed=0
pass() {
    passed=$((passed + 1))
    echo "ok: $*"
}
fail() {
    echo "FAILED: $*" >&2
    exit 1
}
# How long something may take that comes now.
left() {
    local all=$((began + most_seconds - SECONDS))
    ((all > 0)) || fail "it took longer than $most_seconds s"
    echo $((all < wait_seconds ? all : wait_seconds))
}

declare -A pid output log # of what runs, by name
declare -A address        # of what listens, as "power-1 admin"; of haproxy's own pages
declare -A state          # what HAProxy has last said of a server, as "solo/rps-1"
clean_up() {
    local status=$? name
    for name in "${!pid[@]}"; do
        kill -KILL "${pid[$name]}" 2>/dev/null || true
        wait "${pid[$name]}" 2>/dev/null || true
        if ((status != 0)) && [[ -n ${output[$name]:-} ]]; then
            printf '%s\n' "--- what $name said" "${log[$name]}$(timeout 1 cat <&"${output[$name]}")" >&2
        fi
    done
    rm -rf "$scratch"
}
scratch=$(mktemp -d)
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Runs a program whose output is read from here, as far as it is waited for.
launch() { # NAME COMMAND...
    local fd
    mkfifo "$scratch/output"
    "${@:2}" >"$scratch/output" 2>&1 &
    pid[$1]=$!
    exec {fd}<"$scratch/output"
    rm "$scratch/output"
    output[$1]=$fd
    log[$1]=
}
# Reads the next line that it says into `line`.
next_line() { # NAME WHAT_IS_AWAITED
    read -r -t "$(left)" -u "${output[$1]}" line || fail "$1: wanted $2"
    log[$1]+=$line$'\n'
}
# Waits for a program to end, and sets `said` and `status`.
ended() { # NAME
    local fd=${output[$1]}
    said=$(timeout "$(left)" cat <&"$fd") || fail "$1 does not end"
    said=${log[$1]}$said
    log[$1]=$said
    status=0
    wait "${pid[$1]}" || status=$?
    exec {fd}<&-
    unset "pid[$1]" "output[$1]" # a replica may come back under its name
}

# Starts a replica where it was before, or else on any port.
start() { # REPLICA
    local name=$1 line service arguments=()
    local -A option=([power]=listen [solo]=solo-listen [duel]=duel-listen [admin]=admin-listen)
    for service in ${services[${name%-*}]}; do
        arguments+=("--${option[$service]}" "${address[$name $service]:-127.0.0.1:0}")
        unset "address[$name $service]"
    done
    launch "$name" "$bin/${name%-*}-server" --config "config/${name%-*}-server.toml" "${arguments[@]}"
    for service in ${services[${name%-*}]}; do
        until [[ -n ${address[$name $service]:-} ]]; do
            next_line "$name" "it to tell where $service is listening"
            if [[ $line =~ ' listening '.*service=\"([a-z]+)\".*address=([^ ]+) ]]; then
                address[$name ${BASH_REMATCH[1]}]=${BASH_REMATCH[2]}
            fi
        done
    done
}

# HAProxy gets its listening sockets from its parent, so that any free port will
# do and is not taken by another in between. The ports are told first.
start_haproxy() {
    local line
    launch haproxy env \
        POWER_1="${address[power-1 power]}" POWER_1_ADMIN_PORT="${address[power-1 admin]##*:}" \
        POWER_2="${address[power-2 power]}" POWER_2_ADMIN_PORT="${address[power-2 admin]##*:}" \
        SOLO_1="${address[rps-1 solo]}" DUEL_1="${address[rps-1 duel]}" RPS_1_ADMIN_PORT="${address[rps-1 admin]##*:}" \
        SOLO_2="${address[rps-2 solo]}" DUEL_2="${address[rps-2 duel]}" RPS_2_ADMIN_PORT="${address[rps-2 admin]##*:}" \
        python3 -c '
import os, socket
listeners = {name: socket.create_server(("127.0.0.1", 0), backlog=1024) for name in ("POWER", "SOLO", "DUEL", "STATUS")}
for name, listener in listeners.items():
    listener.set_inheritable(True)
    os.environ[f"{name}_BIND"] = f"fd@{listener.fileno()}"
print(*("127.0.0.1:%d" % listener.getsockname()[1] for listener in listeners.values()), flush=True)
os.execvp("haproxy", ["haproxy", "-db", "-f", "config/deploy/haproxy.cfg"])
'
    next_line haproxy "its ports"
    read -r POWER_ADDR RPS_ADDR DUEL_ADDR "address[haproxy]" <<<"$line"
    export POWER_ADDR RPS_ADDR DUEL_ADDR
}

# Waits until HAProxy has said that all these servers are in that state: it says
# so as soon as its health checks have found out.
haproxy_sees() { # UP|DOWN SERVER...
    local wanted=$1 line server
    shift
    for server; do
        until [[ ${state[$server]:-} == "$wanted" ]]; do
            next_line haproxy "it to see $server $wanted"
            if [[ $line =~ 'Server '([^ ]+)' is '(UP|DOWN) ]]; then
                state[${BASH_REMATCH[1]}]=${BASH_REMATCH[2]}
            fi
        done
    done
}

# A rolling update of one replica of each service.
replace() { # NUMBER
    local name said status seen=("power/power-$1" "solo/rps-$1" "duel/rps-$1")
    for name in "power-$1" "rps-$1"; do
        kill -TERM "${pid[$name]}"
    done
    for name in "power-$1" "rps-$1"; do
        ended "$name"
        ((status == 0)) || fail "$name: exit code $status"
        [[ ${said##*$'\n'} =~ stopped\ (accepted=[0-9]+\ rejected=0\ panicked=0\ cut=0)$ ]] \
            || fail "$name: wanted its last line to be of nothing rejected, panicked or cut, got '${said##*$'\n'}'"
        pass "$name drained: exit code 0, ${BASH_REMATCH[1]}"
    done
    # Else its return could not be told from its never having been away.
    haproxy_sees DOWN "${seen[@]}"
    start "power-$1"
    start "rps-$1"
    haproxy_sees UP "${seen[@]}"
    pass "replacements of power-$1 and rps-$1 are up, as HAProxy sees it"
}

# People who play through HAProxy, until SIGTERM: against the house, and against
# each other. Each sends a move, waits for its answer, thinks for a moment, and
# connects again when the server has closed. Says now and then that they are
# playing, and at the end what they met with, and fails if that was more than
# they have to expect.
players() {
    exec python3 -c '
import asyncio, os, random, signal, sys
from collections import Counter

# A drain takes a connection for idle after so long. These games are in progress
# when they are closed; but on a machine that has stood still for as long, they
# too look idle, and a move that was then on its way is the fault of nobody.
IDLE = 0.05
THINKING = 0.02

async def game(reader, writer, met):
    now = asyncio.get_running_loop().time
    began = before = now()
    while True:
        before, began = began, now()
        writer.write(random.choice((b"1", b"2", b"3")))
        met["moves"] += 1
        answer = await reader.read(1)
        if not answer:
            met["moves lost" if now() - before < IDLE else "moves too late"] += 1
            return
        met["answers"] += 1
        if met["answers"] % 200 == 0:
            print("playing", flush=True)
        met["void"] += answer == b"v"
        met["wrong"] += answer not in b"xyzv"
        met["longest wait in ms"] = max(met["longest wait in ms"], round((now() - began) * 1000))
        try:
            met["unasked"] += len(await asyncio.wait_for(reader.read(1), THINKING))
        except asyncio.TimeoutError:
            continue
        met["closed between moves"] += 1
        return

async def player(address, met):
    host, port = address.rsplit(":", 1)
    while True:
        try:
            reader, writer = await asyncio.open_connection(host, port)
            met["connections"] += 1
            await game(reader, writer, met)
        except OSError as error:
            met[f"error {error}"] += 1
            return
        writer.close()

def check(what, met, players):
    # At the end each player may have a move that is still to be answered.
    in_play = met["moves"] - met["answers"] - met["moves too late"]
    expected = Counter({
        **{name: met[name] for name in ("moves", "answers", "connections", "moves too late")},
        "closed between moves": met["connections"] - players - met["moves too late"],
        # Below the 30 s after which a move is void that meets nobody. So what is void
        # is so by a drain, which waits for the other player no longer than 50 ms.
        "longest wait in ms": min(met["longest wait in ms"], 25000),
        "void": met["void"] if what == "duel" else 0,
    })
    print(f"{what}: {players} players,", ", ".join(f"{met[name]} {name}" for name in sorted(met) if met[name]))
    return 0 <= in_play <= players and +met == +expected and met["connections"] > players

async def main():
    all_met = {"solo": Counter(), "duel": Counter()}
    plan = [("solo", os.environ["RPS_ADDR"], 12), ("duel", os.environ["DUEL_ADDR"], 6)]
    tasks = [asyncio.create_task(player(address, all_met[what])) for what, address, count in plan for _ in range(count)]
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    sys.exit(not all([check(what, all_met[what], count) for what, _, count in plan]))

asyncio.run(main())
'
}

metrics() { # ADDRESS
    local fd
    exec {fd}<>"/dev/tcp/${1%:*}/${1##*:}"
    printf 'GET /metrics HTTP/1.0\r\n\r\n' >&"$fd"
    timeout "$(left)" cat <&"$fd" || fail "no metrics at $1"
    exec {fd}<&-
}
# A rule of alerts.yml would be silent for ever if it asked for what nobody has.
check_metrics() {
    local all name count=0
    all=$(metrics "${address[power-1 admin]}" && metrics "${address[rps-1 admin]}" && metrics "${address[haproxy]}")
    while read -r name; do
        [[ $all == *$'\n'"$name"[\{\ ]* ]] || fail "alerts.yml asks for $name: nobody has it"
        count=$((count + 1))
    done < <(sed -E '/^ *#/d; s/\(power\|rps\)(\w+)/power\1 rps\1/' config/deploy/alerts.yml \
        | grep -oE '\b(power|rps|haproxy|process)_[a-z_]+' | sort -u)
    pass "all $count metrics that alerts.yml asks for are there"
}

# Lets so much time pass that all who play have moved many times.
play_on() {
    local line
    for _ in {1..4}; do
        next_line players "them to go on playing"
    done
}

command -v haproxy >/dev/null || fail "haproxy is not installed"
command -v python3 >/dev/null || fail "python3 is not installed"
cargo build --release --locked
bin=${CARGO_TARGET_DIR:-target}/release
declare -A services=([power]="power admin" [rps]="solo duel admin")

began=$SECONDS
for name in power-1 power-2 rps-1 rps-2; do
    start "$name"
done
start_haproxy
for service in power rps duel; do
    "$bin/cli-client" probe "$service" --wait "$(left)s" -q || fail "$service cannot be reached through HAProxy"
done
pass "two replicas of each server behind HAProxy at $POWER_ADDR, $RPS_ADDR and $DUEL_ADDR"

launch players players
# What is slow here is the machine, and no loss.
patience=(--timeout 20s --json)
launch short "$bin/cli-client" bench power -c 64 -z "${most_seconds}s" --rate 400 "${patience[@]}"
launch long "$bin/cli-client" bench rps -c "$games" -z "${most_seconds}s" --rate 200 "${patience[@]}"

play_on
replace 1
play_on
replace 2
play_on

# The load has no end of its own, so it ends as what is told to.
stop_load() { # NAME
    kill -TERM "${pid[$1]}"
    ended "$1"
    ((status == 143)) || fail "$1: wanted it to end at SIGTERM, got exit code $status"
}

check_metrics

stop_load short
[[ $said =~ \"requests\":([0-9]+),\"right\":([0-9]+),\"errors\":\{\}.*\"p50\":([0-9]+).*\"p99\":([0-9]+).*\"max\":([0-9]+) ]] \
    || fail "short connections: wanted no errors, got $said"
((BASH_REMATCH[1] == BASH_REMATCH[2])) || fail "short connections: not all were answered right: $said"
pass "short connections: ${BASH_REMATCH[1]} requests, all answered right: latency p50 ${BASH_REMATCH[3]} µs, p99 ${BASH_REMATCH[4]} µs, max ${BASH_REMATCH[5]} µs"

# To a load that asks again without looking, a connection that was closed before
# is an error; there may be one for each connection and replica.
stop_load long
[[ $said =~ \"requests\":([0-9]+),\"right\":([0-9]+),\"errors\":\{(\"(closed|reset)\":[0-9]+,?)*\} ]] \
    || fail "long connections: wanted none but closed ones, got $said"
closed=$((BASH_REMATCH[1] - BASH_REMATCH[2]))
((closed <= 2 * games)) || fail "long connections: $closed were closed, of $games in two replicas"
pass "long connections: ${BASH_REMATCH[2]} right answers, $closed times one was closed"

kill -TERM "${pid[players]}"
ended players
said=${said//playing$'\n'/}
((status == 0)) || fail "players met with more than they have to expect: $said"
while read -r line; do
    pass "$line"
done <<<"$said"

echo "scale-out: $passed passed, 0 failed, in $((SECONDS - began)) s"
