//! An input: what one client does on one connection.
//!
//! The first line says how, by its letters; what is none of them is passed over, so that it can
//! say in words what the input is for:
//!
//! | letter | the client |
//! | --- | --- |
//! | `O` | leaves its side open when all is sent; otherwise it closes that, and reads on |
//! | `D` | is gone when all is sent, without reading |
//! | `W` | does not read before all is sent, and three seconds longer |
//! | `B` | has buffers of 64 bytes only |
//! | digits | sends so many bytes at once, in 64 pieces at most |
//!
//! The rest is sent as it stands, but for directives. An input ends or is cut at `%;%` into parts;
//! each part is thought of as one request, with its body behind the first empty line, and what its
//! directives stand for is worked out for it alone. For HTTP/2 a part is then made into frames, as
//! [`frames`] says.
//!
//! | directive | stands for |
//! | --- | --- |
//! | `%KEY%` | the key of the source that the part's path names |
//! | `%SIG%` | the signature of the part's body, as that source wants it, without its prefix |
//! | `%LEN%` | the length of the part's body |
//! | `%NOW%` | the time, in Unix seconds |
//! | `%PAD%` | 300 times `a` |
//! | `%-%` | nothing: what follows is sent later |
//! | `%+%` | nothing: what follows is sent a second and a half later |
//! | `%!%` | nothing: from here on the listener drains |

use std::time::Duration;

use super::frames::{self, Frames};
use super::reading::{self, Request, split};
use super::senders::Sender;
use crate::fuzzing::NOW;

/// Bytes of an input that are looked at.
const MOST: usize = 16 << 10;

/// Uses of one directive in a part, pieces, and pauses.
const USES: usize = 8;
const PIECES: usize = 64;

const PAD: [u8; 300] = [b'a'; 300];

/// What one client does.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) ending: Ending,
    /// Whether nothing is read before all is sent, and a while longer.
    pub(super) reads_late: bool,
    /// Bytes that are on their way at most.
    pub(super) buffer: usize,
    pub(super) steps: Vec<Step>,
}

/// What the client does when all is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Closes,
    StaysOpen,
    IsGone,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Send(Vec<u8>),
    Wait(Duration),
    /// The listener drains.
    Drain,
}

impl Script {
    /// An input for HTTP/1: its parts are sent as they are.
    pub(super) fn http1(input: &[u8], senders: &[Sender]) -> Self {
        Self::new(input, senders, Vec::new(), |part| part)
    }

    /// An input for HTTP/2: its parts are made into frames.
    pub(super) fn http2(input: &[u8], senders: &[Sender]) -> Self {
        let mut frames = Frames::default();
        Self::new(input, senders, frames::opening(), |part| frames.of(&part))
    }

    fn new(
        input: &[u8],
        senders: &[Sender],
        mut bytes: Vec<u8>,
        mut made: impl FnMut(Vec<u8>) -> Vec<u8>,
    ) -> Self {
        let input = input.get(..MOST).unwrap_or(input);
        let (how, rest) = split(input, b"\n").unwrap_or((input, b""));
        let mut left = Some(rest).filter(|rest| !rest.is_empty());
        while let Some(rest) = left {
            let (part, behind) = match split(rest, b"%;%") {
                Some((part, behind)) => (part, Some(behind)),
                None => (rest, None),
            };
            bytes.extend(made(filled_in(part, senders)));
            left = behind;
        }
        let has = |letter| how.contains(&letter);
        let digits = how.iter().filter(|byte| byte.is_ascii_digit()).take(4);
        let at_once = digits.fold(0, |n, digit| n * 10 + usize::from(digit - b'0'));
        Self {
            ending: match (has(b'D'), has(b'O')) {
                (true, _) => Ending::IsGone,
                (false, true) => Ending::StaysOpen,
                (false, false) => Ending::Closes,
            },
            reads_late: has(b'W'),
            buffer: if has(b'B') { 64 } else { 64 << 10 },
            steps: steps(&bytes, at_once),
        }
    }

    /// All bytes that are sent, if all are.
    pub(super) fn sent(&self) -> Vec<u8> {
        let pieces = self.steps.iter().filter_map(|step| match step {
            Step::Send(piece) => Some(&piece[..]),
            Step::Wait(_) | Step::Drain => None,
        });
        pieces.collect::<Vec<_>>().concat()
    }
}

