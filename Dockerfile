# Container images of the two servers, one build target each:
#
#   docker build --target power-server -t power-server .
#   docker build --target rps-server -t rps-server .
#
# and, with BuildKit, the manual pages of the client:
#
#   docker build --target man --output type=local,dest=man1 .
#
# An image holds one static binary and its configuration file, nothing else.
# The file uses only syntax of the classic builder, so that engines without
# BuildKit can build it. The classic builder builds every stage before the
# target, so the stages of one service are kept together.

# The image that compiles: it needs cargo, rustc, a C compiler and linker, and a
# static libc. A tag can move to another image. For a build that can be repeated,
# name the image by its digest: --build-arg BUILDER=rust:1-slim-bookworm@sha256:...
ARG BUILDER=rust:1-slim-bookworm

# The workspace with every Rust source emptied. A change of code alone does not
# change this stage, so the dependencies compiled from it stay cached.
FROM ${BUILDER} AS skeleton
WORKDIR /src
COPY . .
RUN find . -type f ! -name '*.rs' ! -name Cargo.toml ! -name Cargo.lock ! -path './.cargo/*' -delete \
    && find . -type f -name '*.rs' | while read -r file; do \
        printf '#![allow(dead_code, missing_docs)]\nfn main() {}\n' > "$file"; \
    done

# The dependencies, compiled once for both services. Each service has a separate
# build command, here and below: a joint one could enable other features of a
# shared dependency, and cargo would not reuse the result.
#
# Static linking of libc lets the binary run in an empty image. An explicit
# --target, although it is the host, keeps the flag away from proc macros, which
# cannot be linked statically. The binary has paths of source files, for
# backtraces: those in the workspace and in crates, without where the builder
# has them. CFLAGS does the same for the C code of a crate. The debug information
# is compressed, which makes the image half as large.
FROM ${BUILDER} AS dependencies
WORKDIR /src
ENV RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-Wl,--compress-debug-sections=zlib \
--remap-path-prefix=/src=. \
--remap-path-prefix=${CARGO_HOME:-/usr/local/cargo}=cargo" \
    CFLAGS="-ffile-prefix-map=${CARGO_HOME:-/usr/local/cargo}=cargo"
COPY --from=skeleton /src .
RUN target="$(rustc --print host-tuple)" \
    && cargo build --release --locked --target "$target" -p power-server \
    && cargo build --release --locked --target "$target" -p rps-server


# touch makes the real sources newer than the emptied ones: cargo compares
# modification times, and COPY keeps those of the build context. install sets the
# file modes, because the server's user has to read the files.
FROM dependencies AS power-server-build
COPY . .
RUN target="$(rustc --print host-tuple)" \
    && find . -type f -name '*.rs' ! -path './target/*' -exec touch {} + \
    && cargo build --release --locked --target "$target" -p power-server \
    && install -D -m 0755 "target/$target/release/power-server" /image/power-server \
    && install -D -m 0644 config/power-server.toml /image/etc/power-server/config.toml

FROM scratch AS power-server
COPY --from=power-server-build /image/ /
# Loopback of a container is not reachable from outside, so the image listens on
# all addresses.
ENV POWER_SERVER_CONFIG=/etc/power-server/config.toml \
    POWER_SERVER_LISTEN=0.0.0.0:5000
EXPOSE 5000 9500
USER 65532:65532
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
    CMD ["/power-server", "--healthcheck"]
ENTRYPOINT ["/power-server"]
ARG VERSION=dev
LABEL org.opencontainers.image.title="power-server" \
      org.opencontainers.image.description="Short TCP connections: one square, cube or fourth power each" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}"


FROM dependencies AS rps-server-build
COPY . .
RUN target="$(rustc --print host-tuple)" \
    && find . -type f -name '*.rs' ! -path './target/*' -exec touch {} + \
    && cargo build --release --locked --target "$target" -p rps-server \
    && install -D -m 0755 "target/$target/release/rps-server" /image/rps-server \
    && install -D -m 0644 config/rps-server.toml /image/etc/rps-server/config.toml

FROM scratch AS rps-server
COPY --from=rps-server-build /image/ /
ENV RPS_SERVER_CONFIG=/etc/rps-server/config.toml \
    RPS_SERVER_SOLO_LISTEN=0.0.0.0:5001 \
    RPS_SERVER_DUEL_LISTEN=0.0.0.0:5002 \
    RPS_SERVER_WEB_LISTEN=0.0.0.0:5080
EXPOSE 5001 5002 5080 9501
USER 65532:65532
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
    CMD ["/rps-server", "--healthcheck"]
ENTRYPOINT ["/rps-server"]
ARG VERSION=dev
LABEL org.opencontainers.image.title="rps-server" \
      org.opencontainers.image.description="Long TCP connections: rock-paper-scissors in one-byte frames" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}"


# The client, only to print its manual pages here: a debug build is enough, and
# needs neither a static link nor the dependencies above.
FROM ${BUILDER} AS man-build
WORKDIR /src
COPY . .
RUN cargo build --locked -p cli-client \
    && install -d /image \
    && target/debug/cli-client man /image

FROM scratch AS man
COPY --from=man-build /image/ /


# A build without --target makes the image of the last stage. The manual pages
# come before it, and behind the servers, so that the classic builder does not
# build them for a server.
FROM rps-server
