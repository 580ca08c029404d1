//! The server's program while it runs, on free ports. What such a program is like is the same for both servers.

#![allow(dead_code, unused_imports, reason = "not every file uses all of it")]

use std::process::Command;

pub(crate) use proto::testing::program::*;

/// The program, to which nothing has been said.
pub(crate) fn bare() -> Command {
    proto::testing::program::command(env!("CARGO_BIN_EXE_rps-server"), env!("CARGO_TARGET_TMPDIR"), &[], &[])
}

/// The program with these arguments, listening on free ports unless they say otherwise.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let listeners = ["RPS_SERVER_SOLO_LISTEN", "RPS_SERVER_DUEL_LISTEN", "RPS_SERVER_ADMIN_LISTEN"];
    proto::testing::program::command(
        env!("CARGO_BIN_EXE_rps-server"),
        env!("CARGO_TARGET_TMPDIR"),
        &listeners,
        arguments,
    )
}

/// A running server.
pub(crate) fn start(arguments: &[&str]) -> Program {
    Program::start(&mut command(arguments), &["solo", "duel", "admin"])
}
