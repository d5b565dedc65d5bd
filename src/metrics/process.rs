//! The process's own metrics, under the names that all Prometheus clients use, as far as `/proc`
//! can be read.

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use super::exposition::{Exposition, Kind};

/// The fields of `/proc/self/stat` that are of use, in clock ticks and pages (proc(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    cpu: u64,
    started: u64,
    resident: u64,
}

/// Writes what can be told.
pub(super) fn write(text: &mut Exposition) {
    let ticks = clock_ticks_per_second().max(1);
    let seconds = |of: u64| of as f64 / ticks as f64;
    if let Some(stat) = read("/proc/self/stat").and_then(|text| stat(&text)) {
        text.single(
            "process_cpu_seconds_total",
            Kind::Counter,
            "CPU time used, in user and system mode.",
            seconds(stat.cpu),
        );
        text.single(
            "process_resident_memory_bytes",
            Kind::Gauge,
            "Resident memory.",
            stat.resident.saturating_mul(page_size() as u64),
        );
        if let Some(boot) = read("/proc/stat").and_then(|text| boot_time(&text)) {
            text.single(
                "process_start_time_seconds",
                Kind::Gauge,
                "When the process was started, in Unix time.",
                boot as f64 + seconds(stat.started),
            );
        }
    }
    // One of them is the directory that is being read.
    if let Ok(descriptors) = fs::read_dir("/proc/self/fd") {
        let open = descriptors.count().saturating_sub(1);
        text.single("process_open_fds", Kind::Gauge, "Open file descriptors.", open);
    }
    if let Some(most) = getrlimit(Resource::Nofile).current {
        text.single("process_max_fds", Kind::Gauge, "File descriptors that may be open.", most);
    }
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// The second field is the command's name in parentheses, and may hold anything; the third follows
/// its last parenthesis.
fn stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // Numbered from 1 in the manual.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Stat { cpu: field(14)? + field(15)?, started: field(22)?, resident: field(24)? })
}

fn boot_time(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_any_name() {
        let line = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 30 12 0 0 20 0 4 0 12345 99 777 0 0";
        assert_eq!(stat(line), Some(Stat { cpu: 42, started: 12_345, resident: 777 }));
        assert_eq!(stat("7 (a) S 1 7"), None);
        assert_eq!(stat(""), None);
        assert_eq!(boot_time("cpu 1 2\nbtime 1736937000\nprocesses 9\n"), Some(1_736_937_000));
    }

    #[test]
    fn this_process_has_memory_and_descriptors() {
        let mut text = Exposition::default();
        write(&mut text);
        let text = text.finish();
        let value = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        assert!(value("process_start_time_seconds") > 1.7e9);
        assert!(value("process_cpu_seconds_total") >= 0.0);
    }
}
