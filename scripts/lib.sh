# shellcheck shell=bash disable=SC2034
# Shared functions of the scripts in this folder. A script begins with
#
#   set -euo pipefail
#   # shellcheck source-path=SCRIPTDIR
#   . "$(dirname "$0")/lib.sh"
#
# and calls `set_up` before it starts a process or writes a file. Needs bash (4.4 or later) and GNU coreutils.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
script=$(basename "$0" .sh)
exec </dev/null

# The scripts check the shipped configuration, so the caller's settings, addresses and language do not apply. In the C
# locale a character is a byte.
unset RUST_LOG "${!POWER_@}" "${!RPS_@}" "${!SOLO_@}" "${!DUEL_@}" "${!STATUS_@}" "${!CLIENT_@}"
export LC_ALL=C

wait_seconds=60 # limit of each wait: far longer than a slow machine needs, so only a hang reaches it

# --- Results

passed=0
pass() { # CHECK
    passed=$((passed + 1))
    echo "ok: ${*//$'\n'/\\n}"
}
fail() { # REASON
    echo "$script: FAILED: $*" >&2
    exit 1
}
# Runs a command and checks its exit code and its output. STDOUT and STDERR are shell patterns for the whole output.
check() { # EXIT_CODE STDOUT STDERR COMMAND...
    local out err status=0 command="${*:4}"
    out=$("${@:4}" 2>"$scratch/stderr") || status=$?
    err=$(<"$scratch/stderr")
    # shellcheck disable=SC2053
    [[ $status == "$1" && $out == $2 && $err == $3 ]] \
        || fail "$command: expected exit code $1, stdout '$2', stderr '$3'; got $status, '$out', '$err'"
    pass "${command:0:100}: exit code $1${out:+, ${out:0:60}}${err:+, ${err:0:60}}"
}
need() { # PROGRAM...
    local program
    for program; do
        command -v "$program" >/dev/null || fail "$program is not installed"
    done
}

# --- Build, temporary folder and clean-up

# Builds in release mode. Sets `bin` to the folder with the programs.
build() { # CARGO_ARGUMENT...
    bin=${CARGO_TARGET_DIR:-$root/target}/release
    # Inside the network namespace no registry can be reached, and the programs are already built.
    [[ -n ${OWN_NETWORK:-} ]] || cargo build --release --locked --manifest-path "$root/Cargo.toml" "$@"
}

# Runs the script again in a new network namespace if the system allows it: as root, or in a new user namespace. The
# script's connections then do not fill the host's tables, and it does not count connections of other programs.
use_own_network() { # SCRIPT_ARGUMENT...
    local namespaces
    [[ -z ${OWN_NETWORK:-} ]] || return 0
    for namespaces in "--net" "--net --map-root-user"; do
        # The variable has one or two words. The inner shell expands the text in single quotes.
        # shellcheck disable=SC2016,SC2086
        if unshare $namespaces ip link set lo up 2>/dev/null; then
            exec unshare $namespaces env OWN_NETWORK=1 bash -c 'ip link set lo up && exec bash "$@"' bash \
                "$root/scripts/$script.sh" "$@"
        fi
    done
}

