//! The model of the engine: one key, with delays, lost and repeated calls, restarts and old data.

use super::*;

impl Game<'_> {
    pub(super) fn call_engine(&mut self, process: usize, call: EngineCall) {
        if let EngineCall::Ask { nonce, expires_in } = call {
            assert!(!self.processes[process].is_draining, "a ticket of a draining replica");
            let player = self.lobby(process).expect("a ticket without a move in the lobby");
            let mv = self.players[player].in_play.unwrap();
            assert_eq!(self.now + micros(expires_in), self.moves[mv].window_end, "the end of a ticket");
            if let Some(own) = self.moves[mv].nonce {
                assert_eq!(nonce, own, "a move with two nonces");
            } else {
                assert!(self.moves.iter().all(|other| other.nonce != Some(nonce)), "two moves with the same nonce");
                self.moves[mv].nonce = Some(nonce);
            }
            if self.processes[process].last_failed_claim == Some(self.now) {
                self.count(Case::RetriedAtOnce);
            }
        }
        self.processes[process].calls.push_back(call);
        assert!(self.processes[process].calls.len() <= 3, "too many calls of the engine");
        if !self.processes[process].is_calling {
            self.call_next(process);
        }
    }

    pub(super) fn call_next(&mut self, process: usize) {
        if self.processes[process].is_calling {
            return;
        }
        let Some(call) = self.processes[process].calls.pop_front() else { return };
        self.processes[process].is_calling = true;
        let incarnation = self.processes[process].incarnation;
        let asks = matches!(call, EngineCall::Ask { .. });
        let failed = asks.then_some(EngineReply::Failed);
        if self.engine.is_down {
            self.schedule(self.now, Event::EngineReply { process, incarnation, reply: failed });
            return;
        }
        let mut execute_at = self.now + self.random.random_range(0..2_500);
        let mut reply_at = Some(execute_at + self.random.random_range(0..2_500));
        let fault = if self.faults.engine && !self.is_calm { self.random.random_range(0..100) } else { 100 };
        match fault {
            // Slow.
            0..6 => {
                execute_at = self.now + self.random.random_range(0..120) * MILLISECOND;
                reply_at = Some(execute_at + self.random.random_range(0..20) * MILLISECOND);
            }
            // Lost before it is executed, or after.
            6..10 => execute_at = Time::MAX,
            10..14 => reply_at = None,
            // Executed twice.
            14..17 => {
                let again_at = execute_at + self.random.random_range(0..60) * MILLISECOND;
                self.schedule(again_at, Event::Execute { process, incarnation, call: call.clone(), reply_at: None });
            }
            _ => {}
        }
        let fails_at = self.now + ENGINE_TIMEOUT;
        reply_at = reply_at.filter(|at| execute_at != Time::MAX && *at <= fails_at);
        if fault < 17 {
            self.disturb(self.now + 4 * ENGINE_TIMEOUT);
        }
        if execute_at != Time::MAX {
            self.schedule(execute_at, Event::Execute { process, incarnation, call, reply_at });
        }
        if reply_at.is_none() {
            self.schedule(fails_at, Event::EngineReply { process, incarnation, reply: failed });
            if self.random.random_bool(0.5) {
                let at = fails_at + self.random.random_range(0..100) * MILLISECOND;
                self.schedule(at, Event::EngineUp { process, incarnation });
            }
        }
    }

    pub(super) fn execute(&mut self, process: usize, incarnation: u32, call: &EngineCall, reply_at: Option<Time>) {
        let asks = matches!(call, EngineCall::Ask { .. });
        let reply = if self.engine.is_down {
            asks.then_some(EngineReply::Failed)
        } else {
            self.engine_reply(process, incarnation, call)
        };
        self.print(|| format!("engine executes {call:?} of {process}: {reply:?}, at {reply_at:?}"));
        if let Some(at) = reply_at {
            self.schedule(at, Event::EngineReply { process, incarnation, reply });
        }
    }

    pub(super) fn engine_reply(&mut self, process: usize, incarnation: u32, call: &EngineCall) -> Option<EngineReply> {
        self.engine.ticket.take_if(|ticket| ticket.expires <= self.now);
        let is_own = |ticket: &Stored| (ticket.process, ticket.incarnation) == (process, incarnation);
        match *call {
            EngineCall::Withdraw { nonce } => {
                self.engine.ticket.take_if(|ticket| is_own(ticket) && ticket.nonce == nonce);
                None
            }
            EngineCall::Ask { nonce, expires_in } => {
                if let Some(ticket) = self.engine.ticket.take_if(|ticket| !is_own(ticket)) {
                    let address = self.addresses[ticket.process].clone();
                    return Some(EngineReply::Taken(Ticket { nonce: ticket.nonce, address }));
                }
                let ticket = Stored { process, incarnation, nonce, expires: self.now + micros(expires_in) };
                self.engine.history.push(ticket.clone());
                self.engine.ticket = Some(ticket);
                Some(EngineReply::Posted)
            }
        }
    }

    pub(super) fn disturb_engine(&mut self) {
        match self.random.random_range(0..4) {
            0 if self.engine.is_down => self.engine_up(),
            0 => {
                self.print(|| "engine down".to_owned());
                self.engine.is_down = true;
                self.count(Case::EngineDown);
            }
            1 => {
                self.print(|| "engine empty".to_owned());
                let had_ticket = self.engine.ticket.take().is_some();
                self.count_if(had_ticket, Case::EngineEmptied);
            }
            _ => {
                let recent = self.engine.history.len().saturating_sub(5);
                if recent < self.engine.history.len() {
                    let mut index = self.random.random_range(recent..self.engine.history.len());
                    let waits = |ticket: &Stored| {
                        let player = self.lobby(ticket.process).and_then(|player| self.players[player].in_play);
                        player.is_some_and(|mv| self.moves[mv].nonce == Some(ticket.nonce))
                    };
                    let waiting = self.engine.history.iter().position(waits);
                    if self.random.random_bool(0.5) {
                        index = waiting.unwrap_or(index);
                    }
                    let mut ticket = self.engine.history[index].clone();
                    // The other engine's clock can be late.
                    ticket.expires += self.random.random_range(0..2) * self.random.random_range(0..2 * SECOND);
                    self.print(|| format!("engine has old data: {ticket:?}"));
                    self.engine.ticket = Some(ticket);
                    self.count(Case::EngineFailedOver);
                }
            }
        }
        self.disturb(self.now);
    }

    pub(super) fn engine_up(&mut self) {
        self.print(|| "engine up".to_owned());
        self.engine.is_down = false;
        self.disturb(self.now + 50 * MILLISECOND);
        for process in 0..self.processes.len() {
            let at = self.now + self.random.random_range(0..50) * MILLISECOND;
            let incarnation = self.processes[process].incarnation;
            self.schedule(at, Event::EngineUp { process, incarnation });
        }
    }

    // Links.
}
