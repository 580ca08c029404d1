//! Starts the server as a program.

use std::process::Command;

use proto::testing::program::{Binary, ServerProcess};

pub(crate) const BINARY: Binary = Binary {
    path: env!("CARGO_BIN_EXE_rps-server"),
    folder: env!("CARGO_TARGET_TMPDIR"),
    listeners: &["RPS_SERVER_SOLO_LISTEN", "RPS_SERVER_DUEL_LISTEN", "RPS_SERVER_ADMIN_LISTEN"],
    services: &["solo", "duel", "admin"],
};

pub(crate) fn clean_command() -> Command {
    BINARY.clean_command()
}

pub(crate) fn command(arguments: &[&str]) -> Command {
    BINARY.command(arguments)
}

pub(crate) fn start(arguments: &[&str]) -> ServerProcess {
    BINARY.start(arguments)
}
