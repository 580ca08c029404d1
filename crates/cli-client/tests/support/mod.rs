//! Runs the built client as a person or a script would, and judges what came of it.
//!
//! - [`Client`]: the command line, then [`Running`], then [`Finished`];
//! - [`fake`]: servers that do what a test tells them to;
//! - [`real`]: our own servers, in this process;
//! - [`load`]: what the tests of `bench` share;
//! - [`terminal`]: the client as a person sees it.
//!
//! Nothing here waits for ever: a client that does not end by itself is killed after [`LIMIT`], and the test fails.

#![allow(dead_code, reason = "each test program uses a part of this")]
#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on has to fail")]

pub(crate) mod fake;
pub(crate) mod load;
pub(crate) mod real;
pub(crate) mod terminal;

use std::io::{BufRead, BufReader, PipeWriter, Read, Write, pipe};
use std::mem::take;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// Far longer than anything takes on a slow machine, so that reaching it means that something hangs.
pub(crate) const LIMIT: Duration = Duration::from_mins(1);

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
        let mut child = self.command.spawn().expect("the client starts");
        Running {
            input: child.stdin.take(),
            output: lines(child.stdout.take()),
            errors: lines(child.stderr.take()),
            child,
            stdout: String::new(),
        }
    }

    /// Runs it to its end with this on standard input.
    pub(crate) fn run(self, input: impl Into<Vec<u8>>) -> Finished {
        let mut running = self.start();
        let bytes = input.into();
        // On a thread, since the client may answer more than a pipe holds before it has read all of its input. It may
        // also end before that, and then writing fails rightly.
        let pipe = running.input.take();
        let writer = thread::spawn(move || pipe.map(|mut pipe| pipe.write_all(&bytes)));
        let mut finished = running.finish();
        finished.input_left = matches!(writer.join(), Ok(Some(Err(_))));
        finished
    }
}

/// Does what Ctrl-C does.
fn interrupt(child: &Child) {
    // The shell's own kill: the program of that name is not everywhere.
    let sent = Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status();
    assert!(sent.expect("there is a shell").success());
}

/// A pipe that nobody reads any more.
pub(crate) fn unread_pipe() -> PipeWriter {
    let (_, writer) = pipe().expect("there is a pipe");
    writer
}

/// Reads a stream on a thread, line by line with the line ends; the channel closes with the stream.
pub(crate) fn lines(stream: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut stream = BufReader::new(stream?);
        loop {
            let mut line = Vec::new();
            match stream.read_until(b'\n', &mut line) {
                Ok(1..) => sender.send(String::from_utf8_lossy(&line).into_owned()).ok()?,
                _ => return None::<()>,
            }
        }
    });
    receiver
}

/// A client that runs; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<String>,
    errors: Receiver<String>,
    /// What has been read of standard output.
    stdout: String,
}

impl Running {
    /// Writes to its standard input.
    pub(crate) fn type_in(&mut self, text: &str) {
        let input = self.input.as_mut().expect("standard input is open");
        input.write_all(text.as_bytes()).expect("the client reads");
    }

    /// Waits for the next line that it prints.
    pub(crate) fn next_line(&mut self) -> String {
        let line = self.output.recv_timeout(LIMIT).expect("the client prints a line");
        self.stdout.push_str(&line);
        line
    }

    /// Does what Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        interrupt(&self.child);
    }

    /// Closes its standard input and waits for its end.
    pub(crate) fn finish(mut self) -> Finished {
        drop(self.input.take());
        self.wait()
    }

    /// Waits for its end, with standard input still open.
    pub(crate) fn wait(mut self) -> Finished {
        let mut rest = |stream: &Receiver<String>| {
            let mut text = String::new();
            loop {
                match stream.recv_timeout(LIMIT) {
                    Ok(line) => text.push_str(&line),
                    Err(RecvTimeoutError::Disconnected) => return text,
                    Err(RecvTimeoutError::Timeout) => {
                        drop(self.child.kill());
                        panic!("the client did not end within {LIMIT:?}");
                    }
                }
            }
        };
        let (stdout, stderr) = (rest(&self.output), rest(&self.errors));
        let code = self.child.wait().expect("the client can be waited for").code();
        Finished { code, stdout: take(&mut self.stdout) + &stdout, stderr, input_left: false }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, unless the test failed.
        drop(self.child.kill());
        drop(self.child.wait());
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
