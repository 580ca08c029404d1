//! The open-file limit of this process.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the soft limit to the hard limit, and returns it; `None` is no limit.
pub(crate) fn raise_open_files() -> Option<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // On an error the limit stays the same.
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current
}
