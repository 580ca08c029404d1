//! Carries out the actions of replicas, and keeps what the model knows about claims and sessions.

use super::*;

impl Game<'_> {
    pub(super) fn carry_out(&mut self, process: usize, cause: &Cause, lobby: Option<usize>, mut actions: Vec<Action>) {
        self.print(|| {
            let actions: Vec<_> = actions.iter().map(|action| self.describe(process, action)).collect();
            format!("replica {process}: {cause:?}: {}", actions.join(", "))
        });
        self.count(Case::Events);
        if let (Cause::Engine(EngineReply::Taken(ticket)), Some(player)) = (cause, lobby)
            && self.processes[process].replica.stats().waiting == 0
        {
            self.begin_claim(process, player, ticket);
        }
        let mut judged = Vec::new();
        let mut calls = Vec::new();
        for action in actions.drain(..) {
            match action {
                Action::Reply { player, reply } => self.reply(process, player, reply, cause, &mut judged),
                Action::Send { link, message } => self.send(process, link, message, cause, lobby, &mut judged),
                Action::Connect { link, address } => self.connect(process, link, &address),
                Action::Close { link } => self.close(process, link, cause),
                Action::Accepted(after) => {
                    assert!(matches!(cause, Cause::Message(_, Side::Taker, Message::Accept { .. })));
                    assert!(!self.is_punctual || after <= CLAIM_TIMEOUT, "accepted after the timeout");
                }
                Action::Engine(call) => calls.push(call),
            }
            if let [one, other] = judged[..] {
                self.check_round(one, other);
                judged.clear();
            }
        }
        self.actions = actions;
        assert!(judged.is_empty(), "a move was judged alone: {judged:?}");
        for player in mem::take(&mut self.changed) {
            self.check_pending(player);
        }
        self.check_cause(process, cause);
        self.check_wanted(process);
        for call in calls {
            self.call_engine(process, call);
        }
        for session in 0..self.sessions.len() {
            if self.sessions[session].connection.is_none() {
                self.sessions[session].connection = self.outgoing(process, self.sessions[session].target);
            }
        }
        if !matches!(cause, Cause::Leaves) {
            self.check_process(process);
        }
        let next = self.processes[process].replica.next_time().map(|next| self.time(process, next));
        if next != self.processes[process].wake.map(|(at, _)| at) {
            self.processes[process].wake = next.map(|at| (at, self.report_at(at).max(self.now)));
        }
    }

    pub(super) fn describe(&self, process: usize, action: &Action) -> String {
        match action {
            Action::Reply { player, reply: ReplyState::Pending { deadline } } => {
                format!("{player:?} waits until {}", self.time(process, *deadline))
            }
            Action::Reply { player, reply } => format!("{player:?} gets {reply:?}"),
            Action::Send { link, message } => format!("{message:?} on {link:?}"),
            other => format!("{other:?}"),
        }
    }

    /// Returns the connection to an address that a replica has opened.
    pub(super) fn outgoing(&self, process: usize, address: usize) -> Option<usize> {
        let mut links = self.processes[process].links.iter();
        let found = links.find(|(_, connection, side)| {
            *side == Side::Taker && self.connections[*connection].processes[1].0 == address
        });
        found.map(|(_, connection, _)| *connection)
    }

    pub(super) fn begin_claim(&mut self, process: usize, player: usize, ticket: &Ticket) {
        let target = self.addresses.iter().position(|own| *own == ticket.address).unwrap();
        let session = self.sessions.len();
        self.processes[process].claims += 1;
        let mv = self.players[player].in_play.unwrap();
        self.moves[mv].place = Place::Claim(session);
        let is_mutual = self.sessions.iter().any(|other| {
            other.at_taker == AtTaker::Claims && other.taker == target && other.target == process && process != target
        });
        self.count_if(is_mutual, Case::MutualClaims);
        self.sessions.push(Session {
            taker: process,
            incarnation: self.processes[process].incarnation,
            number: self.processes[process].claims,
            target,
            connection: None,
            nonce: ticket.nonce,
            player,
            at_taker: AtTaker::Claims,
            is_claim_sent: false,
            is_guest: false,
            host: usize::MAX,
            sent: None,
            at_owner: None,
            is_returned: false,
            is_withdrawn: false,
            is_wanted: false,
            is_answered: false,
            rounds: 0,
        });
    }

    /// A claim ends without success.
    pub(super) fn end_claim(&mut self, session: usize) {
        let Session { taker, player, .. } = self.sessions[session];
        self.sessions[session].at_taker = AtTaker::Ended;
        if self.players[player].is_here {
            self.count(Case::ClaimFailed);
            self.processes[taker].last_failed_claim = Some(self.now);
        }
    }

    pub(super) fn close(&mut self, process: usize, link: LinkId, cause: &Cause) {
        let (connection, side) = self.end(process, link);
        let was_open = self.connections[connection].states[side as usize] == End::Open;
        assert!(matches!(cause, Cause::Time), "a link is closed without reason");
        self.count_if(was_open, Case::LinkSilent);
        self.count_if(!was_open, Case::ConnectionRefused);
        self.processes[process].links.retain(|(own, ..)| *own != link);
        self.close_end(connection, side, self.is_calm);
    }

    pub(super) fn end(&self, process: usize, link: LinkId) -> (usize, Side) {
        let end = self.processes[process].links.iter().find(|(own, ..)| *own == link);
        let (_, connection, side) = end.expect("an action for a link that is closed");
        (*connection, *side)
    }

    pub(super) fn reply(
        &mut self,
        process: usize,
        id: PlayerId,
        reply: ReplyState,
        cause: &Cause,
        judged: &mut Vec<Party>,
    ) {
        let player = self.find_player(process, id).expect("a reply for a player who is not here");
        let mv = self.players[player].in_play.expect("a reply without a move");
        if let Place::Claim(session) = self.moves[mv].place
            && self.sessions[session].at_taker == AtTaker::Claims
        {
            // The claim has waited for the link to open.
            assert!(!self.sessions[session].is_claim_sent, "the owner does not learn that the claim has ended");
            self.end_claim(session);
        }
        if let ReplyState::Pending { deadline } = reply {
            self.players[player].deadline = self.time(process, deadline);
            if !self.changed.contains(&player) {
                self.changed.push(player);
            }
            return;
        }
        self.changed.retain(|changed| *changed != player);
        (self.players[player].in_play, self.players[player].timer) = (None, None);
        self.moves[mv].reply = Some(reply);
        match reply {
            ReplyState::Unknown => self.check_unknown(player, mv),
            ReplyState::Ready(Reply::Void) => self.check_void(player, mv),
            ReplyState::Ready(Reply::Judged(outcome)) => match (self.moves[mv].place, cause) {
                (
                    Place::Owner(session),
                    Cause::Message(connection, Side::Taker, Message::Verdict { session: number, .. }),
                ) => {
                    assert_eq!(self.session(*connection, *number), session, "the verdict of another session");
                    assert_eq!(self.moves[mv].judged, Some(outcome), "S2: the verdict is another one");
                }
                (Place::Owner(_) | Place::Lost, _) => panic!("S2: two replicas judge the same move"),
                _ => judged.push(Party { mv, session: None, outcome }),
            },
            _ => panic!("{reply:?} is not a reply to a move"),
        }
        if reply == ReplyState::Unknown {
            self.players[player].is_closing = true;
            self.processes[process].unknown_outcomes += 1;
        } else {
            self.processes[process].replies += 1;
        }
        if self.players[player].is_closing || self.players[player].is_stopping.is_some() {
            let at = self.now + self.random.random_range(0..2) * MILLISECOND;
            self.schedule(at, Event::Leave(player));
        }
    }

    /// Returns the session of a connection.
    pub(super) fn session(&self, connection: usize, number: u64) -> usize {
        let is_it = |session: &Session| (session.connection, session.number) == (Some(connection), number);
        self.sessions.iter().position(is_it).expect("a session that nobody has begun")
    }

    pub(super) fn send(
        &mut self,
        process: usize,
        link: LinkId,
        message: Message,
        cause: &Cause,
        lobby: Option<usize>,
        judged: &mut Vec<Party>,
    ) {
        let (connection, side) = self.end(process, link);
        assert_eq!(self.connections[connection].states[side as usize], End::Open, "a message before the link is open");
        match message {
            Message::Clock { micros } => {
                assert_eq!(micros, self.processes[process].clock_offset + self.now, "the wrong clock");
            }
            Message::Claim { session: number, nonce } => {
                let is_it = |session: &Session| {
                    (session.taker, session.number) == (process, number) && session.at_taker == AtTaker::Claims
                };
                let session = self.sessions.iter_mut().find(|session| is_it(session)).expect("a claim without a move");
                assert!(session.nonce == nonce && !session.is_claim_sent, "a ticket is claimed once");
                (session.is_claim_sent, session.connection) = (true, Some(connection));
            }
            Message::Leave { session } => {
                let session = self.session(connection, session);
                let player = self.sessions[session].player;
                match self.sessions[session].at_taker {
                    AtTaker::Claims => {
                        self.count_if(self.players[player].is_here, Case::ClaimTimedOut);
                        self.end_claim(session);
                    }
                    AtTaker::IsPaired => {
                        self.sessions[session].at_taker = AtTaker::Ended;
                        if self.players[player].partner == Some(Partner::Away(session)) {
                            self.players[player].partner = None;
                        }
                    }
                    AtTaker::Ended => {
                        let Cause::Message(_, _, Message::Accept { session: number }) = *cause else {
                            panic!("a session ends twice");
                        };
                        assert_eq!(number, self.sessions[session].number, "a session ends twice");
                        self.sessions[session].is_answered = true;
                    }
                }
            }
            Message::Withdraw { session } => {
                let session = self.session(connection, session);
                assert!(matches!(cause, Cause::Stops(player) if *player == self.sessions[session].player));
                self.sessions[session].is_withdrawn = true;
            }
            Message::Move { session, .. } => self.check_move_sent(self.session(connection, session), message),
            Message::Accept { session } => self.check_accept(self.session(connection, session), cause, lobby),
            Message::Refuse { session } => self.check_refuse(process, self.session(connection, session), lobby),
            Message::Verdict { session, number, outcome } => {
                let session = self.session(connection, session);
                let (mv, _) = self.sessions[session].at_owner.take().expect("S1, S3: a verdict without a move");
                assert_eq!(self.sessions[session].sent, Some((mv, number)), "the verdict of another move");
                judged.push(Party { mv, session: Some(session), outcome });
            }
            Message::Return { session, number } => {
                let session = self.session(connection, session);
                let (mv, _) = self.sessions[session].at_owner.take().expect("S3: a return without a move");
                assert_eq!(self.sessions[session].sent, Some((mv, number)), "the return of another move");
                self.sessions[session].is_returned = true;
                let is_late = self.now + MILLISECOND * 20 >= self.return_by(mv);
                self.count(if is_late { Case::ReturnTooLate } else { Case::ReturnAtPatienceEnd });
            }
            Message::PartnerMoved { session } => {
                let session = self.session(connection, session);
                let Session { is_guest, is_returned, at_owner, host, .. } = self.sessions[session];
                assert!(is_guest && is_returned && at_owner.is_none(), "nobody waits for this");
                assert!(self.players[host].in_play.is_some(), "the partner has not moved");
                self.sessions[session].is_returned = false;
                self.count(Case::PartnerMoved);
            }
            Message::Dissolve { session } => {
                let session = self.session(connection, session);
                assert!(self.sessions[session].is_guest, "a session ends twice");
                self.end_guest(session);
            }
        }
        self.transmit(connection, side, message);
    }

    pub(super) fn transmit(&mut self, connection: usize, from: Side, message: Message) {
        if self.connections[connection].flows[from as usize].is_cut {
            return self.count_lost(message);
        }
        let at = self.now + self.delay();
        let flow = &mut self.connections[connection].flows[from as usize];
        flow.not_before = flow.not_before.max(at);
        let arrives_at = flow.not_before;
        flow.messages.push_back(InFlight { message, sent_at: self.now, arrives_at });
        self.schedule(arrives_at, Event::Deliver(connection, from));
        if !matches!(message, Message::Clock { .. }) {
            self.fail_soon(connection);
        }
    }

    /// Lets something fail around a message, more often than at other times.
    pub(super) fn fail_soon(&mut self, connection: usize) {
        let Faults { engine, links, crashes, drains } = self.faults;
        let at = self.now + self.random.random_range(0..20 * MILLISECOND);
        let process = self.connections[connection].processes[self.random.random_range(0..2)].0;
        let event = match self.random.random_range(0..100) {
            0 if links => Event::Break(connection),
            1 | 6..9 if links => Event::Stall(connection),
            2 if crashes => Event::Crash(process),
            3 | 4 if drains => Event::Drain(process),
            5 if engine => Event::DisturbEngine,
            _ => return,
        };
        self.schedule(at, event);
    }
}
