//! A child process with its output, signals and exit code.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, Once};
use std::thread;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal as catch};

use super::{TEST_TIMEOUT, eventually};

/// A child process. Dropping it kills it.
#[derive(Debug)]
pub struct ChildProcess {
    child: Child,
    stdin: Option<ChildStdin>,
    /// Its standard output, if that is a pipe.
    pub stdout: CapturedOutput,
    /// Its standard error, if that is a pipe.
    pub stderr: CapturedOutput,
}

impl ChildProcess {
    /// Starts a process with the default action for each terminating signal. Threads read its pipes, so it never blocks
    /// on output.
    pub fn start(command: &mut Command) -> Self {
        catch_ignored_signals();
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (stdout, stderr) = (CapturedOutput::of(child.stdout.take()), CapturedOutput::of(child.stderr.take()));
        Self { stdin: child.stdin.take(), child, stdout, stderr }
    }

    /// Returns the process ID.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal: `TERM`, for instance.
    pub fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    /// Writes to its standard input, which must be a pipe.
    pub fn write(&mut self, text: &str) {
        self.stdin.as_mut().expect("standard input is open").write_all(text.as_bytes()).expect("the process reads");
    }

    /// Takes its standard input. Dropping the returned value closes it.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.stdin.take()
    }

    /// Returns whether the process is still running.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until the process exits and returns its exit code; `None` if a signal terminated it.
    pub fn wait(&mut self) -> Option<i32> {
        self.wait_status().code()
    }

    /// Waits until the process ends and returns its status, which has the signal that terminated it.
    pub fn wait_status(&mut self) -> ExitStatus {
        let exited = eventually(TEST_TIMEOUT, || !self.is_running());
        assert!(exited, "process {} did not end within {TEST_TIMEOUT:?}: {self:?}", self.id());
        self.child.wait().unwrap()
    }
}

/// The exit code of a process, `None` if a signal terminated it, and its output.
#[derive(Debug)]
pub struct Exit {
    /// The exit code.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Runs a command with this standard input until it exits, which must be within [`TEST_TIMEOUT`].
pub fn run(command: &mut Command, input: &str) -> Exit {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = ChildProcess::start(command);
    // It may exit without reading its input.
    let _ = process.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
    let code = process.wait();
    Exit { code, stdout: process.stdout.wait_for_end(), stderr: process.stderr.wait_for_end() }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        // The process has already exited, unless the test has failed. Close its standard input first: if it is a
        // script, the kill does not reach the program that it runs, but EOF does.
        drop(self.stdin.take());
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Sends a signal to a process.
pub fn signal(id: u32, name: &str) {
    let process = i32::try_from(id).ok().and_then(Pid::from_raw).expect("a process ID");
    kill_process(process, signal_of(name)).expect("the process exists");
}

fn signal_of(name: &str) -> Signal {
    match name {
        "CONT" => Signal::CONT,
        "HUP" => Signal::HUP,
        "INT" => Signal::INT,
        "KILL" => Signal::KILL,
        "STOP" => Signal::STOP,
        "TERM" => Signal::TERM,
        _ => panic!("no test sends SIG{name}"),
    }
}

/// Returns whether a signal was sent to a process that has not received it yet.
pub fn is_pending(id: u32, name: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    is_in_set(&status, "ShdPnd:", signal_of(name).as_raw())
}

/// Returns whether a signal is in a set of `/proc/…/status`: bit 0 is signal 1 (proc(5)).
fn is_in_set(status: &str, set: &str, signal: i32) -> bool {
    let bits = status.lines().find_map(|line| line.strip_prefix(set)).expect("Linux has this line");
    u64::from_str_radix(bits.trim(), 16).unwrap() & (1 << (signal - 1)) != 0
}

/// Returns whether SIGSTOP has stopped all threads of a process (proc(5), the state after the name).
pub fn is_stopped(id: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{id}/task")).unwrap();
    threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("stat")).unwrap()).all(|stat| {
        let state = stat.rsplit_once(") ").unwrap().1;
        state.starts_with('T')
    })
}

/// Raises the open-file limit of this process, which its children inherit.
pub fn raise_open_files(files: u64) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < files) {
        let raised = Rlimit { current: Some(files), maximum: maximum.map(|most| most.max(files)) };
        setrlimit(Resource::Nofile, raised).unwrap();
    }
}

/// Makes child processes start with the default action for terminating signals.
///
/// Under nohup(1) or in a background job of a shell, the tests start with some of these signals ignored, and children
/// inherit that: execve(2) keeps ignored signals ignored, but resets caught signals to the default action. So this
/// process catches the signals that it ignores, with a handler that does nothing.
fn catch_ignored_signals() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let runtime = Builder::new_current_thread().enable_io().build().unwrap();
        let _entered = runtime.enter();
        for kind in [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::quit(), SignalKind::terminate()] {
            if is_in_set(&status, "SigIgn:", kind.as_raw_value()) {
                // The handler outlives both the stream and the runtime.
                drop(catch(kind).unwrap());
            }
        }
    });
}

/// The output of a process to a pipe. A thread reads it line by line.
#[derive(Clone, Debug, Default)]
pub struct CapturedOutput(Arc<(Mutex<OutputBuffer>, Condvar)>);

#[derive(Debug, Default)]
struct OutputBuffer {
    text: String,
    ended: bool,
}

impl CapturedOutput {
    /// Reads `pipe` to EOF. Without a pipe the output is empty.
    fn of(pipe: Option<impl Read + Send + 'static>) -> Self {
        let captured = Self::default();
        let Some(pipe) = pipe else {
            captured.update(|output| output.ended = true);
            return captured;
        };
        let writer = captured.clone();
        thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while let Ok(1..) = pipe.read_until(b'\n', &mut line) {
                writer.update(|output| output.text.push_str(&String::from_utf8_lossy(&line)));
                line.clear();
            }
            writer.update(|output| output.ended = true);
        });
        captured
    }

    fn update(&self, change: impl FnOnce(&mut OutputBuffer)) {
        let (output, changed) = &*self.0;
        change(&mut output.lock().unwrap());
        changed.notify_all();
    }

    /// Returns the output so far.
    pub fn text(&self) -> String {
        self.0.0.lock().unwrap().text.clone()
    }

    /// Waits until `find` returns a value for the output so far. `what` names it in the failure.
    pub fn wait_for<T>(&self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        let text = self.wait_while(|output| find(&output.text).is_none() && !output.ended);
        find(&text).unwrap_or_else(|| panic!("{what}: not in\n{text}"))
    }

    /// Waits for EOF and returns the whole output.
    pub fn wait_for_end(&self) -> String {
        let text = self.wait_while(|output| !output.ended);
        assert!(self.0.0.lock().unwrap().ended, "the output did not end within {TEST_TIMEOUT:?}:\n{text}");
        text
    }

    fn wait_while(&self, condition: impl Fn(&OutputBuffer) -> bool) -> String {
        let (output, changed) = &*self.0;
        let (output, _) =
            changed.wait_timeout_while(output.lock().unwrap(), TEST_TIMEOUT, |output| condition(output)).unwrap();
        output.text.clone()
    }
}
