#!/usr/bin/env bash
# Builds the container images of both servers, runs each as in production (read-only, without capabilities, not as
# root), and checks it from outside: its replies to the client, its health check, the files in the image, and that
# it drains at `docker stop` and exits with 0.
#
#   BUILDER_IMAGE      image to compile in, instead of the Dockerfile's default
#   DOCKER_BUILD_ARGS  additional arguments for `docker build`, separated by blanks
#
# Needs a Rust toolchain and a docker engine. Stops at the first failed check. The containers and images are removed at
# the end; the builder's cached layers stay for the next run.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
cd "$root"

max_image_bytes=16000000 # 11 to 14 MB measured: half are symbols, for backtraces
stop_seconds=10 # after this time `docker stop` sends SIGKILL

read -ra build_args <<<"${DOCKER_BUILD_ARGS:-}"
if [[ -n ${BUILDER_IMAGE:-} ]]; then
    build_args+=(--build-arg "BUILDER=$BUILDER_IMAGE")
fi

containers=()
images=()
clean_up_more() { # STATUS
    local name
    for name in "${containers[@]}"; do
        if (($1 != 0)); then
            echo "--- health and log of $name"
            docker inspect -f '{{json .State.Health}}' "$name" || true
            docker logs "$name" || true
        fi >&2
        docker rm --force --volumes "$name" >/dev/null 2>&1 || true
    done
    for name in "${images[@]}"; do
        docker rmi --force "$name" >/dev/null 2>&1 || true
    done
}

# Waits until the service replies. Sets `addr`, because each start of the container publishes another port.
wait_for_reply() { # SERVICE CONTAINER PORT
    addr=$(docker port "$2" "$3/tcp") || fail "$2 is not running"
    check 0 "$1 at $addr works *" "" cli-client probe "$1" --addr "$addr" --wait "${wait_seconds}s"
}

stop_container() { # CONTAINER WHEN
    local started=${EPOCHREALTIME//[!0-9]/} took
    docker stop -t "$stop_seconds" "$1" >/dev/null
    took=$(((${EPOCHREALTIME//[!0-9]/} - started) / 1000))
    check 0 0 "" docker inspect -f '{{.State.ExitCode}}' "$1"
    ((took < stop_seconds * 1000)) || fail "$1 stopped $2: it took $took ms"
    pass "$1 stopped $2: exit code 0 after $took ms"
}

# Prints the files of a container, without those that the engine adds.
list_files() { # CONTAINER
    docker export "$1" | tar -t | grep -v '/$' \
        | grep -vE '^(\.dockerenv$|dev/|proc/|sys/|etc/(hosts|hostname|mtab|resolv\.conf)$)' \
        | sort | paste -sd ' '
}

check_service() { # SERVICE PORT [FURTHER_PORT...]
    local server=$1-server port=$2 publish=("${@:2}")
    local image=docker-smoke-$server:$$ container=docker-smoke-$server-$$
    local size uid paths idle log

    images+=("$image")
    docker build --quiet --force-rm --target "$server" --tag "$image" "${build_args[@]}" . >/dev/null \
        || fail "cannot build the image of $server"
    size=$(docker image inspect -f '{{.Size}}' "$image")
    ((size < max_image_bytes)) || fail "$image is too large: $size bytes"
    pass "$image built: $size bytes"

    containers+=("$container")
    docker run --detach --name "$container" \
        "${publish[@]/#/--publish=127.0.0.1::}" \
        --read-only --cap-drop=ALL --security-opt=no-new-privileges \
        --health-interval=1s "$image" >/dev/null
    wait_for_reply "$1" "$container" "$port"
    "check_$1" "$container"

    wait_until_healthy "$container" "$container"
    check 0 "" "*" docker exec "$container" "/$server" --healthcheck
    check 1 "*" "*" docker run --rm "$image" --healthcheck # no server runs in this container

    uid=$(docker top "$container" -eo uid,pid | awk 'NR == 2 { print $1 }')
    [[ $uid =~ ^[1-9][0-9]*$ ]] || fail "$container runs as user '$uid'"
    pass "$container runs as user $uid"
    # The binary names no source file by its path in the builder, neither of the workspace nor of a crate.
    docker cp "$container:/$server" "$scratch/$server" >/dev/null
    paths=$(grep -aoE '(/src/crates|/usr/local/cargo|/\.cargo/)[^[:cntrl:]]{0,60}' "$scratch/$server" || true)
    [[ -z $paths ]] || fail "/$server contains paths of the machine that built it, such as ${paths%%$'\n'*}"
    pass "/$server contains no paths of the machine that built it"
    # The image has no loader and no libraries, so a binary that runs is static.
    check 0 "etc/$server/config.toml $server" "" list_files "$container"

    stop_container "$container" "when idle"

    docker start "$container" >/dev/null
    wait_for_reply "$1" "$container" "$port"
    exec {idle}<>"/dev/tcp/${addr%:*}/${addr##*:}"
    # Once the server has replied to a later connection, it has accepted the one above.
    wait_for_reply "$1" "$container" "$port"
    stop_container "$container" "with a client connected"
    exec {idle}>&-

    log=$(docker logs "$container" 2>&1)
    log=${log//panicked=0/}
    [[ ${log,,} != *panic* ]] || fail "$container: the log has a panic"
    pass "$container: no panic in the log"
}

check_power() { # CONTAINER
    check 0 4.0 "" cli-client power square 2 --addr "$addr"
}

check_rps() { # CONTAINER
    local duel
    check 0 "rock @(draw|win|lose)" "" cli-client rps throw rock --addr "$addr"
    duel=$(docker port "$1" 5002/tcp) || fail "$1 publishes no port for duels"
    check 0 "HTTP/1.? 200 OK*<title>Rock, paper, scissors</title>*" "" http_get "$(docker port "$1" 5080/tcp)" /
    launch player cli-client rps throw rock --duel --addr "$duel"
    check 0 "paper win" "" cli-client rps throw paper --duel --addr "$duel"
    wait_for_end player
    check 0 "rock lose" "" cat "$scratch/player.log"
}

need docker
build -p cli-client
set_up
PATH=$bin:$PATH

check_service power 5000
check_service rps 5001 5002 5080

echo "docker smoke: $passed passed, 0 failed"
