#!/usr/bin/env bash
# Builds the container images of both servers, runs each as it should be run in
# earnest (read-only, without capabilities, not as root) and checks it from
# outside with the command-line client: its answers, its health check, what the
# image holds, and that `docker stop` makes it drain and end well.
#
#   BUILDER_IMAGE      image to compile in, instead of the Dockerfile's default
#   DOCKER_BUILD_ARGS  further arguments for `docker build`, split at blanks
#
# Stops at the first difference. The containers and images are removed in any
# case; the builder's cached layers stay, to make the next run quick.
set -euo pipefail
cd "$(dirname "$0")/.."

max_image_bytes=12000000
stop_seconds=10 # what `docker stop` grants before it kills

read -ra build_args <<<"${DOCKER_BUILD_ARGS:-}"
if [[ -n ${BUILDER_IMAGE:-} ]]; then
    build_args+=(--build-arg "BUILDER=$BUILDER_IMAGE")
fi

passed=0
pass() {
    passed=$((passed + 1))
    echo "ok: $*"
}
fail() {
    echo "FAILED: $*" >&2
    exit 1
}
expect() { # WHAT WANTED GOT
    [[ $3 == "$2" ]] || fail "$1: wanted '$2', got '$3'"
    pass "$1: $3"
}

containers=()
images=()
clean_up() {
    local status=$? name
    for name in "${containers[@]}"; do
        if ((status != 0)); then
            echo "--- log of $name" >&2
            docker logs "$name" >&2 || true
        fi
        docker rm --force --volumes "$name" >/dev/null 2>&1 || true
    done
    for name in "${images[@]}"; do
        docker rmi --force "$name" >/dev/null 2>&1 || true
    done
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Waits until the service answers, and sets addr, which changes with each start.
wait_for_answer() { # SERVICE CONTAINER PORT
    addr=$(docker port "$2" "$3/tcp") || fail "$2 does not run"
    client probe "$1" --addr "$addr" --wait 30s >/dev/null \
        || fail "$2 does not answer at $addr"
}

wait_until_healthy() { # CONTAINER
    # The engine tells of what has been since the start, and then of what comes.
    local since events watcher
    since=$(docker inspect -f '{{.State.StartedAt}}' "$1")
    exec {events}< <(exec timeout 60 docker events --since "$since" --filter "container=$1" \
        --filter event=health_status --format '{{.Status}}')
    watcher=$!
    grep -q -m 1 'health_status: healthy' <&"$events" \
        || fail "$1 is not healthy within 60 s: $(docker inspect -f '{{json .State.Health}}' "$1")"
    kill "$watcher"
    exec {events}<&-
    pass "$1 becomes healthy"
}

stop_and_check() { # CONTAINER HOW
    local began=${EPOCHREALTIME//[!0-9]/} took
    docker stop -t "$stop_seconds" "$1" >/dev/null
    took=$(((${EPOCHREALTIME//[!0-9]/} - began) / 1000))
    expect "$1 stopped $2, exit code" 0 "$(docker inspect -f '{{.State.ExitCode}}' "$1")"
    ((took < stop_seconds * 1000)) || fail "$1 stopped $2: took $took ms"
    pass "$1 stopped $2 within its time: $took ms"
}

# Everything in the container's root that the engine did not put there.
list_files() { # CONTAINER
    docker export "$1" | tar -t | grep -v '/$' \
        | grep -vE '^(\.dockerenv$|dev/|proc/|sys/|etc/(hosts|hostname|mtab|resolv\.conf)$)' \
        | sort | paste -sd ' '
}

check_service() { # SERVICE PORT [FURTHER_PORT...]
    local server=$1-server port=$2 publish=("${@:2}")
    local image=docker-smoke-$server:$$ container=docker-smoke-$server-$$
    local size uid idle log

    images+=("$image")
    docker build --quiet --force-rm --target "$server" --tag "$image" \
        "${build_args[@]}" . >/dev/null \
        || fail "the image of $server does not build"
    size=$(docker image inspect -f '{{.Size}}' "$image")
    ((size < max_image_bytes)) || fail "$image is too large: $size bytes"
    pass "$image built: $size bytes"

    containers+=("$container")
    docker run --detach --name "$container" \
        "${publish[@]/#/--publish=127.0.0.1::}" \
        --read-only --cap-drop=ALL --security-opt=no-new-privileges \
        --health-interval=1s "$image" >/dev/null
    wait_for_answer "$1" "$container" "$port"
    pass "$container answers at $addr"
    "drive_$1" "$container"

    wait_until_healthy "$container"
    docker exec "$container" "/$server" --healthcheck || fail "$container: health check fails"
    pass "$container: health check succeeds where the server runs"
    expect "$image: exit code of the health check where no server runs" 1 \
        "$(docker run --rm "$image" --healthcheck >/dev/null 2>&1 && echo 0 || echo $?)"

    uid=$(docker top "$container" -eo uid,pid | awk 'NR == 2 { print $1 }')
    [[ $uid =~ ^[1-9][0-9]*$ ]] || fail "$container runs as user '$uid'"
    pass "$container runs as user $uid"
    # With no loader and no library beside it, a binary that runs is static.
    expect "$container holds" "etc/$server/config.toml $server" "$(list_files "$container")"

    stop_and_check "$container" "when idle"

    docker start "$container" >/dev/null
    wait_for_answer "$1" "$container" "$port"
    exec {idle}<>"/dev/tcp/${addr%:*}/${addr##*:}"
    # Another exchange, so that the server has the connection above by then.
    wait_for_answer "$1" "$container" "$port"
    stop_and_check "$container" "with a client connected"
    exec {idle}>&-

    log=$(docker logs "$container" 2>&1)
    log=${log//panicked=0/}
    [[ ${log,,} != *panic* ]] || fail "$container: its log tells of a panic"
    pass "$container: no panic in the log"
}

drive_power() { # CONTAINER
    expect "power square 2" 4.0 "$(client power square 2 --addr "$addr")"
}

drive_rps() { # CONTAINER
    local line duel first
    line=$(client rps throw rock --addr "$addr")
    [[ $line =~ ^rock\ (draw|win|lose)$ ]] || fail "rps throw rock: got '$line'"
    pass "rps throw rock: $line"
    duel=$(docker port "$1" 5002/tcp) || fail "$1 has no port for duels"
    exec {first}< <(client rps throw rock --duel --addr "$duel")
    expect "rps throw paper --duel" "paper win" "$(client rps throw paper --duel --addr "$duel")"
    expect "rps throw rock --duel" "rock lose" "$(cat <&"$first")"
    exec {first}<&-
}

cargo build --release --locked -p cli-client
client() {
    "${CARGO_TARGET_DIR:-target}/release/cli-client" "$@"
}

check_service power 5000
check_service rps 5001 5002

echo "docker smoke: $passed passed, 0 failed"
