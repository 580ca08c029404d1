//! A program in Python that speaks a wire as PROTOCOL.md has it, and checks the server that it is told of.

use std::process::Command;

/// Runs `program`, which says `all right` if it finds nothing wrong.
pub fn run(program: &str, arguments: &[&str]) {
    match Command::new("python3").arg(program).args(arguments).output() {
        Ok(output) => {
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(String::from_utf8_lossy(&output.stdout), "all right\n", "{errors}");
        }
        Err(error) => println!("not run: python3: {error}"),
    }
}
