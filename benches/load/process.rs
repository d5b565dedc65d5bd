//! Child processes and what the kernel says about them.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;
use crate::servers::Role;

/// `USER_HZ`: what Linux counts CPU time in for user space, the same on all machines of today.
const TICKS_A_SECOND: u64 = 100;

/// What a child left that has ended by itself.
pub(crate) struct Ended {
    /// What it printed; its first bytes, if that was much.
    pub(crate) said: String,
    /// How long it took.
    pub(crate) took: Duration,
    /// The most it had in memory, as last seen before it ended.
    pub(crate) peak_mib: f64,
}

/// A child that is killed with its owner.
pub(crate) struct Process(Child);

impl Process {
    /// Owns `child`.
    pub(crate) fn new(child: Child) -> Self {
        Self(child)
    }

    /// Ends it at once, as a crash would, and waits until it is gone.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn terminate(&mut self) -> Result<()> {
        // The shell's own `kill`: the standard library sends no signal but SIGKILL.
        let kill = format!("kill -TERM {}", self.0.id());
        Command::new("sh").args(["-c", &kill]).status()?;
        let status = self.0.wait()?;
        if status.success() { Ok(()) } else { Err(format!("it ended with {status}").into()) }
    }

    /// Whether it has ended by itself, and how.
    pub(crate) fn ended(&mut self) -> Result<Option<std::process::ExitStatus>> {
        Ok(self.0.try_wait()?)
    }

    /// Waits until it has ended in order; `output` is the file that it prints to.
    pub(crate) fn end(&mut self, output: &Path) -> Result<Ended> {
        const LOOK_EVERY: Duration = Duration::from_millis(2);
        const SAID: u64 = 64 * 1024;
        let begun = Instant::now();
        let mut peak_mib = 0f64;
        let status = loop {
            // An error is a process that has just ended, and has no memory any more.
            peak_mib = peak_mib.max(self.memory_mib("VmHWM").unwrap_or(0.0));
            match self.ended()? {
                Some(status) => break status,
                None => std::thread::park_timeout(LOOK_EVERY),
            }
        };
        let took = begun.elapsed();
        let mut said = String::new();
        File::open(output)?.take(SAID).read_to_string(&mut said)?;
        if status.success() {
            Ok(Ended { said, took, peak_mib })
        } else {
            Err(format!("it ended with {status}: {said}").into())
        }
    }

    /// CPU time it has used so far, user and system, all threads.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        cpu_time_of(&self.0.id().to_string())
    }

    /// A line of `/proc/PID/status` that is given in KiB, such as `VmRSS`; in MiB.
    pub(crate) fn memory_mib(&self, line: &str) -> Result<f64> {
        memory_mib_of(&self.0.id().to_string(), line)
    }
}

/// The same line of this process.
pub(crate) fn own_memory_mib(line: &str) -> Result<f64> {
    memory_mib_of("self", line)
}

fn memory_mib_of(process: &str, line: &str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let kib = status
        .lines()
        .find_map(|l| l.strip_prefix(line)?.strip_prefix(':'))
        .and_then(|value| value.split_whitespace().next())
        .ok_or_else(|| format!("no {line} in /proc/PID/status"))?;
    Ok(kib.parse::<f64>()? / 1024.0)
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.kill();
    }
}

/// CPU time that this process, the load generator, has used so far.
pub(crate) fn own_cpu_time() -> Result<Duration> {
    cpu_time_of("self")
}

fn cpu_time_of(process: &str) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // Fields are counted after the command's closing parenthesis: utime and stime.
    let (_, rest) = stat.rsplit_once(')').ok_or("unreadable /proc/PID/stat")?;
    let ticks = rest.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks = ticks.sum::<std::result::Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 1000 / TICKS_A_SECOND))
}

/// Starts this binary again as one of the servers and waits for its port.
pub(crate) fn start_role(role: Role, file: Option<&Path>) -> Result<(Process, SocketAddr)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["serve", role.as_str()]);
    if let Some(file) = file {
        command.arg("--file").arg(file);
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take();
    let process = Process::new(child);
    let mut line = String::new();
    BufReader::new(stdout.ok_or("no standard output")?).read_line(&mut line)?;
    Ok((process, SocketAddr::from((Ipv4Addr::LOCALHOST, line.trim().parse()?))))
}
