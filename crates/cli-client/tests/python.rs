//! The client against typical existing servers: asyncio programs that reply to each read.

mod support;

use std::process::{Command, Stdio};

use proto::testing::process::ChildProcess;
use support::run;

/// Both servers, written as typical asyncio programs. Prints their two ports, and ends with its standard input.
const SERVERS: &str = r#"
import asyncio, os, sys, threading

OPERATIONS = {"a": lambda x: x * x, "b": lambda x: x * x * x, "c": lambda x: x * x * x * x, "d": lambda x: x}

async def power(reader, writer):
    while True:
        data = await reader.read(100)
        if not data:
            break
        text = data.decode()
        writer.write(("d" + repr(OPERATIONS[text[0]](float(text[1:])))).encode())
        await writer.drain()
    writer.close()

async def rps(reader, writer):
    # This house always shows rock.
    while True:
        data = await reader.read(1)
        if not data:
            break
        writer.write({b"1": b"z", b"2": b"x", b"3": b"y"}[data])
        await writer.drain()
    writer.close()

async def main():
    servers = [await asyncio.start_server(program, "127.0.0.1", 0) for program in (power, rps)]
    print(*(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))

threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
asyncio.run(main())
"#;

/// Starts the program, and returns the addresses of power and rps.
fn start() -> (ChildProcess, String, String) {
    let mut command = Command::new("python3");
    let python = ChildProcess::start(command.args(["-c", SERVERS]).stdin(Stdio::piped()).stdout(Stdio::piped()));
    let (power, rps) = python.stdout.wait_for("two ports", |printed| {
        let (power, rps) = printed.strip_suffix('\n')?.split_once(' ')?;
        Some((format!("127.0.0.1:{power}"), format!("127.0.0.1:{rps}")))
    });
    (python, power, rps)
}

#[test]
#[ignore = "needs python3: run with -- --ignored python"]
fn typical_asyncio_programs_in_python_work_with_the_client() {
    let (_python, power, rps) = start();
    for flags in ["", "--framing bare"] {
        run(&format!("power square 2 -3 0.5 {flags} --addr {power}")).assert_success("4.0\n9.0\n0.25\n");
        run(&format!("power fourth 10 {flags} --addr {power}")).assert_success("10000.0\n");
        run(&format!("power echo 1e-7 1e16 {flags} --addr {power}")).assert_success("1e-07\n1e+16\n");
    }
    run(&format!("rps throw 1 2 3 石头 --addr {rps}"))
        .assert_success("scissors lose\nrock draw\npaper win\nrock draw\n");
    run(&format!("probe power --addr {power}")).assert_exit_code(0);
    run(&format!("probe rps --addr {rps}")).assert_exit_code(0);
}
