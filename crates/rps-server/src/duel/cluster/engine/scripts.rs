//! The Lua scripts of the engine, and how to call them.
//!
//! It depends on the `redis` crate. All scripts use one key, so that a cluster accepts them, and only GET, SET with PX
//! and DEL, which Redis has since 6.2 and Valkey since its first version.

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, FromRedisValue, Pipeline, RedisResult, Script, ServerErrorKind};

/// Takes the ticket of another process: deletes and returns it. Otherwise, stores a ticket and returns nil. A value of
/// another type and a text that is not a ticket are overwritten; so is a ticket of the same process.
///
/// Arguments: the process, the text of the new ticket, and the milliseconds until it expires.
pub(super) const ASK: &str = r"local held = redis.pcall('GET', KEYS[1])
if type(held) == 'string' then
  local process, nonce, address = string.match(held, '^1 ([0-9a-f]+) ([0-9a-f]+) ([!-~]+)$')
  if process and #process == 32 and #nonce == 32 and #address <= 300 and process ~= ARGV[1] then
    redis.call('DEL', KEYS[1])
    return held
  end
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return nil";

/// Deletes a ticket if the key holds exactly this text. Returns the number of deleted keys.
///
/// Argument: the text of the ticket.
pub(super) const WITHDRAW: &str = r"if redis.pcall('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0";

/// Checks that a script can write the key on this server: that the server is not a replica, has the key's slot, accepts
/// writes, and allows them to this user. The value is not a ticket, replaces no other value, and expires at once.
pub(super) const CHECK: &str = "redis.call('SET', KEYS[1], '-', 'NX', 'PX', 1)";

/// A script and its SHA-1.
#[derive(Debug)]
pub(super) struct Program {
    text: &'static str,
    hash: String,
}

impl Program {
    pub(super) fn new(text: &'static str) -> Self {
        Self { text, hash: Script::new(text).get_hash().to_owned() }
    }

    /// Runs the script: by its hash, and with its text if the server does not know it. With `asking`, a cluster node
    /// that imports the key's slot accepts it.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        connection: &mut MultiplexedConnection,
        asking: bool,
        key: &str,
        arguments: &[&str],
    ) -> RedisResult<T> {
        let command = |name, script: &str| {
            let mut command = redis::cmd(name);
            command.arg(script).arg(1).arg(key).arg(arguments);
            command
        };
        match send(connection, asking, command("EVALSHA", &self.hash)).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                send(connection, asking, command("EVAL", self.text)).await
            }
            result => result,
        }
    }
}

async fn send<T: FromRedisValue>(connection: &mut MultiplexedConnection, asking: bool, command: Cmd) -> RedisResult<T> {
    if !asking {
        return command.query_async(connection).await;
    }
    let mut pipeline = Pipeline::with_capacity(2);
    pipeline.cmd("ASKING").ignore().add_command(command);
    let (value,) = pipeline.query_async(connection).await?;
    Ok(value)
}