# Creates the temporary folder `scratch`. On every exit path, the folder is removed and all processes that `launch`
# started are killed. A script with more to clean up defines the function `clean_up_more`.
set_up() {
    scratch=$(mktemp -d)
    trap clean_up EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
}
clean_up() {
    local status=$? name
    trap '' HUP INT TERM
    for name in "${!pid[@]}"; do
        kill -KILL "${pid[$name]}" 2>/dev/null || true
        wait "${pid[$name]}" 2>/dev/null || true
    done
    if ((status != 0)); then
        for name in "$scratch"/*.log; do
            [[ ! -s $name ]] || { echo "--- $(basename "$name")" && tail -n 50 "$name"; } >&2
        done
    fi
    if declare -F clean_up_more >/dev/null; then
        clean_up_more "$status" || true
    fi
    rm -rf "$scratch"
    ((status == 0)) || echo "$script: FAILED, exit code $status, after $passed passed checks" >&2
}

# --- Processes. Each has a name; its output is in $scratch/NAME.log

declare -A pid # by name, of each running process
launch() { # NAME COMMAND...
    # The log exists before the process starts.
    { "${@:2}" & } >"$scratch/$1.log" 2>&1
    pid[$1]=$!
}

# Runs COMMAND until a line of its output matches the extended regular expression PATTERN. Sets `line` to that line.
# NAME is for the error message.
wait_for() { # NAME PATTERN COMMAND...
    local output command
    exec {output}< <(exec timeout "$wait_seconds" "${@:3}" 2>&1)
    command=$!
    line=$(grep -m 1 -E -e "$2" <&"$output") || line=
    kill "$command" 2>/dev/null || true
    exec {output}<&-
    [[ -n $line ]] || fail "$1: no line matched '$2' within $wait_seconds s"
}
# Waits for a line in the log of a process, starting at line number FIRST. Fails at once if the process exits.
wait_for_log() { # NAME PATTERN [FIRST]
    wait_for "$1" "$2" tail -n "+${3:-1}" -f --pid="${pid[$1]}" "$scratch/$1.log"
}
# Prints the number of the next line of a log.
next_line() { # NAME
    echo $(($(wc -l <"$scratch/$1.log") + 1))
}

# Waits until a process has exited. Sets `status` to its exit code.
wait_for_end() { # NAME
    # tail checks the process every 50 ms.
    timeout "$wait_seconds" tail -s 0.05 -f --pid="${pid[$1]}" /dev/null || fail "$1 did not exit within $wait_seconds s"
    status=0
    wait "${pid[$1]}" || status=$?
    unset "pid[$1]"
}

# --- Servers. Their names are power-SUFFIX and rps-SUFFIX; `address` has the address of each "NAME SERVICE"

declare -A address
declare -A services=([power]="power admin" [rps]="solo duel web admin")

# Starts a server with the shipped configuration and waits until it listens: on its previous addresses or, the first
# time, on free ports.
start() { # NAME ARGUMENT...
    local name=$1 kind=${1%%-*} service listen=()
    local -A option=([power]=--listen [solo]=--solo-listen [duel]=--duel-listen [web]=--web-listen [admin]=--admin-listen)
    for service in ${services[$kind]}; do
        listen+=("${option[$service]}" "${address[$name $service]:-127.0.0.1:0}")
    done
    launch "$name" "$bin/$kind-server" --config "$root/config/$kind-server.toml" "${listen[@]}" "${@:2}"
    for service in ${services[$kind]}; do
        wait_for_log "$name" " listening service=\"$service\""
        address[$name $service]=${line##*address=}
    done
}

# Waits until a server has exited after SIGTERM. Checks that its exit code is 0, that it aborted no connection, and that
# its log has no error, except that of an engine that was stopped. REJECTED is the expected number of rejected connections; the default is any number.
check_stopped() { # NAME [REJECTED]
    local log=$scratch/$1.log summary="accepted=[0-9]+ rejected=${2:-[0-9]+} panicked=0 aborted=0"
    wait_for_end "$1"
    ((status == 0)) || fail "$1: expected exit code 0 at SIGTERM, got $status"
    line=$(tail -n 1 "$log")
    [[ $line =~ " stopped "$summary$ ]] || fail "$1: expected 'stopped $summary' as the last line of its log, got '$line'"
    ! sed -e 's/panicked=0//' -e '/ engine is unavailable /d' "$log" | grep -iE 'error|panic' >&2 || fail "$1: the log has an error"
    pass "$1 drains at SIGTERM, exit code 0, ${line##* stopped }"
}
stop() { # NAME [REJECTED]
    kill -TERM "${pid[$1]}"
    check_stopped "$@"
}

# Prints the response to an HTTP/1.0 request.
http_get() { # ADDRESS PATH
    local connection
    exec {connection}<>"/dev/tcp/${1%:*}/${1##*:}"
    printf 'GET %s HTTP/1.0\r\n\r\n' "$2" >&"$connection"
    read_to_end <&"$connection"
    exec {connection}<&-
}
# Prints standard input until the other side closes.
read_to_end() {
    timeout "$wait_seconds" cat
}

# Waits until the engine's health check of a container has succeeded.
wait_until_healthy() { # NAME CONTAINER
    # Prints the events since the start of the container, then waits for new ones.
    wait_for "$1" 'health_status: healthy' docker events \
        --since "$(docker inspect --format '{{.State.StartedAt}}' "$2")" \
        --filter "container=$2" --filter event=health_status --format '{{.Status}}'
    pass "$1 is healthy"
}
