//! Lowers the connection limit to fit the open-file limit.
//!
//! It depends on the limits in `config` and on the two constants that reserve files.

use std::io;

use rustix::process::{Resource, getrlimit};

use crate::server::config::sections::ConnectionLimits;
use crate::server::listener::admission::MAX_CONCURRENT_REJECTIONS;
use crate::server::observe::admin;

/// Files that a server needs besides its sockets: standard streams, the runtime's, and a few spare ones.
const RESERVED_FDS: usize = 30;

/// Lowers `limits.max_connections` to fit the open-file limit (`RLIMIT_NOFILE`) beside this many listening sockets, and logs
/// a warning if it does.
///
/// # Errors
///
/// Fails if there is room for 0 connections.
pub(crate) fn clamp_to_nofile(limits: &mut ConnectionLimits, listening: usize) -> io::Result<()> {
    let files = getrlimit(Resource::Nofile).current.map_or(usize::MAX, |files| files.try_into().unwrap_or(usize::MAX));
    let reserved = RESERVED_FDS + listening + MAX_CONCURRENT_REJECTIONS + admin::MAX_CONCURRENT_REQUESTS;
    let configured = limits.max_connections;
    match files.saturating_sub(reserved) {
        0 => Err(io::Error::other(format!(
            "the open-file limit (ulimit -n is {files}) leaves room for 0 connections: the server itself needs {reserved}; \
             raise it (ulimit -n, LimitNOFILE=, --ulimit nofile=)"
        ))),
        room if room < configured.as_usize() => {
            tracing::warn!(
                configured = configured.get(),
                effective = room,
                open_files = files,
                "max_connections lowered to fit the open-file limit"
            );
            limits.max_connections = configured.clamp_max(room);
            Ok(())
        }
        _ => Ok(()),
    }
}
