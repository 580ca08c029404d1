//! Runs the built client as a person or a script would, and judges what came of it.
//!
//! - [`Client`]: the command line, then [`Running`], then [`Finished`];
//! - [`fake`]: servers that do what a test tells them to;
//! - [`real`]: our own servers, in this process;
//! - [`load`]: what the tests of `bench` share;
//! - [`terminal`]: the client as a person sees it.
//!
//! Nothing here waits longer than [`PATIENCE`]: a client that does not end by itself is killed, and the test fails.

#![allow(dead_code, reason = "each test program uses a part of this")]
#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on has to fail")]

pub(crate) mod fake;
pub(crate) mod load;
pub(crate) mod real;
pub(crate) mod terminal;

use std::io::{PipeWriter, Write, pipe};
use std::process::{Command, Stdio};
use std::thread;

use proto::testing::process::ChildProcess;

/// A client that has not been started yet.
#[derive(Debug)]
pub(crate) struct Client {
    command: Command,
}

/// The client with these arguments, which blanks part. It knows no addresses from the environment of the tests.
pub(crate) fn client(arguments: &str) -> Client {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cli-client"));
    command.args(arguments.split_whitespace());
    for variable in ["POWER_ADDR", "RPS_ADDR", "DUEL_ADDR", "LC_MESSAGES", "LANG"] {
        command.env_remove(variable);
    }
    // These say whether there are colours, whatever the terminal.
    for variable in ["CI", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
        command.env_remove(variable);
    }
    command.env("LC_ALL", "C").env("TERM", "xterm").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Client { command }
}

/// Runs the client with these arguments and nothing on standard input.
pub(crate) fn run(arguments: &str) -> Finished {
    client(arguments).run("")
}

impl Client {
    /// The same client with a variable in its environment.
    pub(crate) fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// The same client with its standard output going there.
    pub(crate) fn with_output(mut self, output: impl Into<Stdio>) -> Self {
        self.command.stdout(output);
        self
    }

    /// The same client with its standard error going there.
    pub(crate) fn with_errors(mut self, errors: impl Into<Stdio>) -> Self {
        self.command.stderr(errors);
        self
    }

    /// Starts it, with standard input open.
    pub(crate) fn start(mut self) -> Running {
        Running { process: ChildProcess::start(&mut self.command), lines_read: 0 }
    }

    /// Runs it to its end with this on standard input.
    pub(crate) fn run(self, input: impl Into<Vec<u8>>) -> Finished {
        let mut running = self.start();
        let bytes = input.into();
        // On a thread, since the client may answer more than a pipe holds before it has read all of its input. It may
        // also end before that, and then writing fails rightly.
        let pipe = running.process.take_stdin();
        let writer = thread::spawn(move || pipe.map(|mut pipe| pipe.write_all(&bytes)));
        let mut finished = running.finish();
        finished.input_left = matches!(writer.join(), Ok(Some(Err(_))));
        finished
    }
}

/// A pipe that nobody reads any more.
pub(crate) fn unread_pipe() -> PipeWriter {
    let (_, writer) = pipe().expect("there is a pipe");
    writer
}

/// A client that runs; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Running {
    process: ChildProcess,
    lines_read: usize,
}

impl Running {
    /// Writes to its standard input.
    pub(crate) fn type_in(&mut self, text: &str) {
        self.process.write(text);
    }

    /// Waits for the next line that it prints.
    pub(crate) fn next_line(&mut self) -> String {
        let number = self.lines_read;
        self.lines_read += 1;
        let line = |text: &str| text.split_inclusive('\n').nth(number).map(str::to_owned);
        self.process.stdout.wait_for("another line", line)
    }

    /// Sends the signal that Ctrl-C sends.
    pub(crate) fn interrupt(&self) {
        self.process.signal("INT");
    }

    /// Closes its standard input and waits for its end.
    pub(crate) fn finish(mut self) -> Finished {
        drop(self.process.take_stdin());
        self.wait()
    }

    /// Waits for its end, with standard input still open.
    pub(crate) fn wait(mut self) -> Finished {
        let code = self.process.wait();
        let (stdout, stderr) = (self.process.stdout.wait_for_end(), self.process.stderr.wait_for_end());
        Finished { code, stdout, stderr, input_left: false }
    }
}

/// What a client left behind.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// Whether it ended before it had taken all that [`Client::run`] gave it.
    pub(crate) input_left: bool,
}

impl Finished {
    /// It ended with this code, whatever it said.
    #[track_caller]
    pub(crate) fn assert_ended(&self, code: i32) {
        assert_eq!(self.code, Some(code), "{self:?}");
    }

    /// It did what it was asked for, printed this, and had nothing else to say.
    #[track_caller]
    pub(crate) fn assert_done(&self, stdout: &str) {
        self.assert_failed(0, stdout, &[]);
    }

    /// It ended with this code, printed this, and reported each of these, in this order and on a line of its own.
    #[track_caller]
    pub(crate) fn assert_failed(&self, code: i32, stdout: &str, messages: &[&str]) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(code), stdout), "{self:?}");
        let reported: Vec<&str> = self.stderr.lines().collect();
        assert_eq!(reported.len(), messages.len(), "{self:?}");
        for (line, message) in reported.into_iter().zip(messages) {
            assert!(line.starts_with("cli-client: ") && line.contains(message), "{message:?} is not in {line:?}");
        }
        assert!(self.stderr.is_empty() || self.stderr.ends_with('\n'), "{self:?}");
        assert!(!self.stderr.contains(|shown: char| shown.is_control() && shown != '\n'), "{self:?}");
    }

    /// It did not understand its arguments, and said on standard error which of them.
    #[track_caller]
    pub(crate) fn assert_misused(&self, wrong: &str) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(2), ""), "{self:?}");
        assert!(self.stderr.contains(wrong), "{wrong:?} is not in {self:?}");
    }
}
