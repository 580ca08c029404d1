//! The duel: two players, and a window in which both have to move.
//!
//! - [`rounds`]: the rule below as a state machine, without sockets, clocks or tasks;
//! - [`table`]: where connections meet: it carries events to the state machine and its actions back;
//! - [`conversation`]: one connection, from bytes to bytes.
//!
//! # The rule
//!
//! A round is judged if both have acted within the window, which is `duel.window` long.
//!
//! A player joins by connecting, and has a say by moving. A mover who has no partner is paired with the mover who waits
//! in the lobby, or else waits there; so there is never more than one in it. Partners stay partners from round to round,
//! and each move is judged against the partner's next one. One move of a player is in play at a time: from when the
//! server has read it or, behind another one, has answered that, until its own answer. That comes at the end of the
//! window at the latest: until just before, the move meets another that comes into play; then it is void. (Were the last
//! instant part of the window, then of two things at that instant the first to be looked at would win.)
//!
//! A void move dissolves the pair, and so does a partner who leaves. A move that is still in play then goes to the lobby
//! with the time that it has left. Who closes or half-closes the connection behind a move cannot be told from one who
//! waits for its answer: that move plays on. One who resets the connection is gone, and so is the move.
//!
//! With a window of 30 s, whether *one* and *the other* are partners or have yet to meet, this is what becomes of
//! a move (the rows are also the test of it: `tests/rule.rs` plays every one, both ways round):
//!
//! | one                              | the other                        | one hears        | the other hears  |
//! |----------------------------------|----------------------------------|------------------|------------------|
//! | moves at 0                       | moves at 0                       | judged at 0      | judged at 0      |
//! | moves at 0                       | moves at 29.999                  | judged at 29.999 | judged at 29.999 |
//! | moves at 0                       | moves at 30                      | void at 30       | void at 60       |
//! | moves at 0                       | moves at 30.001                  | void at 30       | void at 60.001   |
//! | moves at 0                       | is silent                        | void at 30       | nothing          |
//! | moves at 0                       | leaves at 29.999                 | void at 30       | nothing          |
//! | moves at 0                       | leaves at 30                     | void at 30       | nothing          |
//! | moves at 0                       | leaves at 30.001                 | void at 30       | nothing          |
//! | moves at 0, half-closes at 1     | moves at 29.999                  | judged at 29.999 | judged at 29.999 |
//! | moves at 0, half-closes at 1     | moves at 30                      | void at 30       | void at 60       |
//! | moves at 0, half-closes at 1     | moves at 30.001                  | void at 30       | void at 60.001   |
//! | moves at 0, half-closes at 1     | is silent                        | void at 30       | nothing          |
//! | moves at 0, resets at 29.998     | moves at 29.999                  | nothing          | void at 59.999   |
//! | moves at 0, resets at 29.999     | moves at 30                      | nothing          | void at 60       |
//! | moves at 0, resets at 29.999     | is silent                        | nothing          | nothing          |
//! | moves at 0, resets at 30.001     | moves at 30.002                  | void at 30       | void at 60.002   |
//! | moves at 0                       | moves at 1, resets at 1.001      | judged at 1      | judged at 1      |
//! | is silent                        | is silent                        | nothing          | nothing          |
//! | is silent                        | leaves at 30                     | nothing          | nothing          |
//! | leaves at 0                      | moves at 29.999                  | nothing          | void at 59.999   |
//! | leaves at 0                      | moves at 30                      | nothing          | void at 60       |
//! | leaves at 0                      | moves at 30.001                  | nothing          | void at 60.001   |
//! | leaves at 0                      | leaves at 0                      | nothing          | nothing          |
//!
//! And where they are partners and *a third* has no partner:
//!
//! | one        | the other                    | a third         | one hears        | the other hears | the third hears  |
//! |------------|------------------------------|-----------------|------------------|-----------------|------------------|
//! | moves at 0 | is silent                    | moves at 5      | void at 30       | nothing         | void at 35       |
//! | moves at 0 | moves at 10                  | moves at 5      | judged at 10     | judged at 10    | void at 35       |
//! | moves at 0 | leaves at 10                 | moves at 5      | judged at 10     | nothing         | judged at 10     |
//! | moves at 5 | leaves at 10                 | moves at 0      | judged at 10     | nothing         | judged at 10     |
//! | moves at 0 | leaves at 10                 | moves at 29.999 | judged at 29.999 | nothing         | judged at 29.999 |
//! | moves at 0 | leaves at 10                 | moves at 30     | void at 30       | nothing         | void at 60       |
//! | moves at 0 | leaves at 29.999             | moves at 0.001  | judged at 29.999 | nothing         | judged at 29.999 |
//! | moves at 0 | leaves at 30                 | moves at 0.001  | void at 30       | nothing         | void at 30.001   |
//! | is silent  | moves at 0, resets at 10     | moves at 10.001 | nothing          | nothing         | void at 40.001   |
//! | moves at 0 | moves at 30                  | moves at 5      | void at 30       | judged at 30    | judged at 30     |
//!
//! The server reads no more of a connection while a move of it is in play, and nothing of a move is told to anybody
//! before it is judged.

pub mod conversation;
pub mod rounds;
pub mod table;
