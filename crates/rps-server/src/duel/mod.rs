//! The duel: two players, and a window in which both have to move.
//!
//! - [`rounds`]: the rule below as a state machine, without sockets, clocks or tasks;
//! - [`replica`]: the rounds, and the play with players of other replicas, as a state machine;
//! - [`cluster`]: the engine and the links of other replicas;
//! - [`hub`]: shares the state machine between connections and delivers its replies to them;
//! - [`handler`]: the handler of one connection.
//!
//! # The rule
//!
//! A round is judged if both players move within the window, whose length is `duel.window`.
//!
//! A player joins by connecting. A player has one move in play at a time. A move comes into play when the server reads
//! it. A move that is sent ahead comes into play when the move before it gets its reply. A move is judged when it meets
//! another move before the end of its window; at the end of its window it is void.
//!
//! A move of a player without a partner goes to the lobby. A move of a player with a partner first waits for the
//! partner's move alone, for a tenth of the window: its *patience*. Then the partner is late, and the move goes to the
//! lobby too. There the partner's move can still meet it.
//!
//! Two moves in the lobby meet at once, so at most one move waits there. Their players leave the partners that they
//! had, and become partners. Partners stay partners from round to round: each move is judged against the partner's next
//! move, unless the partner is late and another move comes first.
//!
//! A window or a patience does not include its last instant: otherwise the result of two events at that instant would
//! depend on which event the server processes first. So if the partner moves at the end of the patience while another
//! move waits in the lobby, the other move is met.
//!
//! The pair is also dissolved when a move is void or a partner leaves. If the remaining partner has a move in play,
//! that move then goes to the lobby with the time that it has left. A close or a half-close does not withdraw a move in
//! play, since the server cannot distinguish either from a client that waits for the reply. A reset withdraws it. In a
//! drain, a move is void if no other move meets it within a short grace period (50 ms).
//!
//! The server reveals nothing about a move to any player before the move is judged.
//!
//! # What a silent partner costs
//!
//! Connections are free, so a player can always have a move in the lobby, fall silent once it is met, and go on with
//! another connection. No record of a player can help, since accomplices can make any record. So the rule bounds the
//! cost:
//!
//! - While another player's move waits in the lobby, a round takes at most a tenth of a window.
//! - A move is void only if no other move was in the lobby at any time in the last nine tenths of its window, or in a
//!   drain.
//! - No other player separates partners who move within a tenth of a window of each other.
//!
//! So of the players who move without pause, at most one at a time waits longer than a tenth of a window: the odd one
//! out, when all others have partners who move.
//!
//! # Tables
//!
//! In the tables, A, B, C and D are players, the window is 30 s, so the patience is 3 s, and times are in seconds.
//! *Leaves* means a close with no move in play; *judged* means a draw, a win or a loss. Each row also holds with A and
//! B exchanged. The rows of the first table hold both for partners and for two players who have not met before.
//! `tests/rule.rs` plays every row. No row has a reset at the end of a window or of a patience, or a third player's
//! move at the end of a patience: the two events would be at the same instant, in either order.
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
//! | A                       | B            | C               | A gets           | B gets        | C gets           |
//! |-------------------------|--------------|-----------------|------------------|---------------|------------------|
//! | moves at 0              | is silent    | moves at 1      | judged at 3      | nothing       | judged at 3      |
//! | moves at 0              | is silent    | moves at 5      | judged at 5      | nothing       | judged at 5      |
//! | moves at 0              | is silent    | moves at 29.999 | judged at 29.999 | nothing       | judged at 29.999 |
//! | moves at 0              | is silent    | moves at 30     | void at 30       | nothing       | void at 60       |
//! | moves at 26.999         | is silent    | moves at 0      | judged at 29.999 | nothing       | judged at 29.999 |
//! | moves at 27             | is silent    | moves at 0      | void at 57       | nothing       | void at 30       |
//! | moves at 0              | moves at 2.9 | moves at 1      | judged at 2.9    | judged at 2.9 | void at 31       |
//! | moves at 0              | moves at 3   | moves at 1      | judged at 3      | void at 33    | judged at 3      |
//! | moves at 0              | moves at 5   | moves at 6      | judged at 5      | judged at 5   | void at 36       |
//! | moves at 0              | moves at 6   | moves at 5      | judged at 5      | void at 36    | judged at 5      |
//! | moves at 0              | moves at 30  | moves at 5      | judged at 5      | void at 60    | judged at 5      |
//! | moves at 0, 6           | moves at 7   | moves at 5, 8   | judged at 5, 8   | void at 37    | judged at 5, 8   |
//! | moves at 0, 6           | moves at 7   | moves at 5      | judged at 5, 9   | judged at 9   | judged at 5      |
//! | moves at 0              | leaves at 2  | moves at 1      | judged at 2      | nothing       | judged at 2      |
//! | moves at 1              | leaves at 2  | moves at 0      | judged at 2      | nothing       | judged at 2      |
//! | moves at 0              | leaves at 2  | moves at 29.999 | judged at 29.999 | nothing       | judged at 29.999 |
//! | moves at 0              | leaves at 2  | moves at 30     | void at 30       | nothing       | void at 60       |
//! | moves at 0              | leaves at 3  | moves at 1      | judged at 3      | nothing       | judged at 3      |
//! | moves at 0              | leaves at 4  | moves at 5      | judged at 5      | nothing       | judged at 5      |
//! | moves at 28             | leaves at 29 | moves at 0      | judged at 29     | nothing       | judged at 29     |
//! | moves at 28             | leaves at 30 | moves at 0      | void at 58       | nothing       | void at 30       |
//! | moves at 0, resets at 2 | is silent    | moves at 1      | nothing          | nothing       | void at 31       |
//! | moves at 0, resets at 4 | is silent    | moves at 5      | nothing          | nothing       | void at 35       |
//! | moves at 0, resets at 4 | moves at 5   | moves at 6      | nothing          | judged at 6   | judged at 6      |
//!
//! In the last table A and B are partners, and so are C and D:
//!
//! | A          | B           | C           | D           | A gets      | B gets      | C gets      | D gets      |
//! |------------|-------------|-------------|-------------|-------------|-------------|-------------|-------------|
//! | moves at 0 | is silent   | moves at 1  | is silent   | judged at 4 | nothing     | judged at 4 | nothing     |
//! | moves at 0 | is silent   | moves at 27 | is silent   | void at 30  | nothing     | void at 57  | nothing     |
//! | moves at 0 | moves at 3  | moves at 1  | is silent   | judged at 3 | judged at 3 | void at 31  | nothing     |
//! | moves at 0 | moves at 5  | moves at 1  | is silent   | judged at 4 | void at 35  | judged at 4 | nothing     |
//! | moves at 0 | moves at 5  | moves at 1  | moves at 6  | judged at 4 | judged at 6 | judged at 4 | judged at 6 |
//! | moves at 0 | is silent   | moves at 1  | moves at 2  | void at 30  | nothing     | judged at 2 | judged at 2 |
//! | moves at 0 | leaves at 2 | moves at 1  | is silent   | judged at 4 | nothing     | judged at 4 | nothing     |
//! | moves at 0 | leaves at 2 | moves at 1  | leaves at 3 | judged at 3 | nothing     | judged at 3 | nothing     |

pub mod cluster;
pub mod handler;
pub mod hub;
pub mod replica;
pub mod rounds;
