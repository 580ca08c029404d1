//! Runs the client binary as a user or a script would, and checks the result.
//!
//! - [`ClientCommand`]: the command line; started it is [`RunningClient`], at its end [`Finished`];
//! - [`fake`]: servers that run a test's script;
//! - [`real`]: our servers, in this process;
//! - [`load`]: shared by the tests of `bench`;
//! - [`terminal`]: the client on a terminal.
//!
//! No wait takes longer than [`TEST_TIMEOUT`]: a client that does not end is killed, and the test fails.

#![allow(dead_code, reason = "each test program uses a part of this")]
#![allow(clippy::expect_used, clippy::panic, reason = "a failed setup fails the test")]

pub(crate) mod fake;
pub(crate) mod load;
pub(crate) mod pages;
pub(crate) mod real;
pub(crate) mod terminal;

use std::io::{PipeWriter, Write, pipe};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::thread;

use proto::testing::process::ChildProcess;

/// A client that has not been started.
#[derive(Debug)]
pub(crate) struct ClientCommand {
    command: Command,
}

/// Returns the client with these arguments, separated by blanks. The addresses, languages and authorities of the test's
/// environment are removed.
pub(crate) fn client(arguments: &str) -> ClientCommand {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cli-client"));
    command.args(arguments.split_whitespace());
    for variable in ["POWER_ADDR", "RPS_ADDR", "DUEL_ADDR", "LC_MESSAGES", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR"] {
        command.env_remove(variable);
    }
    // These variables would decide about colours.
    for variable in ["CI", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
        command.env_remove(variable);
    }
    command.env("LC_ALL", "C").env("TERM", "xterm").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    ClientCommand { command }
}

/// Runs the client with these arguments and empty standard input.
pub(crate) fn run(arguments: &str) -> Finished {
    client(arguments).run("")
}

impl ClientCommand {
    /// Sets an environment variable.
    pub(crate) fn with_env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Adds arguments, which may contain blanks.
    pub(crate) fn with_arguments(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }

    /// Redirects standard output.
    pub(crate) fn with_stdout(mut self, output: impl Into<Stdio>) -> Self {
        self.command.stdout(output);
        self
    }

    /// Redirects standard error.
    pub(crate) fn with_stderr(mut self, errors: impl Into<Stdio>) -> Self {
        self.command.stderr(errors);
        self
    }

    /// Starts the client with standard input open.
    pub(crate) fn start(mut self) -> RunningClient {
        RunningClient { process: ChildProcess::start(&mut self.command), lines_read: 0 }
    }

    /// Runs the client to its end with this standard input.
    pub(crate) fn run(self, input: impl Into<Vec<u8>>) -> Finished {
        let mut running = self.start();
        let bytes = input.into();
        // Writes on a thread, because the client may fill the output pipe before it has read all input. The write fails
        // if the client ends early, which is correct.
        let pipe = running.process.take_stdin();
        let writer = thread::spawn(move || pipe.map(|mut pipe| pipe.write_all(&bytes)));
        let mut finished = running.finish();
        finished.input_left = matches!(writer.join(), Ok(Some(Err(_))));
        finished
    }
}

/// Returns a pipe whose reader is closed.
pub(crate) fn closed_pipe() -> PipeWriter {
    let (_, writer) = pipe().expect("there is a pipe");
    writer
}

/// A running client; dropping it kills it.
#[derive(Debug)]
pub(crate) struct RunningClient {
    process: ChildProcess,
    lines_read: usize,
}

impl RunningClient {
    /// Writes to standard input.
    pub(crate) fn write_stdin(&mut self, text: &str) {
        self.process.write(text);
    }

    /// Waits for the next line on standard output.
    pub(crate) fn next_line(&mut self) -> String {
        let number = self.lines_read;
        self.lines_read += 1;
        let line = |text: &str| text.split_inclusive('\n').nth(number).map(str::to_owned);
        self.process.stdout.wait_for("another line", line)
    }

    /// Waits until standard error contains this text.
    pub(crate) fn wait_for_stderr(&self, text: &str) {
        self.process.stderr.wait_for(text, |printed| printed.contains(text).then_some(()));
    }

    /// Sends SIGINT, as Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        self.signal("INT");
    }

    /// Sends the signal of this name.
    pub(crate) fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Closes standard input and waits for the end.
    pub(crate) fn finish(mut self) -> Finished {
        drop(self.process.take_stdin());
        self.wait()
    }

    /// Waits for the end with standard input open.
    pub(crate) fn wait(mut self) -> Finished {
        let status = self.process.wait_status();
        let (stdout, stderr) = (self.process.stdout.wait_for_end(), self.process.stderr.wait_for_end());
        Finished { code: status.code(), signal: status.signal(), stdout, stderr, input_left: false }
    }
}

/// The result of a client that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The exit code; `None` after death by a signal.
    pub(crate) code: Option<i32>,
    /// The number of the signal that terminated the client.
    pub(crate) signal: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// Whether the client ended before it had read all input of [`ClientCommand::run`].
    pub(crate) input_left: bool,
}

impl Finished {
    /// Checks the exit code.
    #[track_caller]
    pub(crate) fn assert_exit_code(&self, code: i32) {
        assert_eq!(self.code, Some(code), "{self:?}");
    }

    /// Checks that SIGINT terminated the client after this standard output and no messages.
    #[track_caller]
    pub(crate) fn assert_killed_by_sigint(&self, stdout: &str) {
        assert_eq!((self.signal, self.stdout.as_str(), self.stderr.as_str()), (Some(2), stdout, ""), "{self:?}");
    }

    /// Checks for exit code 0, this standard output, and no messages.
    #[track_caller]
    pub(crate) fn assert_success(&self, stdout: &str) {
        self.assert_failed(0, stdout, &[]);
    }

    /// Checks for this exit code, this standard output, and these messages on standard error, one per line in this
    /// order.
    #[track_caller]
    pub(crate) fn assert_failed(&self, code: i32, stdout: &str, messages: &[&str]) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(code), stdout), "{self:?}");
        let reported: Vec<&str> = self.stderr.lines().collect();
        assert_eq!(reported.len(), messages.len(), "{self:?}");
        for (line, message) in reported.into_iter().zip(messages) {
            assert!(line.starts_with("cli-client: ") && line.contains(message), "{message:?} is not in {line:?}");
        }
        assert!(self.stderr.is_empty() || self.stderr.ends_with('\n'), "{self:?}");
        assert!(!self.stderr.contains(|character: char| character.is_control() && character != '\n'), "{self:?}");
    }

    /// Checks that neither output has control characters, or invisible ones that change the direction of the text.
    #[track_caller]
    pub(crate) fn assert_printable(&self) {
        let is_hostile = |character: char| {
            (character.is_control() && character != '\n')
                || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        assert!(!self.stdout.contains(is_hostile) && !self.stderr.contains(is_hostile), "{self:?}");
    }

    /// Checks for a usage error that mentions `wrong`.
    #[track_caller]
    pub(crate) fn assert_usage_error(&self, wrong: &str) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(2), ""), "{self:?}");
        assert!(self.stderr.contains(wrong), "{wrong:?} is not in {self:?}");
    }
}
