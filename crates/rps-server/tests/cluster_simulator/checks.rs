//! The promises and invariants, checked at each action and after each event.

use super::*;

impl Game<'_> {
    /// Returns the latest time at which another replica can judge a move.
    pub(super) fn return_by(&self, mv: usize) -> Time {
        let SimulatedMove { since, window_end, .. } = self.moves[mv];
        window_end - micros(RETURN_MARGIN).min((window_end - since) / 10)
    }

    // Checks.

    pub(super) fn check_move_sent(&mut self, session: usize, message: Message) {
        let Message::Move { number, mv: sent, patience_end, window_end, .. } = message else { return };
        let Session { at_taker, player, connection, sent: last, .. } = self.sessions[session];
        assert_eq!(at_taker, AtTaker::IsPaired, "a move before the owner has accepted");
        let mv = self.players[player].in_play.expect("a move that is not in play");
        assert!(last.is_none_or(|(_, last)| last < number), "the number of a move is used again");
        assert!(!matches!(self.moves[mv].place, Place::Owner(_) | Place::Lost), "the move is at an owner already");
        assert_eq!(sent, self.moves[mv].mv);
        let latest = self.return_by(mv);
        assert!(self.now < latest, "the move is sent too late");
        self.count_if(last.is_some_and(|(last, _)| last == mv), Case::MovedAfterReturn);
        self.moves[mv].place = Place::Owner(session);
        (self.sessions[session].sent, self.sessions[session].is_wanted) = (Some((mv, number)), false);
        let Connection { processes: [_, owner], flows, .. } = &self.connections[connection.unwrap()];
        if self.runs(owner.0, owner.1) {
            // The clock has taken time to arrive. So the deadlines are early by this time, and never late.
            let (offset, delay) = (self.processes[owner.0].clock_offset, flows[Side::Owner as usize].clock_delay);
            assert_eq!(window_end + delay, latest + offset, "the end of the window on the owner's clock");
            assert_eq!(patience_end + delay, self.moves[mv].patience_end + offset, "the end of the patience");
        }
    }

    pub(super) fn check_accept(&mut self, session: usize, cause: &Cause, lobby: Option<usize>) {
        let Cause::Message(_, _, Message::Claim { nonce, .. }) = *cause else { panic!("an accept without a claim") };
        let owner = self.owner(session);
        assert!(!self.processes[owner].is_draining, "a draining replica accepts a claim");
        let host = lobby.expect("a claim of nothing is accepted");
        let mv = self.players[host].in_play.unwrap();
        assert_eq!(self.moves[mv].nonce, Some(nonce), "a claim of another move is accepted");
        assert!(self.now < self.moves[mv].window_end, "a claim is accepted after the end of the window");
        if let Some(Partner::Local(partner)) = self.players[host].partner.replace(Partner::Guest(session)) {
            self.players[partner].partner = None;
        }
        (self.sessions[session].is_guest, self.sessions[session].host) = (true, host);
        let until = self.now + micros(CLAIM_TIMEOUT);
        let mv = &mut self.moves[mv];
        mv.patience_end = until;
        let waited = mv.waits_since.is_some_and(|since| self.now > since + SECOND / 2);
        self.count_if(waited, Case::WaitedTogether);
    }

    pub(super) fn check_refuse(&mut self, process: usize, session: usize, lobby: Option<usize>) {
        self.sessions[session].is_answered = true;
        let nonce = self.sessions[session].nonce;
        if let Some(mv) = lobby.and_then(|player| self.players[player].in_play) {
            let waits = self.moves[mv].nonce == Some(nonce) && self.now < self.moves[mv].window_end;
            assert!(!waits || self.processes[process].is_draining, "a claim is refused although the move waits");
        }
        let Some(claimed) = self.moves.iter().find(|mv| mv.nonce == Some(nonce)) else { panic!("a ticket of nobody") };
        let has_left = !self.players[claimed.player].is_here;
        let is_former = !self.runs(claimed.process, claimed.incarnation) || claimed.process != process;
        let is_stale = claimed.reply.is_some();
        self.count_if(is_former, Case::ClaimOfFormerProcess);
        self.count_if(is_stale, Case::StaleTicketRefused);
        self.count_if(has_left && !is_stale && !is_former, Case::ClaimOfLeaver);
    }

    pub(super) fn check_unknown(&mut self, player: usize, mv: usize) {
        let Player { deadline, is_stopping, .. } = self.players[player];
        let window_end = self.moves[mv].window_end;
        match self.moves[mv].place {
            Place::Lost => {}
            Place::Owner(session) => {
                assert!(self.now >= deadline, "unknown, although the owner still has time");
                self.count_if(is_stopping.is_some() && self.now < window_end, Case::WithdrawTimedOut);
                assert_eq!(self.sessions[session].at_taker, AtTaker::Ended, "the owner does not learn it");
            }
            place => panic!("A2: the move was never sent, but its outcome is unknown: {place:?}"),
        }
        assert!(!self.is_punctual || self.now <= window_end, "L1: unknown after the end of the window");
        assert!(!self.is_punctual || self.is_ever_disturbed, "unknown, although nothing has failed");
        self.count(Case::Unknown);
        self.count_if(self.moves[mv].judged.is_none(), Case::UnjudgedUnknown);
    }

    pub(super) fn check_void(&mut self, player: usize, mv: usize) {
        let Player { partner, is_stopping, .. } = self.players[player];
        let SimulatedMove { place, window_end, judged, .. } = self.moves[mv];
        assert!(!matches!(place, Place::Owner(_) | Place::Lost), "S3: void, but the owner has not returned it");
        assert_eq!(judged, None, "S2: judged, and void");
        if self.now < window_end {
            assert!(is_stopping.is_some(), "void before the end of its window");
            self.count(Case::DrainVoid);
        }
        assert!(!self.is_punctual || self.now <= window_end, "L1: void after the end of its window");
        self.count(Case::Void);
        if let Some(Partner::Local(partner)) = partner {
            (self.players[player].partner, self.players[partner].partner) = (None, None);
        }
    }

    pub(super) fn check_round(&mut self, one: Party, other: Party) {
        for (mine, theirs) in [(one, other), (other, one)] {
            let SimulatedMove { player, mv, window_end, patience_end, judged, reply, .. } = self.moves[mine.mv];
            assert_eq!(mine.outcome, judge(mv, self.moves[theirs.mv].mv), "S2: the outcome of the moves");
            assert_eq!(judged, None, "S1: judged twice");
            assert_ne!(reply, Some(ReplyState::Ready(Reply::Void)), "S3: judged after it was void");
            assert!(self.now < window_end, "judged after the end of its window");
            assert_ne!(player, self.moves[theirs.mv].player, "a player met itself");
            self.moves[mine.mv].judged = Some(mine.outcome);
            let opponent = match theirs.session {
                Some(session) => Partner::Guest(session),
                None => Partner::Local(self.moves[theirs.mv].player),
            };
            if let Some(session) = mine.session {
                let Session { host, is_guest, rounds, .. } = self.sessions[session];
                assert!(is_guest && theirs.session.is_none(), "two guests meet");
                self.sessions[session].rounds += 1;
                self.count(Case::CrossRound);
                self.count_if(self.engine.is_down, Case::CrossRoundEngineDown);
                self.count_if(rounds > 0, Case::CrossRoundAgain);
                if opponent != Partner::Local(host) {
                    self.count(Case::GuestMetAnother);
                    if self.players[host].partner == Some(Partner::Guest(session)) {
                        self.players[host].partner = None;
                    }
                    self.sessions[session].host = self.moves[theirs.mv].player;
                }
                continue;
            }
            if let Some(former) = self.players[player].partner.replace(opponent)
                && former != opponent
            {
                match former {
                    Partner::Local(former) => {
                        assert!(self.now >= patience_end, "a new opponent before the end of the patience");
                        let their_move = self.players[former].in_play.map(|mv| &self.moves[mv]);
                        let has_moved =
                            their_move.is_some_and(|mv| mv.since < self.now && !matches!(mv.place, Place::Claim(_)));
                        assert!(!has_moved, "a new opponent although the partner has moved");
                        self.players[former].partner = None;
                    }
                    Partner::Guest(session) => assert!(!self.sessions[session].is_guest, "the guest is not dismissed"),
                    Partner::Away(session) => {
                        assert_eq!(self.sessions[session].at_taker, AtTaker::Ended, "the owner does not learn it");
                    }
                }
            }
        }
        if one.session.is_none() && other.session.is_none() {
            self.count(Case::LocalRound);
            self.count_if(self.engine.is_down, Case::LocalRoundEngineDown);
        }
    }

    /// Checks the deadline of a reply, and derives where the move is.
    pub(super) fn check_pending(&mut self, player: usize) {
        let Player { in_play, partner, deadline, is_stopping, .. } = self.players[player];
        let mv = in_play.unwrap();
        let SimulatedMove { patience_end, window_end, place, waits_since, .. } = self.moves[mv];
        match place {
            Place::Owner(_) => {
                let latest = is_stopping.map_or(window_end, |since| window_end.min(since + micros(WITHDRAW_TIMEOUT)));
                assert_eq!(deadline, latest, "the deadline of a move at the owner");
                self.moves[mv].waits_since = None;
            }
            Place::Lost => panic!("S3: the owner may have judged the move, and it is in play again"),
            Place::Patience | Place::Lobby | Place::Claim(_) => {
                let has_partner = matches!(partner, Some(Partner::Local(_) | Partner::Guest(_)));
                let waits_for_partner = has_partner && self.now < patience_end;
                let expected = if waits_for_partner { patience_end.min(window_end) } else { window_end };
                assert_eq!(deadline, expected, "the wrong deadline");
                if waits_for_partner {
                    (self.moves[mv].place, self.moves[mv].waits_since) = (Place::Patience, None);
                } else {
                    if let Some(Partner::Guest(session)) = partner {
                        self.count_if(self.sessions[session].sent.is_none(), Case::AcceptedWithoutMove);
                    }
                    self.moves[mv].place = Place::Lobby;
                    self.moves[mv].waits_since = waits_since.or(Some(self.now));
                }
            }
        }
    }

    /// Updates the model before a replica handles a message.
    pub(super) fn before_message(&mut self, connection: usize, message: Message) {
        let number = match message {
            Message::Clock { .. } => return,
            Message::Claim { session, .. }
            | Message::Accept { session }
            | Message::Refuse { session }
            | Message::Move { session, .. }
            | Message::Verdict { session, .. }
            | Message::Return { session, .. }
            | Message::PartnerMoved { session }
            | Message::Dissolve { session }
            | Message::Leave { session }
            | Message::Withdraw { session } => session,
        };
        let session = self.session(connection, number);
        let Session { at_taker, player, sent, is_guest, is_withdrawn, .. } = self.sessions[session];
        let in_play = self.players[player].in_play;
        match message {
            Message::Accept { .. } if at_taker == AtTaker::Claims => {
                self.sessions[session].at_taker = AtTaker::IsPaired;
                (self.sessions[session].is_answered, self.sessions[session].is_wanted) = (true, true);
                self.moves[in_play.unwrap()].place = Place::Patience;
                if let Some(Partner::Local(partner)) = self.players[player].partner.replace(Partner::Away(session)) {
                    self.players[partner].partner = None;
                }
            }
            Message::Accept { .. } => self.count(Case::LateAccept),
            Message::PartnerMoved { .. } if at_taker == AtTaker::IsPaired => {
                if let Some(mv) = in_play.filter(|mv| self.moves[*mv].place != Place::Owner(session)) {
                    let is_claiming = matches!(self.moves[mv].place, Place::Claim(_));
                    self.count_if(is_claiming, Case::PartnerMovedDuringClaim);
                    self.sessions[session].is_wanted = true;
                }
            }
            Message::Refuse { .. } if at_taker == AtTaker::Claims => self.end_claim(session),
            Message::Verdict { .. } => {
                let (mv, _) = sent.unwrap();
                let SimulatedMove { place, reply, .. } = self.moves[mv];
                if at_taker == AtTaker::IsPaired {
                    assert_eq!(place, Place::Owner(session), "a verdict for a move that is not at the owner");
                    self.count_if(is_withdrawn, Case::WithdrawCrossedVerdict);
                }
                self.count_if(reply == Some(ReplyState::Unknown), Case::VerdictAfterUnknown);
            }
            Message::Return { .. } if at_taker == AtTaker::IsPaired => {
                let mv = &mut self.moves[in_play.unwrap()];
                assert_eq!(mv.place, Place::Owner(session));
                mv.place = Place::Patience;
                self.count_if(is_withdrawn, Case::WithdrawConfirmed);
            }
            Message::Dissolve { .. } if at_taker == AtTaker::IsPaired => {
                self.sessions[session].at_taker = AtTaker::Ended;
                if self.players[player].partner == Some(Partner::Away(session)) {
                    self.players[player].partner = None;
                }
                if let Some(mv) = in_play.filter(|mv| self.moves[*mv].place == Place::Owner(session)) {
                    self.moves[mv].place = Place::Patience;
                    self.count(if is_withdrawn { Case::WithdrawConfirmed } else { Case::ReturnedHome });
                }
            }
            Message::Move { number, patience_end, .. } if is_guest => {
                let (mv, sent_number) = sent.unwrap();
                assert_eq!(number, sent_number);
                let offset = self.processes[self.owner(session)].clock_offset;
                self.sessions[session].at_owner = Some((mv, patience_end.saturating_sub(offset)));
            }
            Message::Move { .. } => self.count(Case::DissolveCrossedMove),
            Message::Leave { .. } => self.end_guest(session),
            _ => {}
        }
    }

    pub(super) fn after_message(&mut self, connection: usize, message: Message) {
        match message {
            Message::Accept { session } => {
                let session = &self.sessions[self.session(connection, session)];
                assert!(session.is_answered, "a late accept without an answer");
            }
            Message::Withdraw { session } => {
                let session = &self.sessions[self.session(connection, session)];
                assert!(!session.is_guest, "a withdrawal is not confirmed");
            }
            Message::Claim { session, .. } => {
                let session = &self.sessions[self.session(connection, session)];
                assert!(session.is_guest || session.is_answered, "a claim without an answer");
            }
            _ => {}
        }
    }

    /// A move for which the partner waits is at the owner, or in a claim, or too late.
    pub(super) fn check_wanted(&mut self, process: usize) {
        for session in 0..self.sessions.len() {
            let Session { is_wanted, at_taker, taker, player, .. } = self.sessions[session];
            if is_wanted
                && at_taker == AtTaker::IsPaired
                && taker == process
                && let Some(mv) = self.players[player].in_play
                && !matches!(self.moves[mv].place, Place::Claim(_))
            {
                assert!(self.now >= self.return_by(mv), "the owner does not get the move");
                self.sessions[session].is_wanted = false;
                self.count(Case::NotSent);
            }
        }
    }

    pub(super) fn check_cause(&mut self, process: usize, cause: &Cause) {
        match *cause {
            Cause::Moves(player) => {
                let Player { in_play: Some(mv), partner, .. } = self.players[player] else { return };
                match partner {
                    Some(Partner::Away(session)) => {
                        assert_eq!(self.moves[mv].place, Place::Owner(session), "the owner does not get the move");
                    }
                    Some(Partner::Guest(session)) => {
                        assert!(!self.sessions[session].is_returned, "the guest does not learn that its partner moved");
                    }
                    _ => {}
                }
            }
            Cause::Engine(EngineReply::Posted) => {
                let has_posted = |player: usize| {
                    let nonce = self.players[player].in_play.and_then(|mv| self.moves[mv].nonce);
                    self.engine.history.iter().any(|ticket| Some(ticket.nonce) == nonce)
                };
                let waiting = (0..self.processes.len()).filter_map(|process| self.lobby(process));
                let both = waiting.filter(|player| has_posted(*player)).count() >= 2;
                self.count_if(both && self.lobby(process).is_some(), Case::BothPosted);
            }
            _ => {}
        }
    }

    /// Checks the invariants of a replica after an event.
    pub(super) fn check_process(&self, process: usize) {
        let Process { replica, replies, unknown_outcomes, links, incarnation, .. } = &self.processes[process];
        let stats = replica.stats();
        assert_eq!(stats.players, self.players_of(process).count());
        assert_eq!(stats.draws + stats.wins + stats.losses + stats.voids, *replies, "the count of replies");
        let waiting = self.players_of(process).filter(|player| self.is_in_lobby(*player, process)).count();
        assert!(waiting <= 1, "A1: {waiting} moves are in the lobby, and could meet each other");
        assert_eq!(stats.waiting, waiting, "the move in the lobby");
        let stats = replica.cluster_stats().unwrap();
        assert_eq!(stats.guests, self.guests(process).count(), "the guests");
        let is_away = |session: &&Session| {
            (session.taker, session.incarnation, session.at_taker) == (process, *incarnation, AtTaker::IsPaired)
        };
        assert_eq!(stats.away, self.sessions.iter().filter(is_away).count(), "the players with a partner elsewhere");
        assert_eq!(stats.unknown_outcomes, *unknown_outcomes);
        let is_open = |(_, connection, side): &&(LinkId, usize, Side)| {
            self.connections[*connection].states[*side as usize] == End::Open
        };
        assert_eq!(stats.links, links.iter().filter(is_open).count(), "the open links");
        for player in self.players_of(process) {
            let Player { in_play: Some(mv), partner, .. } = self.players[player] else { continue };
            match self.moves[mv].place {
                Place::Lost => panic!("the link to the owner is lost, and the player gets nothing"),
                Place::Owner(session) => {
                    assert_eq!(
                        self.sessions[session].at_taker,
                        AtTaker::IsPaired,
                        "a move at an owner without a session"
                    );
                }
                Place::Patience => match partner {
                    Some(Partner::Local(partner)) => {
                        let theirs = self.players[partner].in_play.map(|mv| self.moves[mv].place);
                        let is_here = theirs.is_some_and(|place| !matches!(place, Place::Claim(_)));
                        assert!(!is_here, "two partners wait for each other");
                    }
                    Some(Partner::Guest(session)) => {
                        assert!(self.sessions[session].at_owner.is_none(), "two partners wait for each other");
                    }
                    _ => panic!("no partner, and not in the lobby"),
                },
                Place::Lobby | Place::Claim(_) => {}
            }
        }
    }

    pub(super) fn check_before_time_passes(&mut self, to: Time) {
        if self.engine.is_down {
            self.disturb(to);
        }
        if !self.is_punctual {
            return;
        }
        for player in self.players.iter().filter(|player| player.in_play.is_some()) {
            assert!(player.deadline >= to, "L1: a deadline passes unnoticed");
        }
        for session in &self.sessions {
            assert!(session.at_owner.is_none_or(|(_, end)| end >= to), "L1: a guest's deadline passes unnoticed");
        }
        if to <= self.disturbed_until + MEETING_TIME {
            return;
        }
        // Since when the first player of each replica waits.
        let first = |process: usize| {
            let in_play = self.players_of(process).filter_map(|player| self.players[player].in_play);
            in_play.filter_map(|mv| self.moves[mv].waits_since).min()
        };
        let mut waiting: Vec<_> = (0..self.processes.len())
            .filter(|process| !self.processes[*process].is_draining)
            .filter_map(first)
            .collect();
        waiting.sort_unstable();
        if let Some(together) = waiting.get(1) {
            let since = self.disturbed_until.max(*together);
            assert!(to <= since + MEETING_TIME, "L2: two players wait together since {since}");
        }
    }

    /// Ends all faults. In some games, all moves then get their replies, and nothing is left when the players have
    /// left.
    pub(super) fn finish(mut self) {
        self.is_calm = true;
        if self.engine.is_down {
            self.engine_up();
        }
        if self.random.random_range(0..4) == 0 {
            let last =
                self.players.iter().filter_map(|player| player.in_play).map(|mv| self.moves[mv].window_end).max();
            self.run_until(last.unwrap_or(self.now).max(self.now) + 5 * SECOND);
            assert!(self.players.iter().all(|player| player.in_play.is_none()), "L1: a move in play after its window");
        } else {
            let end = self.now + self.random.random_range(0..SECOND);
            self.run_until(end);
        }
        for player in 0..self.players.len() {
            if self.players[player].is_here {
                self.leave(player);
            }
        }
        if self.random.random_range(0..4) != 0 {
            return;
        }
        let apart = self.partitions.iter().map(|(.., until)| *until);
        let stalled = self.connections.iter().flat_map(|connection| &connection.flows).map(|flow| flow.not_before);
        let quiet = apart.chain(stalled).max().unwrap_or(0).max(self.now);
        self.run_until(quiet + micros(LINK_TIMEOUT) * 2);
        for process in 0..self.processes.len() {
            let stats = self.processes[process].replica.cluster_stats().unwrap();
            assert!(
                !self.processes[process].is_up || (stats.guests, stats.away) == (0, 0),
                "players after all have left"
            );
        }
        for connection in &self.connections {
            let open = connection.states.map(|state| state == End::Open);
            assert_eq!(open[0], open[1], "one side has not noticed that a link is lost");
        }
    }
}
