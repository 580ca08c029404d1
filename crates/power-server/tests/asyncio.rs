//! Programs written in Python with asyncio, as they exist: one write, and whatever one read returns.

mod support;

use support::start;

const CLIENT: &str = r#"
import asyncio, sys

async def ask(port, request):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request.encode())
    await writer.drain()
    reply = (await reader.read(100)).decode()
    writer.close()
    await writer.wait_closed()
    return reply

async def main(port):
    for number in [2, 0.1, -7, 1e16, 12345.678, 5e-324, 1e-5]:
        for letter, power in ("a", number * number), ("b", number * number * number), ("c", number * number * number * number):
            reply = await ask(port, f"{letter}{number}")
            assert reply == f"d{float(power)}", (letter, number, reply, power)
    replies = await asyncio.gather(*(ask(port, f"a{number}") for number in range(200)))
    assert replies == [f"d{float(number) ** 2}" for number in range(200)], replies
    assert (await ask(port, "x5")).startswith("eBADOP ")
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
async fn existing_programs_keep_working_unchanged() {
    let server = start(&[]);
    let port = server.address.port().to_string();
    let ran =
        tokio::task::spawn_blocking(move || std::process::Command::new("python3").args(["-c", CLIENT, &port]).output());
    match ran.await.unwrap() {
        Ok(output) => {
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(String::from_utf8_lossy(&output.stdout), "all right\n", "{stderr}");
        }
        Err(error) => println!("not run: python3: {error}"),
    }
}