/// The part with all but the directives of [`steps`] replaced.
fn filled_in(part: &[u8], senders: &[Sender]) -> Vec<u8> {
    if memchr::memchr(b'%', part).is_none() {
        return part.to_vec();
    }
    let part = replaced(part, b"%PAD%", &PAD);
    let part = replaced(&part, b"%NOW%", NOW.as_secs().to_string().as_bytes());
    let bare = without_flow(&part);
    let part = replaced(&part, b"%LEN%", behind_head(&bare).len().to_string().as_bytes());
    let Some(sender) = addressee(&part, senders) else { return part };
    let part = replaced(&part, b"%KEY%", &sender.key);
    if memchr::memmem::find(&part, b"%SIG%").is_none() {
        return part;
    }
    let (request, body) = only_request(&without_flow(&part));
    replaced(&part, b"%SIG%", sender.signature(&request, &body).as_bytes())
}

/// Whose path the first line has, whatever else is wrong with it. A path that another begins with
/// would do, but none does.
fn addressee<'s>(part: &[u8], senders: &'s [Sender]) -> Option<&'s Sender> {
    let line = part.split(|byte| *byte == b'\n').find(|line| !line.trim_ascii().is_empty())?;
    senders.iter().find(|s| memchr::memmem::find(line, s.path.as_bytes()).is_some())
}

/// The request that the part is, as far as it can be read, and what is to be signed.
fn only_request(part: &[u8]) -> (Request, Vec<u8>) {
    let (requests, _) = reading::read(part);
    match requests.into_iter().next() {
        Some(request) => {
            let body = request.body.clone().unwrap_or_else(|| behind_head(part).to_vec());
            (request, body)
        }
        None => (Request::default(), behind_head(part).to_vec()),
    }
}

/// What stands behind the first empty line that is not the first of all.
fn behind_head(mut part: &[u8]) -> &[u8] {
    while let Some(rest) = part.strip_prefix(b"\r\n") {
        part = rest;
    }
    split(part, b"\r\n\r\n").map_or(b"", |(_, body)| body)
}

fn replaced(bytes: &[u8], directive: &[u8], with: &[u8]) -> Vec<u8> {
    let mut made = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    for _ in 0..USES {
        let Some((before, behind)) = split(rest, directive) else { break };
        made.extend_from_slice(before);
        made.extend_from_slice(with);
        rest = behind;
    }
    made.extend_from_slice(rest);
    made
}

/// The bytes without the directives that are for the flow of them.
pub(super) fn without_flow(bytes: &[u8]) -> Vec<u8> {
    let mut bare = Vec::with_capacity(bytes.len());
    flow(bytes, |piece, _| bare.extend_from_slice(piece));
    bare
}

/// Calls with each piece and what is to be done behind it.
fn flow<'b>(bytes: &'b [u8], mut each: impl FnMut(&'b [u8], Option<Step>)) {
    let mut begin = 0;
    let mut from = 0;
    while let Some(at) = memchr::memchr(b'%', bytes.get(from..).unwrap_or_default()) {
        let at = from + at;
        let step = match bytes.get(at..at + 3) {
            Some(b"%-%") => Step::Wait(Duration::from_millis(1)),
            Some(b"%+%") => Step::Wait(Duration::from_millis(1500)),
            Some(b"%!%") => Step::Drain,
            _ => {
                from = at + 1;
                continue;
            }
        };
        each(bytes.get(begin..at).unwrap_or_default(), Some(step));
        (begin, from) = (at + 3, at + 3);
    }
    each(bytes.get(begin..).unwrap_or_default(), None);
}

fn steps(bytes: &[u8], at_once: usize) -> Vec<Step> {
    let at_once = if at_once == 0 { bytes.len() } else { at_once };
    let at_once = at_once.max(bytes.len() / PIECES).max(1);
    let mut steps = Vec::new();
    let mut waits = 0;
    flow(bytes, |piece, step| {
        for piece in piece.chunks(at_once) {
            if matches!(steps.last(), Some(Step::Send(_))) {
                steps.push(Step::Wait(Duration::from_millis(1)));
            }
            steps.push(Step::Send(piece.to_vec()));
        }
        waits += 1;
        steps.extend(step.filter(|_| waits <= PIECES));
    });
    steps
}
