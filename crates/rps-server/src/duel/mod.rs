//! The duel: two players, and a window in which both have to move.
//!
//! - [`rounds`]: the rule below as a state machine, without sockets, clocks or tasks;
//! - [`table`]: where connections meet: it carries events to the state machine and its actions back;
//! - [`handler`]: one connection, from bytes to bytes.
//!
//! # The rule
//!
//! A round is judged if both players have moved within the window, which is `duel.window` long.
//!
//! A player joins by connecting, and enters the lobby by moving. A mover without a partner is paired with the mover who
//! waits there, or waits there; so there is never more than one in it. Partners stay partners from round to round, and
//! each move is judged against the partner's next one.
//!
//! One move of a player is in play at a time. It comes into play when the server reads it or, sent ahead, when the move
//! before it is answered. It is judged when another move meets it before the end of the window; at the end it is void.
//! (The last instant is no part of the window: otherwise, of two things at that instant, the one that the server looks
//! at first would win.)
//!
//! The pair is dissolved when a move is void or a partner leaves. The move that the other one may have in play then goes
//! to the lobby, with the time that it has left. Closing or half-closing does not take back a move in play, since the
//! server cannot tell either from waiting for the answer; a reset does. When the server stops, a move that nothing meets
//! for a moment is void.
//!
//! Nothing of a move is told to anybody before it is judged.
//!
//! In the tables the window is 30 s and times are in seconds. *Leaves* is a close with no move in play, *judged* a draw,
//! a win or a loss. The rows hold both ways round, and for partners as for two who have yet to meet; `tests/rule.rs`
//! plays every one. None has a reset at 30: it and the end of the window would fall on one instant, and either may come
//! first.
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
//! | moves at 0                       | moves at 1, resets at 1.001      | judged at 1      | judged at 1      |
//! | moves at 0, resets at 29.998     | moves at 29.999                  | nothing          | void at 59.999   |
//! | moves at 0, resets at 29.999     | moves at 30                      | nothing          | void at 60       |
//! | moves at 0, resets at 29.999     | is silent                        | nothing          | nothing          |
//! | moves at 0, resets at 30.001     | moves at 30.002                  | void at 30       | void at 60.002   |
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

pub mod handler;
pub mod hub;
pub mod rounds;
