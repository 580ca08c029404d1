//! The arithmetic of the power service on doubles, in the order that the protocol fixes.

use proto::wire::number::Number;
use proto::wire::power::{ErrorReply, Operation, Reply, Request};

/// Computes the reply to a request: the number, or the error reply `RANGE`.
///
/// Every product is rounded separately, ((x·x)·x)·x and not `powi`, so that all implementations of the protocol get the same
/// bits. A result that underflows is 0.0; one that overflows gets the error reply.
#[expect(clippy::missing_errors_doc, reason = "an error reply is a reply, and the first line names it")]
pub fn reply(request: Request) -> Reply {
    let Request { operation, operand } = request;
    let x = operand.value();
    let result = match operation {
        Operation::Square => x * x,
        Operation::Cube => x * x * x,
        Operation::Fourth => x * x * x * x,
        Operation::Echo => x,
    };
    Number::new(result).ok_or_else(|| ErrorReply::result_out_of_range(operation, operand))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::wire::power::ErrorCode;

    fn reply_to(request: &str) -> Result<String, ErrorCode> {
        let request = Request::parse(request.as_bytes()).unwrap();
        reply(request).map(|number| number.to_string()).map_err(|error_reply| error_reply.code)
    }

    #[test]
    fn each_operation_multiplies_from_the_left() {
        for (request, expected) in [
            ("a2", "4.0"),
            ("b2", "8.0"),
            ("c2", "16.0"),
            ("d2", "2.0"),
            ("a-3", "9.0"),
            ("b-3", "-27.0"),
            // (0.1·0.1)·0.1 and ((0.1·0.1)·0.1)·0.1 as Python computes them. The doubles nearest to 0.1³ and 0.1⁴ differ.
            ("b0.1", "0.0010000000000000002"),
            ("c0.1", "0.00010000000000000003"),
            ("d-0", "-0.0"),
            ("a-0", "0.0"),
            ("b-0", "-0.0"),
        ] {
            assert_eq!(reply_to(request), Ok(expected.to_owned()), "{request}");
        }
    }

    #[test]
    fn an_underflow_is_zero_and_an_overflow_is_an_error() {
        assert_eq!(reply_to("a1e-200"), Ok("0.0".to_owned()));
        assert_eq!(reply_to("b-1e-200"), Ok("-0.0".to_owned()));
        assert_eq!(reply_to("a1e154"), Ok("1e+308".to_owned()));
        for beyond in ["a1e155", "b1e103", "b-1e103", "c1e78"] {
            assert_eq!(reply_to(beyond), Err(ErrorCode::Range), "{beyond}");
        }
    }
}
