//! The default number of worker threads.
//!
//! It depends on no other module.

use std::fs;
use std::num::NonZero;
use std::path::Path;
use std::thread::available_parallelism;

use procfs::ProcessCGroup;
use procfs::process::Process;
use rustix::process::{Resource, getrlimit};

/// What to do if a thread cannot be started.
pub(crate) const TASKS_ADVICE: &str = "raise the limit on tasks (TasksMax=, pids_limit, ulimit -u)";

/// Tasks that a server needs besides its workers: its main, log, admin and reload threads, one that lists connections,
/// and a few for other processes of its container or unit, such as a health check.
const RESERVED_TASKS: usize = 8;

/// The number of workers that one accept loop can keep busy with short connections, rounded down. The loop takes about a
/// ninth of the CPU time of a short connection, most of it in accept4(2) (samples of `perf`).
const WORKERS_PER_ACCEPT_LOOP: usize = 8;

/// Returns the number of worker threads for this value of the key `workers`.
pub(crate) fn workers_of(configured: usize) -> usize {
    if configured == 0 { default_workers() } else { configured }
}

/// Returns the number of accept loops of each TCP endpoint, at least 1.
pub(crate) fn accept_loops(workers: usize) -> usize {
    workers.div_ceil(WORKERS_PER_ACCEPT_LOOP)
}

/// Returns the number of cores, or fewer if the limits on tasks leave less room; at least 1.
///
/// The number of cores respects the affinity mask and the CPU quota of the cgroup.
fn default_workers() -> usize {
    let cores = available_parallelism().map_or(1, NonZero::get);
    let cgroups = Process::myself().and_then(|process| process.cgroups()).map_or(Vec::new(), |cgroups| cgroups.0);
    // A limit that cannot be read, as without `/proc` or `/sys`, counts as unlimited.
    let limits = [max_cgroup_tasks(Path::new("/sys/fs/cgroup"), &cgroups), max_user_tasks()];
    let tasks = limits.into_iter().flatten().min().unwrap_or(usize::MAX);
    let workers = workers_within(tasks, cores);
    if workers < cores {
        tracing::info!(cores, workers, tasks, "worker threads lowered to fit the limit on tasks");
    }
    workers
}

fn workers_within(tasks: usize, cores: usize) -> usize {
    tasks.saturating_sub(RESERVED_TASKS).clamp(1, cores)
}

/// Returns `RLIMIT_NPROC`. It applies to the user, whose other processes count too (getrlimit(2)).
fn max_user_tasks() -> Option<usize> {
    getrlimit(Resource::Nproc).current?.try_into().ok()
}

/// Returns the smallest `pids.max` of the process's cgroups and those above them (cgroups(7)).
///
/// `root` is where the cgroups are mounted. In a container, the path of a cgroup may be that on the host, which does not
/// exist below `root`; then only `root` itself has the file.
fn max_cgroup_tasks(root: &Path, cgroups: &[ProcessCGroup]) -> Option<usize> {
    let limits = cgroups.iter().filter_map(|cgroup| {
        let mount = match cgroup.hierarchy {
            // Version 2.
            0 => root.to_owned(),
            _ if cgroup.controllers.iter().any(|controller| controller == "pids") => root.join("pids"),
            _ => return None,
        };
        let folder = mount.join(cgroup.pathname.trim_start_matches('/'));
        let folders = folder.ancestors().take_while(|folder| folder.starts_with(&mount));
        // "max" means unlimited, and does not parse.
        folders.filter_map(|folder| fs::read_to_string(folder.join("pids.max")).ok()?.trim().parse().ok()).min()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use procfs::{FromRead, ProcessCGroups};

    #[test]
    fn the_workers_are_the_cores_unless_the_limit_leaves_fewer() {
        for (tasks, cores, workers) in
            [(usize::MAX, 4, 4), (64, 4, 4), (64, 56, 56), (64, 57, 56), (64, 128, 56), (9, 4, 1), (8, 4, 1), (0, 4, 1)]
        {
            assert_eq!(workers_within(tasks, cores), workers, "{tasks} tasks, {cores} cores");
        }
        assert!(default_workers() >= 1);
    }

    #[test]
    fn each_eight_workers_have_an_accept_loop() {
        for (workers, loops) in [(1, 1), (2, 1), (8, 1), (9, 2), (16, 2), (17, 3), (64, 8)] {
            assert_eq!(accept_loops(workers), loops, "{workers} workers");
        }
    }

    #[test]
    fn the_limit_of_a_cgroup_is_the_smallest_on_its_path() {
        let root = tempfile::tempdir().unwrap();
        let limit = |path: &str, text: &str| {
            let folder = root.path().join(path);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("pids.max"), text).unwrap();
        };
        let limit_of =
            |cgroups: &str| max_cgroup_tasks(root.path(), &ProcessCGroups::from_read(cgroups.as_bytes()).unwrap().0);
        assert_eq!(limit_of("0::/system.slice/power.service\n"), None, "nothing is mounted");

        // Version 2. The root of the host has no such file.
        limit("system.slice", "500\n");
        limit("system.slice/power.service", "64\n");
        limit("system.slice/other.service", "max\n");
        limit("user.slice", "max\n");
        for (cgroup, expected) in [
            ("/system.slice/power.service", Some(64)),
            ("/system.slice/other.service", Some(500)),
            ("/system.slice/power.service/without/the/controller", Some(64)),
            ("/user.slice", None),
            ("/", None),
        ] {
            assert_eq!(limit_of(&format!("0::{cgroup}\n")), expected, "{cgroup}");
        }

        // Version 1, beside a version 2 that has no controller.
        limit("pids", "max\n");
        limit("pids/docker/0123", "32\n");
        assert_eq!(limit_of("9:name=systemd:/x\n8:pids:/docker/0123\n4:memory:/docker/0123\n0::/x\n"), Some(32));

        // A container: the files at the root are its own, and the path is `/`, that on the host, or one outside.
        limit("", "48\n");
        limit("pids", "24\n");
        for (cgroups, expected) in [
            ("0::/\n", 48),
            ("0::/../other\n", 48),
            ("0::/docker/4567\n", 48),
            ("8:pids:/\n", 24),
            ("8:pids:/docker/4567\n0::/docker/4567\n", 24),
        ] {
            assert_eq!(limit_of(cgroups), Some(expected), "{cgroups}");
        }
    }
}
