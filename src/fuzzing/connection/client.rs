//! The client's side of a connection: sends what the script says, and keeps what comes back.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::oneshot;
use tokio::time::{Duration, sleep};

use super::script::{Ending, Script, Step};

/// Bytes that come back at most, whatever is sent.
pub(super) const MOST_ANSWERED: u64 = 256 << 10;

/// How much longer a client does not read that reads late: not as long as it may take.
const LATE: Duration = Duration::from_secs(3);

/// All that comes back until the connection ends; `None` when the client is gone before.
pub(super) async fn talk(
    stream: DuplexStream,
    script: &Script,
    drain: oneshot::Sender<()>,
) -> Option<Vec<u8>> {
    let (from, to) = tokio::io::split(stream);
    let (all_sent, sent) = oneshot::channel();
    let sending = async {
        let to = send(to, script, drain).await;
        // Whoever does not wait for it has read all there is.
        let _ = all_sent.send(());
        to
    };
    if script.ending == Ending::IsGone {
        drop((sending.await, from));
        return None;
    }
    let reading = async {
        if script.reads_late {
            let _ = sent.await;
            sleep(LATE).await;
        }
        read(from).await
    };
    // The side that stays open does so until the other is closed.
    let (_open, answers) = tokio::join!(sending, reading);
    Some(answers)
}

async fn send(
    mut to: WriteHalf<DuplexStream>,
    script: &Script,
    drain: oneshot::Sender<()>,
) -> WriteHalf<DuplexStream> {
    let mut drain = Some(drain);
    for step in &script.steps {
        match step {
            Step::Send(piece) => {
                // The other side may have had enough.
                if to.write_all(piece).await.is_err() {
                    break;
                }
            }
            Step::Wait(time) => sleep(*time).await,
            Step::Drain => drop(drain.take().map(|drain| drain.send(()))),
        }
    }
    if script.ending == Ending::Closes {
        let _ = to.shutdown().await;
    }
    to
}

async fn read(from: ReadHalf<DuplexStream>) -> Vec<u8> {
    let mut answers = Vec::new();
    let read = from.take(MOST_ANSWERED + 1).read_to_end(&mut answers).await;
    assert!(read.is_ok(), "{read:?}");
    assert!(answers.len() as u64 <= MOST_ANSWERED, "answers without end");
    answers
}
