//! The frames that a client sends, told from their nine-byte headers as the bytes arrive
//! (RFC 9113, section 4.1), and what they may cost.
//!
//! h2 bounds what it has to remember, not what it has to do: PING, SETTINGS, PRIORITY,
//! WINDOW_UPDATE, unknown frames, and requests that are taken back, may go on for ever. Here each
//! frame that is no payload costs tokens, and answered requests and time give them back. Never
//! decides what a frame means: h2 parses, this only counts.
//!
//! What comes on a proxy's connection is many clients' at once, and to cut it off would be to let
//! one of them take away the others' requests. It has the tokens of many clients, and when half of
//! them are gone it is told to go, so that what is in hand can still be answered.

use std::time::Duration;

use tokio::time::Instant;

/// Tokens of one frame. DATA below this length pays what it lacks: bytes are what it is for.
const FRAME: u64 = 256;

/// Frames that may come at once beyond those that are earned: a first burst of settings, and a
/// hundred streams given up together by a client whose patience has ended.
pub(in crate::listen) const BURST: u64 = 1000;

/// Frames that each answered request earns. One takes HEADERS, DATA, two WINDOW_UPDATEs for the
/// answer, RST_STREAM when the answer came early, and some clients add a PING.
pub(in crate::listen) const PER_ANSWER: u64 = 10;

/// Frames that each second earns: a client that only keeps the connection alive needs less than
/// one.
pub(in crate::listen) const PER_SECOND: u64 = 10;

/// What a request that the client takes back costs beyond its frames: somebody has worked for it
/// (CVE-2023-44487).
pub(in crate::listen) const PER_ABANDONED: u64 = 8;

/// What SETTINGS cost: they are answered, and a new window is applied to every open stream.
const PER_SETTINGS: u64 = 10;

/// Bytes of the connection preface (section 3.4).
const PREFACE: usize = 24;

/// Bytes of a frame's header.
const HEAD: usize = 9;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const PRIORITY: u8 = 0x2;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
const WINDOW_UPDATE: u8 = 0x8;
const CONTINUATION: u8 = 0x9;

const END_HEADERS: u8 = 0x4;

/// Follows the frames of one client.
#[derive(Debug)]
pub(super) struct Frames {
    place: Place,
    /// When the header section that is not complete was begun.
    section: Option<Instant>,
    tokens: u64,
    /// For how many clients it has tokens.
    clients: u64,
    /// When time was last turned into tokens.
    filled: Instant,
    flood: Option<&'static str>,
}

/// What the next byte belongs to.
#[derive(Debug)]
enum Place {
    /// The connection preface, of which this much is to come.
    Preface(usize),
    /// A frame's header, of which this much has come.
    Head([u8; HEAD], usize),
    /// A frame's payload, of which this much is to come.
    Payload { left: usize, ends_section: bool },
}

const NEXT: Place = Place::Head([0; HEAD], 0);

impl Frames {
    /// Those of a connection that has the tokens of this many clients.
    pub(super) fn new(clients: u64, now: Instant) -> Self {
        let place = Place::Preface(PREFACE);
        let tokens = most(clients);
        Self { place, section: None, tokens, clients, filled: now, flood: None }
    }

