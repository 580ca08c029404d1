//! What players and operators do: players join, move and leave; replicas reload, drain and crash.

use super::*;

impl Game<'_> {
    /// Does something at random, and lets time pass.
    pub(super) fn step(&mut self) {
        let here: Vec<_> = (0..self.players.len()).filter(|player| self.players[*player].is_here).collect();
        let player = (!here.is_empty()).then(|| here[self.random.random_range(0..here.len())]);
        let player = player.filter(|player| !self.players[*player].is_closing);
        let idle = player.filter(|player| {
            let Player { in_play, is_stopping, .. } = self.players[*player];
            in_play.is_none() && is_stopping.is_none()
        });
        let process = self.random.random_range(0..self.processes.len());
        let Faults { engine, links, crashes, drains } = self.faults;
        match (self.random.random_range(0..100), player, idle) {
            (0..16, ..) if here.len() < self.max_players => self.join(process),
            (16..72, _, Some(player)) => self.make_move(player),
            // To leave with a move in play is a reset.
            (72..77, Some(player), _) => self.leave(player),
            (77..80, Some(player), _) => self.poll(player),
            (80..84, ..) if links => self.disturb_links(),
            (84..88, ..) if engine => self.disturb_engine(),
            (88..90, ..) if crashes => self.crash(process),
            (90..92, ..) if drains => self.drain(process),
            (92, ..) => self.reload(process),
            _ => {}
        }
        let mut to = self.now + self.random.random_range(0..=self.max_step);
        let next_timer = self.players.iter().filter_map(|player| player.timer).map(|(at, _)| at).min();
        if let Some(next) = next_timer.filter(|_| self.random.random_range(0..20) == 0) {
            // The next thing happens at the same time as a timeout, or just before.
            to = next.saturating_sub(self.random.random_range(0..2)).max(self.now);
        }
        self.run_until(to);
    }

    /// A replica gets another window. Moves in play keep theirs.
    pub(super) fn reload(&mut self, process: usize) {
        let window = self.random_window();
        self.processes[process].window = window;
        self.processes[process].replica.set_window(Duration::from_micros(window));
    }

    pub(super) fn join(&mut self, process: usize) {
        let Process { is_up, is_draining, .. } = self.processes[process];
        if !is_up || is_draining {
            return;
        }
        let id = self.processes[process].replica.on_join();
        assert!(self.find_player(process, id).is_none(), "two players with the same id");
        self.print(|| format!("player {} joins at replica {process}: {id:?}", self.players.len()));
        self.players.push(Player {
            process,
            id,
            is_here: true,
            in_play: None,
            partner: None,
            deadline: 0,
            timer: None,
            is_stopping: None,
            is_closing: false,
        });
    }

    pub(super) fn find_player(&self, process: usize, id: PlayerId) -> Option<usize> {
        self.players_of(process).find(|player| self.players[*player].id == id)
    }

    pub(super) fn make_move(&mut self, player: usize) {
        let mv = Move::ALL[self.random.random_range(0..3)];
        let Player { process, id, .. } = self.players[player];
        let window = self.processes[process].window;
        self.players[player].in_play = Some(self.moves.len());
        self.moves.push(SimulatedMove {
            player,
            process,
            incarnation: self.processes[process].incarnation,
            mv,
            since: self.now,
            patience_end: self.now + window / 10,
            window_end: self.now + window,
            place: Place::Patience,
            waits_since: None,
            nonce: None,
            judged: None,
            reply: None,
        });
        self.event(process, &Cause::Moves(player), |replica, now, actions| replica.on_move(id, mv, now, actions));
        self.arm(player);
    }

    /// The player's connection learns of the deadline.
    pub(super) fn arm(&mut self, player: usize) {
        let Player { is_here, in_play, deadline, .. } = self.players[player];
        self.players[player].timer =
            (is_here && in_play.is_some()).then(|| (deadline, self.report_at(deadline).max(self.now)));
    }

    pub(super) fn poll(&mut self, player: usize) {
        let Player { process, id, .. } = self.players[player];
        self.event(process, &Cause::Timeout, |replica, now, actions| replica.on_timeout(id, now, actions));
        self.arm(player);
    }

    pub(super) fn time_out(&mut self, player: usize) {
        self.poll(player);
        if let Some((at, _)) = self.players[player].timer {
            assert!(at > self.now, "still in play after the timeout at its deadline");
        }
    }

    pub(super) fn leave(&mut self, player: usize) {
        let Player { process, id, in_play, partner, .. } = self.players[player];
        let left = &mut self.players[player];
        (left.is_here, left.in_play, left.timer, left.partner) = (false, None, None, None);
        if let Some(Partner::Local(partner)) = partner {
            self.players[partner].partner = None;
        }
        self.event(process, &Cause::Leaves, |replica, now, actions| replica.on_leave(id, now, actions));
        if let Some(mv) = in_play {
            self.moves[mv].waits_since = None;
        }
        // A session whose claim has not been sent.
        for session in self.sessions.iter_mut().filter(|session| session.player == player) {
            if session.at_taker != AtTaker::Ended {
                assert!(!session.is_claim_sent, "the owner does not learn that the player has left");
                session.at_taker = AtTaker::Ended;
            }
        }
        self.check_process(process);
        self.exit_if_empty(process);
    }

    // Drains and crashes.

    pub(super) fn drain(&mut self, process: usize) {
        let Process { is_up, is_draining, incarnation, .. } = self.processes[process];
        if !is_up || is_draining {
            return;
        }
        self.disturb(self.now);
        let has_guests = self.guests(process).next().is_some();
        self.count_if(has_guests, Case::DrainWithGuests);
        self.processes[process].is_draining = true;
        self.event(process, &Cause::Drains, Replica::on_drain);
        assert!(self.guests(process).next().is_none(), "the draining replica still has guests");
        self.schedule(self.now + GRACE, Event::Stop { process, incarnation });
        self.exit_if_empty(process);
    }

    /// The players of a draining replica wait no longer. Some have sent another move ahead.
    pub(super) fn stop_players(&mut self, process: usize) {
        for player in self.players_of(process).collect::<Vec<_>>() {
            self.poll(player);
            if !self.players[player].is_here {
                continue;
            }
            self.stop(player);
        }
    }

    pub(super) fn stop(&mut self, player: usize) {
        let Player { process, id, in_play, .. } = self.players[player];
        self.players[player].is_stopping = Some(self.now);
        if let Some(mv) = in_play {
            self.count_if(matches!(self.moves[mv].place, Place::Owner(_)), Case::DrainAway);
            self.event(process, &Cause::Stops(player), |replica, now, actions| {
                replica.on_shutdown(id, now, actions);
            });
            self.arm(player);
        } else if self.players[player].is_here {
            self.leave(player);
        }
    }

    /// A draining replica exits when its players have left.
    pub(super) fn exit_if_empty(&mut self, process: usize) {
        let Process { is_up, is_draining, .. } = self.processes[process];
        let stops = self.players_of(process).all(|player| self.players[player].is_stopping.is_some());
        if is_up && is_draining && stops && self.players_of(process).next().is_none() {
            self.print(|| format!("replica {process} exits"));
            for (_, connection, side) in mem::take(&mut self.processes[process].links) {
                self.close_end(connection, side, true);
            }
            self.end_process(process);
        }
    }

    pub(super) fn crash(&mut self, process: usize) {
        if !self.processes[process].is_up {
            return;
        }
        self.print(|| format!("replica {process} crashes"));
        let has_guests = self.guests(process).next().is_some();
        self.count_if(has_guests, Case::CrashWithGuests);
        self.count_lost_verdicts(process);
        for (_, connection, side) in mem::take(&mut self.processes[process].links) {
            self.close_end(connection, side, false);
        }
        for player in self.players_of(process).collect::<Vec<_>>() {
            let player = &mut self.players[player];
            (player.is_here, player.in_play, player.timer, player.partner) = (false, None, None, None);
        }
        self.end_process(process);
    }

    pub(super) fn count_lost_verdicts(&mut self, process: usize) {
        for connection in 0..self.connections.len() {
            let Connection { processes, states, flows, .. } = &self.connections[connection];
            if processes[1].0 == process && states[1] == End::Open {
                let is_verdict = |in_flight: &InFlight| matches!(in_flight.message, Message::Verdict { .. });
                let has_verdict = flows[1].messages.iter().any(is_verdict);
                self.count_if(has_verdict, Case::CrashAfterVerdict);
            }
        }
    }

    pub(super) fn end_process(&mut self, process: usize) {
        let incarnation = self.processes[process].incarnation;
        for session in 0..self.sessions.len() {
            let Session { taker, incarnation: own, .. } = self.sessions[session];
            if (taker, own) == (process, incarnation) {
                self.sessions[session].at_taker = AtTaker::Ended;
            }
        }
        let ended = &mut self.processes[process];
        (ended.is_up, ended.wake) = (false, None);
        ended.calls.clear();
        self.disturb(self.now + micros(CLAIM_TIMEOUT));
        let at = self.now + self.random.random_range(0..SECOND);
        self.schedule(at, Event::Start(process));
    }

    // The engine.
}
