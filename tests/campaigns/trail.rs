//! The audit trail through everything that a campaign does to its gateway: it stays sound, it has what
//! every checkpoint vouches for that was kept elsewhere, and who was refused a while before the end is
//! in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::gateway::binary;
use crate::ledger::Ledger;
use crate::senders::Sender;

/// What was recorded this long ago is on stable storage: a second, on a machine that does nothing else.
const RECORDED_AFTER: Duration = Duration::from_secs(4);

/// The trail of one store, looked at while no gateway runs on it.
pub(crate) struct Trail {
    store: PathBuf,
    /// Where the gateway appends its checkpoints: on another disk than the store.
    kept: PathBuf,
    /// The installation's public key, from when it was first seen.
    key: Option<String>,
    /// User agents of requests that were refused long enough before the end.
    marks: Vec<String>,
    looked: u64,
}

/// A request that was refused, and when.
pub(crate) struct Mark {
    user_agent: String,
    at: Instant,
}

impl Trail {
    /// That of the store `store`, whose checkpoints go to `kept`.
    pub(crate) fn new(store: PathBuf, kept: PathBuf) -> Self {
        Self { store, kept, key: None, marks: Vec::new(), looked: 0 }
    }

    /// Has a request refused that can be found again.
    pub(crate) async fn mark(&self, sender: &mut Sender) -> Mark {
        let user_agent = format!("mark-{}", self.marks.len());
        sender.forge_as(&user_agent).await.expect("it is answered");
        Mark { user_agent, at: Instant::now() }
    }

    /// Waits until it must have been recorded.
    pub(crate) async fn settle(&mut self, mark: Mark) {
        tokio::time::sleep(RECORDED_AFTER.saturating_sub(mark.at.elapsed())).await;
        self.marks.push(mark.user_agent);
    }

    /// How much has been kept elsewhere.
    pub(crate) fn kept(&self) -> u64 {
        fs::metadata(&self.kept).map_or(0, |metadata| metadata.len())
    }

    /// What was kept later was never said: its machine had no power.
    pub(crate) fn forget_behind(&self, kept: u64) {
        if let Ok(file) = fs::OpenOptions::new().write(true).open(&self.kept) {
            file.set_len(kept).unwrap();
        }
    }

    /// Whether a look is due after this round: each time in a short campaign, now and then in a long one,
    /// whose trail is long.
    pub(crate) fn is_due(round: u64) -> bool {
        round < 8 || round % 16 == 15
    }

    /// Looks at all of it.
    pub(crate) fn check(&mut self, ledger: &Ledger) {
        self.looked += 1;
        if let Err(problem) = self.verify().and_then(|()| self.look_for_marks()) {
            ledger.note_problem(format!("the audit trail: {problem}"));
        }
    }

    /// In a line.
    pub(crate) fn summary(&self) -> String {
        let checkpoints = fs::read_to_string(&self.kept).unwrap_or_default().lines().count();
        let (looked, marks) = (self.looked, self.marks.len());
        format!(
            "audit trail: sound {looked} times, {checkpoints} checkpoints kept elsewhere, {marks} marks found"
        )
    }

    fn verify(&mut self) -> Result<(), String> {
        let known = match self.key.take() {
            Some(key) => key,
            None => run(&self.store, &["key"])?.trim().to_owned(),
        };
        let key = self.key.insert(known).clone();
        let mut arguments = vec!["verify", "--json", "--public-key", &key];
        let kept = self.kept.to_string_lossy().into_owned();
        if self.kept() > 0 {
            arguments.extend(["--checkpoint", &kept]);
        }
        run(&self.store, &arguments).map(drop)
    }

    fn look_for_marks(&self) -> Result<(), String> {
        let Some(last) = self.marks.last() else { return Ok(()) };
        let records = run(&self.store, &["export"])?;
        let is_there = |mark: &String| records.contains(&format!("\"user_agent\":\"{mark}\""));
        match self.marks.iter().find(|mark| !is_there(mark)) {
            None => Ok(()),
            Some(mark) => Err(format!("{mark} is not in it (the last is {last})")),
        }
    }
}

/// What `hookward audit` prints, if it is content.
fn run(store: &Path, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(binary());
    command.arg("audit").args(arguments).arg("--store").arg(store);
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let said: String = text(&output.stdout).chars().take(2_000).collect();
    Err(format!("{arguments:?} ended with {}: {said} {}", output.status, text(&output.stderr)))
}
