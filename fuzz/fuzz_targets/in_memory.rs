//! The one gateway in memory of a process.

use std::sync::{LazyLock, Mutex, MutexGuard};

use hookward::fuzzing::InMemory;

/// Time stands still unless there is nothing else to do.
static GATEWAY: LazyLock<Mutex<InMemory>> = LazyLock::new(|| {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
    Mutex::new(InMemory::new(runtime))
});

pub fn gateway() -> MutexGuard<'static, InMemory> {
    GATEWAY.lock().expect("the first panic ends the process")
}