    /// Takes note of bytes that have arrived.
    ///
    /// # Errors
    /// With what there was too much of. Then the connection must end.
    pub(super) fn take(&mut self, mut bytes: &[u8], now: Instant) -> Result<(), &'static str> {
        self.fill(now);
        while self.flood.is_none() && !bytes.is_empty() {
            let used = self.step(bytes, now);
            bytes = bytes.get(used..).unwrap_or_default();
        }
        self.flood.map_or(Ok(()), Err)
    }

    /// What there was too much of.
    pub(super) fn flood(&self) -> Option<&'static str> {
        self.flood
    }

    /// Whether it is time for a connection of many clients to go.
    pub(super) fn is_worn(&self) -> bool {
        self.clients > 1 && self.tokens < most(self.clients) / 2
    }

    /// When the header section that the client has begun and not ended was begun.
    pub(super) fn section(&self) -> Option<Instant> {
        self.section
    }

    /// A request has been answered.
    pub(super) fn answered(&mut self) {
        self.earn(PER_ANSWER * FRAME);
    }

    /// A request was taken back before it was answered.
    pub(super) fn abandoned(&mut self) {
        self.pay(PER_ABANDONED * FRAME, "requests taken back");
    }

    /// Uses up the bytes of what comes next, and says how many they are.
    fn step(&mut self, bytes: &[u8], now: Instant) -> usize {
        match &mut self.place {
            Place::Preface(left) => {
                let used = bytes.len().min(*left);
                *left -= used;
                if *left == 0 {
                    self.place = NEXT;
                }
                used
            }
            Place::Head(head, have) => {
                let used = bytes.len().min(HEAD - *have);
                for (to, from) in head.iter_mut().skip(*have).zip(bytes) {
                    *to = *from;
                }
                *have += used;
                if *have == HEAD {
                    let head = *head;
                    self.begin(head, now);
                }
                used
            }
            Place::Payload { left, ends_section } => {
                let used = bytes.len().min(*left);
                *left -= used;
                if *left == 0 {
                    if *ends_section {
                        self.section = None;
                    }
                    self.place = NEXT;
                }
                used
            }
        }
    }

    fn begin(&mut self, head: [u8; HEAD], now: Instant) {
        let [a, b, c, kind, flags, ..] = head;
        let left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let (cost, name) = cost(kind, left);
        self.pay(cost, name);
        let is_section = matches!(kind, HEADERS | CONTINUATION);
        let ends_section = is_section && flags & END_HEADERS != 0;
        if is_section {
            self.section.get_or_insert(now);
        }
        self.place = Place::Payload { left, ends_section };
        if left == 0 {
            if ends_section {
                self.section = None;
            }
            self.place = NEXT;
        }
    }

    fn pay(&mut self, cost: u64, what: &'static str) {
        match self.tokens.checked_sub(cost) {
            Some(left) => self.tokens = left,
            None => self.flood = self.flood.or(Some(what)),
        }
    }

    fn earn(&mut self, tokens: u64) {
        self.tokens = self.tokens.saturating_add(tokens).min(most(self.clients));
    }

    /// Turns the time that has passed into tokens.
    fn fill(&mut self, now: Instant) {
        const EACH: Duration = Duration::from_millis(1000 / PER_SECOND);
        let passed = now.saturating_duration_since(self.filled).as_millis() / EACH.as_millis();
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        if passed > 0 {
            self.filled = now;
            self.earn((u64::from(passed) * FRAME).saturating_mul(self.clients));
        }
    }
}

/// The tokens that so many clients begin with, and never have more of.
fn most(clients: u64) -> u64 {
    clients.saturating_mul(BURST * FRAME)
}

