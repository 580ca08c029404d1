//! The duel: two players, and a window in which both have to move.
//!
//! - [`rounds`]: the rule below as a state machine, without sockets, clocks or tasks;
//! - [`hub`]: shares the state machine between connections and delivers its replies to them;
//! - [`handler`]: the handler of one connection.
//!
//! # The rule
//!
//! A round is judged if both players move within the window, whose length is `duel.window`.
//!
//! A player joins by connecting, and enters the lobby by moving. A player who moves without a partner is paired with the
//! player who waits in the lobby. If the lobby is empty, the player waits there. So at most one player waits in the lobby.
//! Partners stay partners from round to round, and each move is judged against the partner's next move.
//!
//! A player has one move in play at a time. A move comes into play when the server reads it. A move that is sent ahead
//! comes into play when the move before it gets its reply. A move is judged when it meets another move before the end of
//! its window; at the end of its window it is void. The window does not include its last instant: otherwise the result
//! of two events at that instant would depend on which event the server processes first.
//!
//! The pair is dissolved when a move is void or a partner leaves. If the remaining partner has a move in play, that move
//! then goes to the lobby with the time that it has left. A close or a half-close does not withdraw a move in play, since
//! the server cannot distinguish either from a client that waits for the reply. A reset withdraws it. In a drain, a move
//! is void if no other move meets it within a short grace period (50 ms).
//!
//! The server reveals nothing about a move to any player before the move is judged.
//!
//! In the tables, A, B and C are players, the window is 30 s and times are in seconds. *Leaves* means a close with no move
//! in play; *judged* means a draw, a win or a loss. Each row also holds with A and B exchanged. The rows of the first
//! table hold both for partners and for two players who have not met before. `tests/rule.rs` plays every row. No row has a
//! reset at 30, since the reset and the end of the window would then be at the same instant, in either order.
//!
//! | A                                | B                                | A gets           | B gets           |
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
//! In the next table A and B are partners, and C has no partner:
//!
//! | A          | B                            | C               | A gets           | B gets          | C gets           |
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
