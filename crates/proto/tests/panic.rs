//! A panic in a program with a log: one event with a backtrace that leads to its cause.

#![cfg(feature = "server")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on fails, and this one has to panic")]

use std::env;
use std::process::Command;
use std::thread;

use proto::server::config::{LogConfig, LogFormat};
use proto::server::observe::log;

/// Has this process be the program that panics, with a log of this format.
const FORMAT: &str = "PANIC_TEST_LOG_FORMAT";

/// The line of the panic. The optimizer must not make the function a part of its caller.
const LINE: u32 = line!() + 3;
#[inline(never)]
fn cause() {
    panic!("on purpose");
}

#[test]
fn a_panic_is_one_event_with_a_backtrace_to_the_file_and_line_of_its_cause() {
    if let Ok(format) = env::var(FORMAT) {
        return panic_with_log(&format);
    }
    let place = format!("panic.rs:{LINE}");
    for format in ["text", "json"] {
        let name = "a_panic_is_one_event_with_a_backtrace_to_the_file_and_line_of_its_cause";
        let mut program = Command::new(env::current_exe().unwrap());
        let output = program.args([name, "--exact", "--nocapture"]).env(FORMAT, format).env("RUST_BACKTRACE", "0");
        let output = output.output().unwrap();
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "the log alone reports it");
        let log = String::from_utf8(output.stdout).unwrap();
        assert_eq!(log.matches("on purpose").count(), 1, "a flood of panics is no flood of events: {log}");
        if format == "json" {
            let event = log.lines().find(|line| line.starts_with('{')).unwrap();
            assert!(
                event.contains("\"message\":\"panic\",\"location\":\"") && event.contains("\"backtrace\":\""),
                "{event}"
            );
        }
        // The first is the place of the panic; the frame of the function that panicked has its own.
        let backtrace = log.split_once("backtrace").unwrap().1.replace("\\n", "\n");
        let (_, cause) = backtrace.split_once("panic::cause").unwrap_or_else(|| panic!("no function in {backtrace}"));
        assert!(cause.lines().take(2).any(|line| line.contains(&place)), "no {place} in {backtrace}");
    }
}

/// Starts the log, panics twice, and waits until the log is written.
fn panic_with_log(format: &str) {
    let format = if format == "json" { LogFormat::Json } else { LogFormat::Text };
    let log = log::start(&LogConfig { format, ..LogConfig::default() }).unwrap();
    for _ in 0..2 {
        assert!(thread::spawn(cause).join().is_err());
    }
    log.flush();
}
