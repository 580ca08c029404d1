//! Existing Python programs on asyncio: each sends a request in one write and takes one read for the reply.

mod support;

use proto::testing::python;
use proto::testing::tls::TestTls;
use support::{program, start};

const CLIENT: &str = r#"
import asyncio, sys

async def request(port, text):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text.encode())
    await writer.drain()
    reply = (await reader.read(100)).decode()
    writer.close()
    await writer.wait_closed()
    return reply

async def main(port):
    for number in [2, 0.1, -7, 1e16, 12345.678, 5e-324, 1e-5]:
        for letter, power in ("a", number * number), ("b", number * number * number), ("c", number * number * number * number):
            reply = await request(port, f"{letter}{number}")
            assert reply == f"d{float(power)}", (letter, number, reply, power)
    replies = await asyncio.gather(*(request(port, f"a{number}") for number in range(200)))
    assert replies == [f"d{float(number) ** 2}" for number in range(200)], replies
    assert (await request(port, "x5")).startswith("eBADOP ")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number in range(100):
        writer.write(f"a{number}".encode())
        reply = await reader.read(100)
        assert reply == f"d{float(number * number)}".encode(), reply
    writer.close()
    print("all right")

asyncio.run(asyncio.wait_for(main(int(sys.argv[1])), 60))
"#;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs python3: run with -- --ignored python"]
async fn existing_python_programs_keep_working_unchanged() {
    let server = start(&[]);
    let port = server.address.port().to_string();
    tokio::task::spawn_blocking(move || python::run(&["-c", CLIENT], &[&port])).await.unwrap();
}

#[test]
#[ignore = "needs python3: run with -- --ignored python"]
fn existing_python_programs_keep_working_over_tls() {
    let tls = TestTls::new();
    let server = program::start(&tls.arguments(&["--listen", "tls://127.0.0.1:0"]));
    let port = server.address("power").port().to_string();
    let client = format!("{}{CLIENT}", python::OVER_TLS);
    python::run(&["-c", &client], &[&port, tls.authority.certificate.to_str().unwrap()]);
    server.stop();
}