/// What a frame costs, and how the log calls too many of its kind.
fn cost(kind: u8, length: usize) -> (u64, &'static str) {
    let lacks = FRAME.saturating_sub(u64::try_from(length).unwrap_or(u64::MAX));
    match kind {
        DATA => (lacks, "small DATA"),
        HEADERS => (FRAME, "HEADERS"),
        PRIORITY => (FRAME, "PRIORITY"),
        RST_STREAM => (FRAME, "RST_STREAM"),
        SETTINGS => (PER_SETTINGS * FRAME, "SETTINGS"),
        PING => (FRAME, "PING"),
        WINDOW_UPDATE => (FRAME, "WINDOW_UPDATE"),
        CONTINUATION => (FRAME, "CONTINUATION"),
        _ => (FRAME, "other frames"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END_STREAM: u8 = 0x1;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        frame.extend_from_slice(payload);
        frame
    }

    fn begun() -> (Frames, Instant) {
        let now = Instant::now();
        let mut frames = Frames::new(1, now);
        frames.take(&[0; PREFACE], now).unwrap();
        (frames, now)
    }

    /// How many of these frames are taken.
    fn taken(frame: &[u8]) -> usize {
        let (mut frames, now) = begun();
        (0..100_000).take_while(|_| frames.take(frame, now).is_ok()).count()
    }

    #[test]
    fn frames_of_every_kind_run_out() {
        let burst = usize::try_from(BURST).unwrap();
        for kind in [HEADERS, PRIORITY, RST_STREAM, PING, WINDOW_UPDATE, CONTINUATION, 0x7, 0xbb] {
            assert_eq!(taken(&frame(kind, END_HEADERS, &[0; 8])), burst, "{kind}");
        }
        assert_eq!(taken(&frame(SETTINGS, 0, &[])), burst / 10);
        assert_eq!(taken(&frame(DATA, 0, &[])), burst);
        assert_eq!(taken(&frame(DATA, 0, &[0; 128])), burst * 2);
    }

    #[test]
    fn payload_is_free() {
        assert_eq!(taken(&frame(DATA, 0, &[0; 256])), 100_000);
    }

    /// The last DATA of a stream was free, so that a client could send them for ever to streams
    /// that had been refused.
    #[test]
    fn the_end_of_a_stream_is_paid_like_any_other_frame() {
        let burst = usize::try_from(BURST).unwrap();
        assert_eq!(taken(&frame(DATA, END_STREAM, &[])), burst);
    }

    #[test]
    fn answers_and_time_pay_for_frames() {
        let request = [frame(HEADERS, END_HEADERS, b"head"), frame(DATA, END_STREAM, b"{}")];
        let ping = frame(PING, 0, &[0; 8]);
        let (mut frames, now) = begun();
        for _ in 0..10_000 {
            frames.take(&request.concat(), now).unwrap();
            frames.take(&ping.repeat(5), now).unwrap();
            frames.answered();
        }
        let (mut frames, mut now) = begun();
        for _ in 0..10_000 {
            now += Duration::from_millis(101);
            frames.take(&ping, now).unwrap();
        }
    }

    #[test]
    fn requests_that_are_taken_back_run_out() {
        let both = [frame(HEADERS, END_HEADERS, b"head"), frame(RST_STREAM, 0, &[0; 4])].concat();
        let (mut frames, now) = begun();
        let taken = (0..100_000).take_while(|_| {
            let taken = frames.take(&both, now).is_ok();
            frames.abandoned();
            taken
        });
        assert_eq!(taken.count(), 100);
        assert!(frames.flood().is_some());
    }

    /// One client of a proxy could have the connection cut off that all of them share.
    #[test]
    fn a_connection_of_many_clients_is_worn_long_before_it_is_cut_off() {
        let both = [frame(HEADERS, END_HEADERS, b"head"), frame(RST_STREAM, 0, &[0; 4])].concat();
        let worn_and_over = |clients| {
            let now = Instant::now();
            let mut frames = Frames::new(clients, now);
            frames.take(&[0; PREFACE], now).unwrap();
            let (mut worn, mut over) = (None, 0);
            while frames.take(&both, now).is_ok() && frames.flood().is_none() {
                frames.abandoned();
                over += 1;
                worn = worn.or(frames.is_worn().then_some(over));
            }
            (worn, over)
        };
        assert_eq!(worn_and_over(1), (None, 100));
        assert_eq!(worn_and_over(100), (Some(5_001), 10_000));
    }

    #[test]
    fn bytes_may_come_one_by_one() {
        let (mut frames, now) = begun();
        let bytes = [
            frame(SETTINGS, 0, &[0; 18]),
            frame(HEADERS, 0, b"begin"),
            frame(CONTINUATION, 0, b""),
            frame(CONTINUATION, END_HEADERS, b"end"),
            frame(DATA, END_STREAM, &[0; 300]),
            frame(HEADERS, 0, b""),
        ]
        .concat();
        let mut sections = Vec::new();
        for byte in bytes {
            frames.take(&[byte], now).unwrap();
            if sections.last() != Some(&frames.section().is_some()) {
                sections.push(frames.section().is_some());
            }
        }
        assert_eq!(sections, [false, true, false, true]);
        assert_eq!(frames.tokens, (BURST - PER_SETTINGS - 4) * FRAME);
    }

    #[test]
    fn a_header_section_has_begun_until_its_last_byte() {
        let (mut frames, now) = begun();
        let headers = frame(HEADERS, END_HEADERS, b"head");
        let (most, last) = headers.split_at(headers.len() - 1);
        frames.take(most, now).unwrap();
        assert_eq!(frames.section(), Some(now));
        frames.take(last, now + Duration::from_secs(1)).unwrap();
        assert_eq!(frames.section(), None);
    }
}
