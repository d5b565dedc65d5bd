//! The gatekeeper of an HTTP/1 connection: what may reach hyper, told from the bytes alone.
//!
//! hyper mends in silence what RFC 9112 wants refused: of Content-Length beside Transfer-Encoding
//! nothing is left in the head it hands over, and it takes a bare LF for CRLF. A proxy in front may
//! read such a request differently, and what one of the two takes for a body is a request to the
//! other. So each head is read to its end and judged here first, strictly, and each body is
//! followed to its end. What has passed, hyper only parses; what has a defect, it never sees.
//!
//! A pure state machine: bytes in, how many of them may go on out. It keeps no bytes, knows no
//! sockets and no time, and where the bytes are cut makes no difference.

mod chunked;
mod defect;
mod head;
mod syntax;
#[cfg(test)]
mod tests;

use self::chunked::Chunked;
use self::head::Head;

pub use self::defect::{Defect, Defective};
pub(crate) use self::syntax::is_host;

/// What hyper can hold of a target and of a header section, whatever the limits say.
const MOST_TARGET: usize = 60 << 10;
const MOST_FIELDS: usize = 4096;

/// What one head may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadLimits {
    max_bytes: usize,
    max_target: usize,
    max_fields: usize,
}

impl HeadLimits {
    /// Bytes from the request line to the empty line behind the fields; bytes of the target; fields.
    pub(crate) fn new(max_bytes: usize, max_target: usize, max_fields: usize) -> Self {
        let (max_target, max_fields) = (max_target.min(MOST_TARGET), max_fields.min(MOST_FIELDS));
        Self { max_bytes, max_target, max_fields }
    }
}

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Length(u64),
    Chunked,
}

/// Follows the requests of one connection.
#[derive(Debug)]
pub(crate) struct Framing {
    limits: HeadLimits,
    place: Place,
    /// Heads that are complete, a defective one included.
    heads: u64,
    /// Whether the head that is not complete yet has more than line breaks.
    begun: bool,
}

/// What the next byte belongs to.
#[derive(Debug)]
enum Place {
    Head(Head),
    /// A body of which so many bytes are to come.
    Length(u64),
    Chunked(Chunked),
    /// Nobody knows any more. The connection ends with the request that has the defect.
    BadHead(Box<Defective>),
    BadBody(Defect),
}

impl Place {
    fn next_head() -> Self {
        Self::Head(Head::default())
    }
}

impl Framing {
    pub(crate) fn new(limits: HeadLimits) -> Self {
        Self { limits, place: Place::next_head(), heads: 0, begun: false }
    }

    /// Goes on with `bytes`: all that have come and were not let pass yet. How many of them may
    /// pass now: whole heads and parts of bodies. The others are to be kept for the next call when
    /// [`Framing::is_open`], and otherwise to be dropped.
    pub(crate) fn advance(&mut self, bytes: &[u8]) -> usize {
        let mut passed = 0;
        while let Some(rest) = bytes.get(passed..).filter(|rest| !rest.is_empty()) {
            match &mut self.place {
                Place::BadHead(_) | Place::BadBody(_) => break,
                Place::Length(left) => {
                    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= u64::try_from(here).unwrap_or(*left);
                    passed += here;
                    if *left == 0 {
                        self.place = Place::next_head();
                    }
                }
                Place::Chunked(chunked) => {
                    let (here, result) = chunked.take(rest);
                    passed += here;
                    match result {
                        Ok(false) => {}
                        Ok(true) => self.place = Place::next_head(),
                        Err(defect) => self.place = Place::BadBody(defect),
                    }
                }
                Place::Head(head) => match head.take(rest, &self.limits) {
                    Ok(None) => {
                        self.begun = head.has_begun(rest);
                        return passed;
                    }
                    Ok(Some((length, body))) => {
                        passed += length;
                        self.enter(body);
                    }
                    Err(defect) => {
                        let shown = head.shown(rest);
                        self.bad(defect, shown);
                    }
                },
            }
        }
        self.begun = false;
        passed
    }

    fn enter(&mut self, body: Body) {
        self.heads += 1;
        self.place = match body {
            Body::Length(0) => Place::next_head(),
            Body::Length(length) => Place::Length(length),
            Body::Chunked => Place::Chunked(Chunked::new(self.limits.max_fields)),
        };
    }

    fn bad(&mut self, defect: Defect, shown: &[u8]) {
        self.heads += 1;
        self.begun = false;
        self.place = Place::BadHead(Box::new(Defective::new(defect, shown)));
    }

    /// The head that has begun with `bytes` is given up: the rest has not come in time. Without
    /// effect where none has begun.
    pub(crate) fn give_up(&mut self, bytes: &[u8]) {
        if let Place::Head(head) = &self.place
            && self.begun
        {
            let shown = head.shown(bytes);
            self.bad(Defect::LateHead, shown);
        }
    }

    /// Heads that are complete, a defective one included.
    pub(crate) fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether a head has begun and is not complete.
    pub(crate) fn is_mid_head(&self) -> bool {
        self.begun
    }

    /// Whether the next byte begins a head, or goes on with one.
    pub(crate) fn is_at_head(&self) -> bool {
        matches!(self.place, Place::Head(_))
    }

    /// Whether further bytes can mean anything.
    pub(crate) fn is_open(&self) -> bool {
        !matches!(self.place, Place::BadHead(_) | Place::BadBody(_))
    }

    /// The last head, if it has a defect.
    pub(crate) fn bad_head(&self) -> Option<&Defective> {
        match &self.place {
            Place::BadHead(defective) => Some(defective),
            _ => None,
        }
    }

    /// What is wrong with the last body.
    pub(crate) fn bad_body(&self) -> Option<Defect> {
        match &self.place {
            Place::BadBody(defect) => Some(*defect),
            _ => None,
        }
    }
}
