//! The server as a program.

use std::process::{Command, Stdio};

use proto::testing::certificates::CertificateFiles;
use proto::testing::process::ChildProcess;
use proto::testing::program::{Binary, ServerProcess};
use proto::testing::tls::TestTls;

pub(crate) const BINARY: Binary = Binary {
    path: env!("CARGO_BIN_EXE_power-server"),
    folder: env!("CARGO_TARGET_TMPDIR"),
    listeners: &["POWER_SERVER_LISTEN", "POWER_SERVER_ADMIN_LISTEN"],
    services: &["power", "admin"],
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

/// Returns `openssl s_client` with this certificate of a client. The caller adds the address of the server.
pub(crate) fn openssl(tls: &TestTls, client: &CertificateFiles) -> Command {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-verify_return_error", "-quiet", "-CAfile"]).arg(&tls.authority.certificate);
    command.arg("-cert").arg(&client.certificate).arg("-key").arg(&client.key);
    command
}

/// Checks that a program that sends its standard input gets a reply, and exits with 0 at its end.
pub(crate) fn check_reply_to_openssl(command: &mut Command) {
    let mut client = ChildProcess::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()));
    client.write("a2\n");
    client.stdout.wait_for("a reply", |text| (text == "d4.0\n").then_some(()));
    drop(client.take_stdin());
    assert_eq!(client.wait(), Some(0), "{client:?}");
}
