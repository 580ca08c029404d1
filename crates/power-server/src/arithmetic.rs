//! What is answered: pure arithmetic on doubles, in the order that the wire format fixes.

use proto::wire::number::Number;
use proto::wire::power::{ErrorReply, Operation, Reply, Request};

/// The answer to a request: the number, or the refusal `RANGE`.
///
/// Every product is rounded on its own, ((x·x)·x)·x and not `powi`, so that each implementation of the wire gets the
/// same bits. A result too small for a double is 0.0, and an answer; one too large is refused.
#[expect(clippy::missing_errors_doc, reason = "a refusal is an answer, and the first line tells of it")]
pub fn answer(request: Request) -> Reply {
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

    fn asked(request: &str) -> Result<String, ErrorCode> {
        let request = Request::parse(request.as_bytes()).unwrap();
        answer(request).map(|number| number.to_string()).map_err(|refusal| refusal.code)
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
            // (0.1·0.1)·0.1 and ((0.1·0.1)·0.1)·0.1 as Python computes them; the nearest doubles to 0.1³ and 0.1⁴ are
            // others.
            ("b0.1", "0.0010000000000000002"),
            ("c0.1", "0.00010000000000000003"),
            ("d-0", "-0.0"),
            ("a-0", "0.0"),
            ("b-0", "-0.0"),
        ] {
            assert_eq!(asked(request), Ok(expected.to_owned()), "{request}");
        }
    }

    #[test]
    fn too_small_is_zero_and_too_large_is_refused() {
        assert_eq!(asked("a1e-200"), Ok("0.0".to_owned()));
        assert_eq!(asked("b-1e-200"), Ok("-0.0".to_owned()));
        assert_eq!(asked("a1e154"), Ok("1e+308".to_owned()));
        for beyond in ["a1e155", "b1e103", "b-1e103", "c1e78"] {
            assert_eq!(asked(beyond), Err(ErrorCode::Range), "{beyond}");
        }
    }
}
