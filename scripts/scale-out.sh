#!/usr/bin/env bash
# Checks that a service of several replicas loses nothing during a rolling update: two power servers and two
# rock-paper-scissors servers run behind HAProxy with the shipped configuration (config/deploy/haproxy.cfg) under
# constant load. Each replica in turn gets SIGTERM, without notice to HAProxy, ends, and is started again.
#
# It requires: no request of a short connection fails; a long connection is closed between a reply and the next
# move, and never with a move unanswered; a duel does not wait for a player at the other replica; each server exits
# with 0 and aborts no connection.
#
# Needs a Rust toolchain, bash (4.4 or later), coreutils, haproxy (2.6 or later) and python3 (3.9 or later). Takes less
# than a minute once all is built, on free ports of loopback.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
cd "$root"

most_seconds=60 # limit for everything; the load ends by itself after that, which is a failure
games=8         # connections of the long load

# Starts HAProxy, which gets its listening sockets from its parent: so each has a free port, which no other process can
# take in between. The first line of the log has the addresses.
start_haproxy() {
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
    wait_for_log haproxy '^127\.'
    read -r POWER_ADDR RPS_ADDR DUEL_ADDR "address[haproxy status]" <<<"$line"
    export POWER_ADDR RPS_ADDR DUEL_ADDR
}

# Waits until HAProxy's health checks have found all these servers in a state, in its log from line number FIRST on.
haproxy_sees() { # UP|DOWN FIRST SERVER...
    local server
    for server in "${@:3}"; do
        wait_for_log haproxy "Server $server is $1" "$2"
    done
}

# A rolling update of one replica of each service.
replace() { # NUMBER
    local name from seen=("power/power-$1" "solo/rps-$1" "duel/rps-$1")
    from=$(next_line haproxy)
    kill -TERM "${pid[power-$1]}" "${pid[rps-$1]}"
    stopped "power-$1" 0
    stopped "rps-$1" 0
    # Without this, a server that is UP again looks like one that was never away.
    haproxy_sees DOWN "$from" "${seen[@]}"
    from=$(next_line haproxy)
    start "power-$1"
    start "rps-$1"
    haproxy_sees UP "$from" "${seen[@]}"
    pass "HAProxy sees the replacements of power-$1 and rps-$1 up"
}

# Players through HAProxy, until SIGTERM: against the house, and against each other. Each sends a move, waits for its
# reply, pauses, and connects again when the server has closed. Prints "playing" every 200 replies, and at the end
# what happened; fails if anything happened that a drain does not explain.
players() {
    exec python3 -c '
import asyncio, os, random, signal, sys
from collections import Counter

# A drain takes a connection for idle after this time. On a machine that has stalled for as long, games in progress
# look idle too, and a move may be on its way when the connection is closed. Such a move does not count as lost.
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
    # At the end each player may have one move in play.
    in_play = met["moves"] - met["answers"] - met["moves too late"]
    expected = Counter({
        **{name: met[name] for name in ("moves", "answers", "connections", "moves too late")},
        "closed between moves": met["connections"] - players - met["moves too late"],
        # Less than the 30 s of the duel window, after which a move without another is void. So every void round is
        # due to a drain, which waits 50 ms for the other player.
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

# Each metric that a rule of alerts.yml asks for has to exist: otherwise the rule could never fire.
check_metrics() {
    local name all count=0
    all=$(http_get "${address[power-1 admin]}" /metrics \
        && http_get "${address[rps-1 admin]}" /metrics \
        && http_get "${address[haproxy status]}" /metrics) || fail "cannot read the metrics"
    while read -r name; do
        [[ $all == *$'\n'"$name"[\{\ ]* ]] || fail "alerts.yml asks for $name, which no server exports"
        count=$((count + 1))
    done < <(sed -E '/^ *#/d; s/\(power\|rps\)(\w+)/power\1 rps\1/' config/deploy/alerts.yml \
        | grep -oE '\b(power|rps|haproxy|process)_[a-z_]+' | sort -u)
    pass "all $count metrics that alerts.yml asks for exist"
}

# Waits until all players have moved many times more.
play_on() {
    for _ in {1..4}; do
        wait_for_log players playing "$(next_line players)"
    done
}

# Stops a load before its end. Sets `summary`.
stop_load() { # NAME
    kill -TERM "${pid[$1]}"
    wait_for_end "$1"
    summary=$(<"$scratch/$1.log")
    ((status == 143)) || fail "$1: wanted exit code 143 at SIGTERM, got $status, with $summary"
}

need haproxy python3
build --workspace
set_up

began=$SECONDS
for name in power-1 power-2 rps-1 rps-2; do
    start "$name"
done
start_haproxy
for service in power rps duel; do
    "$bin/cli-client" probe "$service" --wait "${wait_seconds}s" -q || fail "$service cannot be reached through HAProxy"
done
pass "two replicas of each server behind HAProxy at $POWER_ADDR, $RPS_ADDR and $DUEL_ADDR"

launch players players
# A long timeout: a request that is late because the machine is slow is not lost.
patience=(--timeout 20s --json)
launch short "$bin/cli-client" bench power -c 64 -z "${most_seconds}s" --rate 400 "${patience[@]}"
launch long "$bin/cli-client" bench rps -c "$games" -z "${most_seconds}s" --rate 200 "${patience[@]}"
play_on
replace 1
play_on
replace 2
play_on
check_metrics

stop_load short
[[ $summary =~ \"requests\":([0-9]+),\"right\":([0-9]+),\"errors\":\{\}.*\"p50\":([0-9]+).*\"p99\":([0-9]+).*\"max\":([0-9]+) ]] \
    || fail "short connections: wanted no errors, got $summary"
((BASH_REMATCH[1] == BASH_REMATCH[2])) || fail "short connections: not all requests were answered right: $summary"
pass "short connections: ${BASH_REMATCH[1]} requests, all answered right: latency p50 ${BASH_REMATCH[3]} µs, p99 ${BASH_REMATCH[4]} µs, max ${BASH_REMATCH[5]} µs"

# The load sends its next move without a look at the connection, so a connection that a drain has closed is an error
# to it: at most one for each connection and replica.
stop_load long
[[ $summary =~ \"requests\":([0-9]+),\"right\":([0-9]+),\"errors\":\{(\"(closed|reset)\":[0-9]+,?)*\} ]] \
    || fail "long connections: wanted no errors but closed connections, got $summary"
closed=$((BASH_REMATCH[1] - BASH_REMATCH[2]))
((closed <= 2 * games)) || fail "long connections: $closed were closed, of $games at two replicas"
pass "long connections: ${BASH_REMATCH[2]} right replies, $closed connections closed"

kill -TERM "${pid[players]}"
wait_for_end players
((status == 0)) || fail "the players: something that a drain does not explain: $(grep -v '^playing$' "$scratch/players.log")"
while read -r line; do
    pass "$line"
done < <(grep -v '^playing$' "$scratch/players.log")
((SECONDS - began <= most_seconds)) || fail "it took $((SECONDS - began)) s, more than $most_seconds s"

echo "scale-out: $passed passed, 0 failed, in $((SECONDS - began)) s"
