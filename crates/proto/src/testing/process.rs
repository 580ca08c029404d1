//! A child process: its output, signals, its exit code.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command};
use std::sync::{Arc, Condvar, Mutex, Once};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal as catch};

use super::{PATIENCE, eventually};

/// A child process. Dropping it kills it.
#[derive(Debug)]
pub struct ChildProcess {
    child: Child,
    stdin: Option<ChildStdin>,
    /// What it writes to standard output, if that is a pipe.
    pub stdout: CapturedOutput,
    /// What it writes to standard error, if that is a pipe.
    pub stderr: CapturedOutput,
}

impl ChildProcess {
    /// Starts a process, with the default action for each signal that ends one. Its pipes are read at once, so it never
    /// waits for the test.
    pub fn start(command: &mut Command) -> Self {
        catch_ignored_signals();
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (stdout, stderr) = (CapturedOutput::of(child.stdout.take()), CapturedOutput::of(child.stderr.take()));
        Self { stdin: child.stdin.take(), child, stdout, stderr }
    }

    /// The process ID.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal: `TERM`, for instance.
    pub fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    /// Writes to its standard input, which has to be a pipe.
    pub fn write(&mut self, text: &str) {
        self.stdin.as_mut().expect("standard input is open").write_all(text.as_bytes()).expect("the process reads");
    }

    /// Takes its standard input; dropping that closes it.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.stdin.take()
    }

    /// Whether it is still there.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end and returns the exit code; `None` if a signal ended it.
    pub fn wait(&mut self) -> Option<i32> {
        let ended = eventually(PATIENCE, || !self.is_running());
        assert!(ended, "process {} did not end within {PATIENCE:?}: {self:?}", self.id());
        self.child.wait().unwrap().code()
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        // It has ended already, unless the test failed. Its standard input comes first: a program that is a script may
        // run another one, which this does not kill.
        drop(self.stdin.take());
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Sends a signal to a process.
pub fn signal(id: u32, name: &str) {
    let signal = match name {
        "CONT" => Signal::CONT,
        "HUP" => Signal::HUP,
        "INT" => Signal::INT,
        "STOP" => Signal::STOP,
        "TERM" => Signal::TERM,
        _ => panic!("no test sends SIG{name}"),
    };
    let process = i32::try_from(id).ok().and_then(Pid::from_raw).expect("a process ID");
    kill_process(process, signal).expect("the process is there");
}

/// Has child processes start with the default action for the signals that end a process.
///
/// nohup(1) and the background jobs of a shell start a run of the tests with some of them ignored, and execve(2) keeps
/// them so in children. One that is caught is reset to its default instead. So this process catches those that it ignores,
/// and does nothing about them: for itself nothing changes.
fn catch_ignored_signals() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // A bit for each signal, from 1 on (proc(5)).
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("Linux has this line");
        let ignored = u64::from_str_radix(ignored.trim(), 16).unwrap();
        let runtime = Builder::new_current_thread().enable_io().build().unwrap();
        let _entered = runtime.enter();
        for kind in [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::quit(), SignalKind::terminate()] {
            if ignored & (1 << (kind.as_raw_value() - 1)) != 0 {
                // The handler outlives both the stream and the runtime.
                drop(catch(kind).unwrap());
            }
        }
    });
}

/// What a process writes to a pipe. A thread reads it line by line.
#[derive(Clone, Debug, Default)]
pub struct CapturedOutput(Arc<(Mutex<Written>, Condvar)>);

#[derive(Debug, Default)]
struct Written {
    text: String,
    ended: bool,
}

impl CapturedOutput {
    /// Reads `pipe` to its end. Without a pipe the output is empty.
    fn of(pipe: Option<impl Read + Send + 'static>) -> Self {
        let output = Self::default();
        let Some(pipe) = pipe else {
            output.update(|written| written.ended = true);
            return output;
        };
        let writer = output.clone();
        thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while let Ok(1..) = pipe.read_until(b'\n', &mut line) {
                writer.update(|written| written.text.push_str(&String::from_utf8_lossy(&line)));
                line.clear();
            }
            writer.update(|written| written.ended = true);
        });
        output
    }

    fn update(&self, change: impl FnOnce(&mut Written)) {
        let (written, changed) = &*self.0;
        change(&mut written.lock().unwrap());
        changed.notify_all();
    }

    /// Returns what has been written so far.
    pub fn text(&self) -> String {
        self.0.0.lock().unwrap().text.clone()
    }

    /// Waits until `find` finds something in what has been written.
    pub fn wait_for<T>(&self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        let written = self.wait_while(|written| find(&written.text).is_none() && !written.ended);
        find(&written).unwrap_or_else(|| panic!("{what}: not in\n{written}"))
    }

    /// Waits for the end of the pipe and returns all of it.
    pub fn wait_for_end(&self) -> String {
        let text = self.wait_while(|written| !written.ended);
        assert!(self.0.0.lock().unwrap().ended, "the output did not end within {PATIENCE:?}:\n{text}");
        text
    }

    fn wait_while(&self, goes_on: impl Fn(&Written) -> bool) -> String {
        let (written, changed) = &*self.0;
        let (written, _) =
            changed.wait_timeout_while(written.lock().unwrap(), PATIENCE, |written| goes_on(written)).unwrap();
        written.text.clone()
    }
}
