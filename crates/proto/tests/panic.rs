//! A panic in a program with a log is logged as one event, whose backtrace leads to the cause.

#![cfg(feature = "server")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a failure is a panic, and this test also panics on purpose")]

use std::env;
use std::process::Command;
use std::thread;

use proto::server::config::{LogConfig, LogFormat};
use proto::server::observe::log;
use proto::testing::process::{Exit, run};

/// The environment variable that makes this process the program that panics; its value is the log format.
const FORMAT: &str = "PANIC_TEST_LOG_FORMAT";

/// The line of the panic. The function is not inlined, so that the backtrace has a frame for it.
const LINE: u32 = line!() + 3;
#[inline(never)]
fn cause() {
    panic!("on purpose");
}

#[test]
fn a_panic_is_logged_once_with_a_backtrace_to_its_file_and_line() {
    if let Ok(format) = env::var(FORMAT) {
        return panic_with_log(&format);
    }
    let location = format!("panic.rs:{LINE}");
    for format in ["text", "json"] {
        let name = "a_panic_is_logged_once_with_a_backtrace_to_its_file_and_line";
        let mut program = Command::new(env::current_exe().unwrap());
        let program = program.args([name, "--exact", "--nocapture"]).env(FORMAT, format).env("RUST_BACKTRACE", "0");
        let Exit { stdout: log, stderr, .. } = run(program, "");
        assert_eq!(stderr, "", "only the log reports the panic");
        assert_eq!(log.matches("on purpose").count(), 1, "{log}");
        if format == "json" {
            let event = log.lines().find(|line| line.starts_with('{')).unwrap();
            assert!(
                event.contains("\"message\":\"panic\",\"location\":\"") && event.contains("\"backtrace\":\""),
                "{event}"
            );
        }
        // The event has the location too, so look for it only in the frame of the function that panicked.
        let backtrace = log.split_once("backtrace").unwrap().1.replace("\\n", "\n");
        let (_, frame) = backtrace.split_once("panic::cause").unwrap_or_else(|| panic!("no function in {backtrace}"));
        assert!(frame.lines().take(2).any(|line| line.contains(&location)), "no {location} in {backtrace}");
    }
}

/// Starts the log, panics, and flushes the log.
fn panic_with_log(format: &str) {
    let format = if format == "json" { LogFormat::Json } else { LogFormat::Text };
    let log = log::start(&LogConfig { format, ..LogConfig::default() }).unwrap();
    assert!(thread::spawn(cause).join().is_err());
    log.flush();
}
