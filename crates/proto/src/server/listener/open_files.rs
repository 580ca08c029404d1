//! How many connections the limit of open files leaves room for.

use std::io;

use rustix::process::{Resource, getrlimit};

use crate::server::config::sections::ConnectionLimits;
use crate::server::listener::admission::REJECTIONS_AT_ONCE;
use crate::server::observe::admin;

/// Files that a server needs beside its connections: standard streams, listeners, the runtime's own, a few to spare.
const FILES_BESIDE: usize = 32;

/// Lowers `limits.max_connections` to what the limit on open files (`RLIMIT_NOFILE`) leaves room for, with a warning.
///
/// # Errors
///
/// If it leaves room for none.
pub(crate) fn fit(limits: &mut ConnectionLimits) -> io::Result<()> {
    let files = getrlimit(Resource::Nofile).current.map_or(usize::MAX, |files| files.try_into().unwrap_or(usize::MAX));
    let beside = FILES_BESIDE + REJECTIONS_AT_ONCE + admin::REQUESTS_AT_ONCE;
    let wanted = limits.max_connections;
    match files.saturating_sub(beside) {
        0 => Err(io::Error::other(format!(
            "the limit of {files} open files leaves none for connections: {beside} are needed beside them; \
             raise it (ulimit -n, LimitNOFILE=, --ulimit nofile=)"
        ))),
        room if room < wanted.size() => {
            tracing::warn!(
                wanted = wanted.get(),
                fits = room,
                open_files = files,
                "limits.max_connections is lowered to what the limit of open files allows"
            );
            limits.max_connections = wanted.at_most(room);
            Ok(())
        }
        _ => Ok(()),
    }
}
