//! Turns off the echo of keys while the client waits: pressed keys would garble the line that shows the wait.

use std::io::{IsTerminal, stdin};
use std::sync::{Mutex, PoisonError};

use rustix::termios::{LocalModes, OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcsetattr};

/// The settings of the terminal before its echo was turned off. [`restore`] takes them, also on the thread for signals.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// The echo is off until this is dropped.
#[derive(Debug)]
pub(crate) struct EchoOff(());

impl EchoOff {
    /// Turns off the echo of standard input. Has no effect if that is not a terminal.
    pub(crate) fn start() -> Self {
        let mut saved = SAVED.lock().unwrap_or_else(PoisonError::into_inner);
        if saved.is_none()
            && stdin().is_terminal()
            && let Ok(before) = tcgetattr(stdin())
        {
            let mut silent = before.clone();
            silent.local_modes.remove(LocalModes::ECHO);
            // Stored first, so that a signal in between cannot leave the terminal without echo.
            *saved = Some(before);
            // If this fails, the keys are shown as before.
            let _ = tcsetattr(stdin(), OptionalActions::Now, &silent);
        }
        Self(())
    }
}

impl Drop for EchoOff {
    fn drop(&mut self) {
        restore();
    }
}

/// Discards the keys pressed so far, which the next prompt would read as input.
pub(crate) fn discard_keys() {
    // Fails only if standard input is not a terminal.
    let _ = tcflush(stdin(), QueueSelector::IFlush);
}

/// Turns the echo on again if [`EchoOff`] turned it off.
pub(crate) fn restore() {
    if let Some(before) = SAVED.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // The terminal may be closed.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &before);
    }
}
