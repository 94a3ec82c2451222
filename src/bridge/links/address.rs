//! The engine's tokens: which link a descriptor belongs to, and which part of it is.

use crate::engine::Token;
use crate::wire::v5::MAX_BUSES;

/// The numbers of a link's descriptors: its buses, and one more for its stream.
const PARTS: usize = MAX_BUSES + 1;

/// The token of a link's stream.
pub fn stream(link: usize) -> Token {
    Token(link * PARTS + MAX_BUSES)
}

/// The token of one of a link's bus sockets.
pub fn bus(link: usize, bus: usize) -> Token {
    Token(link * PARTS + bus)
}

/// The link that a token belongs to, and the bus; for its stream, a bus that there is not.
pub fn resolve(token: Token) -> (usize, usize) {
    (token.0 / PARTS, token.0 % PARTS)
}
