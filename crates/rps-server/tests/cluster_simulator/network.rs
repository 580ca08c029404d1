//! The model of the links: streams with delays, stalls and losses.

use super::*;

impl Game<'_> {
    pub(super) fn disturb_links(&mut self) {
        if self.chance(25) {
            let (one, other) =
                (self.random.random_range(0..self.processes.len()), self.random.random_range(0..self.processes.len()));
            let until = self.now + self.random.random_range(100..5_000) * MILLISECOND;
            self.print(|| format!("replicas {one} and {other} are apart until {until}"));
            self.partitions.push((one, other, until));
            self.disturb(until + micros(LINK_TIMEOUT));
            for connection in 0..self.connections.len() {
                let ends = self.connections[connection].processes.map(|(process, _)| process);
                if ends == [one, other] || ends == [other, one] {
                    self.stall(connection, until);
                }
            }
            return;
        }
        let is_alive = |connection: &usize| self.connections[*connection].states.contains(&End::Open);
        let alive: Vec<_> = (0..self.connections.len()).filter(is_alive).collect();
        if alive.is_empty() {
            return;
        }
        let connection = alive[self.random.random_range(0..alive.len())];
        if self.chance(40) {
            self.stall_for_a_while(connection);
        } else {
            self.break_connection(connection);
        }
    }

    pub(super) fn break_connection(&mut self, connection: usize) {
        self.print(|| format!("connection {connection} breaks"));
        for side in [Side::Taker, Side::Owner] {
            self.cut(connection, side, true);
            self.notice_loss(connection, side, false);
        }
    }

    pub(super) fn stall_for_a_while(&mut self, connection: usize) {
        let longest = [500, 2_500, 8_000][self.random.random_range(0..3)];
        let until = self.now + self.random.random_range(50..longest) * MILLISECOND;
        self.print(|| format!("connection {connection} stalls until {until}"));
        self.disturb(until + SECOND);
        self.stall(connection, until);
    }

    pub(super) fn stall(&mut self, connection: usize, until: Time) {
        for from in [Side::Taker, Side::Owner] {
            let flow = &mut self.connections[connection].flows[from as usize];
            flow.not_before = flow.not_before.max(until);
            for in_flight in &mut flow.messages {
                in_flight.arrives_at = in_flight.arrives_at.max(until);
            }
            for _ in 0..self.connections[connection].flows[from as usize].messages.len() {
                self.schedule(until, Event::Deliver(connection, from));
            }
        }
    }

    /// The messages from `side` are lost from now on, and some of those in flight.
    pub(super) fn cut(&mut self, connection: usize, side: Side, loses_some: bool) {
        let flow = &mut self.connections[connection].flows[side as usize];
        flow.is_cut = true;
        if loses_some {
            let kept = self.random.random_range(0..=flow.messages.len());
            for InFlight { message, .. } in flow.messages.split_off(kept) {
                self.count_lost(message);
            }
        }
    }

    pub(super) fn count_lost(&mut self, message: Message) {
        match message {
            Message::Verdict { .. } => self.count(Case::VerdictLost),
            Message::Claim { .. } => self.count(Case::ClaimLost),
            _ => {}
        }
    }

    /// `side` notices that the connection is lost, after all that still arrives: soon, late, or never.
    pub(super) fn notice_loss(&mut self, connection: usize, side: Side, is_orderly: bool) {
        let after = match self.random.random_range(0..10) {
            _ if is_orderly => 0..10,
            0..7 => 0..10,
            7..9 => 0..500,
            _ => {
                self.disturb(self.now + micros(LINK_TIMEOUT) + 2 * SECOND);
                return;
            }
        };
        let after = self.random.random_range(after) * MILLISECOND;
        let flow = &self.connections[connection].flows[side.other() as usize];
        let at = flow.not_before.max(self.now + after);
        self.disturb(at);
        self.schedule(at, Event::Lost(connection, side));
    }

    pub(super) fn delay(&mut self) -> Time {
        if self.faults.links && !self.is_calm && self.random.random_range(0..50) == 0 {
            let delay = self.random.random_range(50..700) * MILLISECOND;
            self.disturb(self.now + delay);
            return delay;
        }
        self.random.random_range(0..10 * MILLISECOND)
    }

    /// Returns until when two addresses are apart.
    pub(super) fn apart_until(&self, one: usize, other: usize) -> Time {
        let partitions = self.partitions.iter();
        let apart = partitions.filter(|(a, b, _)| (*a, *b) == (one, other) || (*a, *b) == (other, one));
        apart.map(|(.., until)| *until).max().unwrap_or(0)
    }

    pub(super) fn connect(&mut self, process: usize, link: LinkId, address: &str) {
        let target = self.addresses.iter().position(|own| own == address).expect("an address");
        let incarnation = self.processes[process].incarnation;
        let connection = self.connections.len();
        let apart_until = self.apart_until(process, target);
        let flow = || Flow { not_before: apart_until, ..Flow::default() };
        self.connections.push(Connection {
            processes: [(process, incarnation), (target, self.processes[target].incarnation)],
            links: [Some(link), None],
            states: [End::Connecting; 2],
            flows: [flow(), flow()],
        });
        self.processes[process].links.push((link, connection, Side::Taker));
        let at = (self.now + self.delay()).max(apart_until);
        let is_refused = !self.processes[target].is_up || (self.faults.links && !self.is_calm && self.chance(3));
        if is_refused {
            self.disturb(at);
            // Nothing comes back in some cases.
            if self.chance(80) {
                self.schedule(at, Event::Lost(connection, Side::Taker));
            }
        } else {
            self.schedule(at, Event::Open(connection));
        }
    }

    pub(super) fn open(&mut self, connection: usize) {
        let Connection { processes: [taker, owner], links, states, .. } = &self.connections[connection];
        let (taker, owner, link) = (*taker, *owner, links[0].unwrap());
        if states[0] != End::Connecting {
            return;
        }
        if !self.runs(owner.0, owner.1) {
            return self.schedule(self.now, Event::Lost(connection, Side::Taker));
        }
        self.connections[connection].states[0] = End::Open;
        let accept_at = (self.now + self.delay()).max(self.connections[connection].flows[0].not_before);
        self.connections[connection].flows[0].not_before = accept_at;
        self.schedule(accept_at, Event::Accept(connection));
        self.event(taker.0, &Cause::Other, |replica, now, actions| replica.on_link_open(link, now, actions));
    }

    pub(super) fn accept(&mut self, connection: usize) {
        let Connection { processes: [_, (owner, incarnation)], states, .. } = &self.connections[connection];
        let (owner, incarnation) = (*owner, *incarnation);
        if states[1] != End::Connecting {
            return;
        }
        if !self.runs(owner, incarnation) {
            return self.notice_loss(connection, Side::Taker, true);
        }
        let (now, lobby) = (self.instant(owner), self.lobby(owner));
        let mut actions = mem::take(&mut self.actions);
        let link = self.processes[owner].replica.on_link_accepted(now, &mut actions).expect("there are few links");
        self.connections[connection].states[1] = End::Open;
        self.connections[connection].links[1] = Some(link);
        self.processes[owner].links.push((link, connection, Side::Owner));
        self.carry_out(owner, &Cause::Other, lobby, actions);
    }

    pub(super) fn deliver_message(&mut self, connection: usize, from: Side) {
        let to = from.other();
        let Connection { processes, links, states, flows } = &mut self.connections[connection];
        let flow = &mut flows[from as usize];
        if flow.messages.front().is_none_or(|first| first.arrives_at > self.now) {
            return;
        }
        let InFlight { message, sent_at, .. } = flow.messages.pop_front().unwrap();
        let ((process, incarnation), link) = (processes[to as usize], links[to as usize]);
        if let Message::Clock { .. } = message {
            flow.clock_delay = self.now - sent_at;
        }
        if states[to as usize] != End::Open || !self.runs(process, incarnation) {
            return self.count_lost(message);
        }
        self.before_message(connection, message);
        let link = link.unwrap();
        let handled = self.event(process, &Cause::Message(connection, to, message), |replica, now, actions| {
            replica.on_message(link, message, now, actions)
        });
        assert_eq!(handled, Ok(()), "replicas follow their protocol");
        self.after_message(connection, message);
    }

    /// One side notices that the connection is lost.
    pub(super) fn lose(&mut self, connection: usize, side: Side) {
        let Connection { processes, links, states, .. } = &self.connections[connection];
        let ((process, incarnation), link) = (processes[side as usize], links[side as usize]);
        if states[side as usize] == End::Closed {
            return;
        }
        let Some(link) = link else {
            // The owner has not accepted it yet.
            self.connections[connection].states[side as usize] = End::Closed;
            return;
        };
        if !self.runs(process, incarnation) {
            return;
        }
        let was_open = states[side as usize] == End::Open;
        self.count_if(!was_open, Case::ConnectionRefused);
        self.close_end(connection, side, false);
        self.processes[process].links.retain(|(own, ..)| *own != link);
        self.event(process, &Cause::Lost, |replica, now, actions| replica.on_link_lost(link, now, actions));
    }

    /// One side closes the connection. The other side notices it.
    pub(super) fn close_end(&mut self, connection: usize, side: Side, is_orderly: bool) {
        let other = side.other();
        self.connections[connection].states[side as usize] = End::Closed;
        if self.connections[connection].states[other as usize] != End::Closed
            && !self.connections[connection].flows[side as usize].is_cut
        {
            let loses_some = !is_orderly && self.random.random_bool(0.5);
            self.cut(connection, side, loses_some);
            self.notice_loss(connection, other, is_orderly);
        }
        self.cut(connection, other, true);
        for session in 0..self.sessions.len() {
            if self.sessions[session].connection == Some(connection) {
                match side {
                    Side::Taker => self.lose_at_taker(session),
                    Side::Owner => self.end_guest(session),
                }
            }
        }
    }

    pub(super) fn lose_at_taker(&mut self, session: usize) {
        self.sessions[session].at_taker = AtTaker::Ended;
        let player = self.sessions[session].player;
        let player = &mut self.players[player];
        if player.partner == Some(Partner::Away(session)) {
            player.partner = None;
        }
        if let Some(mv) = player.in_play
            && self.moves[mv].place == Place::Owner(session)
        {
            self.moves[mv].place = Place::Lost;
        }
    }

    /// The player of the session is no longer a guest.
    pub(super) fn end_guest(&mut self, session: usize) {
        let Session { is_guest, host, .. } = self.sessions[session];
        if is_guest {
            let ended = &mut self.sessions[session];
            (ended.is_guest, ended.at_owner, ended.is_returned) = (false, None, false);
            if self.players[host].partner == Some(Partner::Guest(session)) {
                self.players[host].partner = None;
            }
        }
    }

    /// Returns the sessions whose players are guests of a replica.
    pub(super) fn guests(&self, process: usize) -> impl Iterator<Item = usize> {
        (0..self.sessions.len())
            .filter(move |session| self.sessions[*session].is_guest && self.owner(*session) == process)
    }

    /// Returns the address of a session's owner.
    pub(super) fn owner(&self, session: usize) -> usize {
        self.connections[self.sessions[session].connection.unwrap()].processes[1].0
    }

    // The actions of a replica.
}
