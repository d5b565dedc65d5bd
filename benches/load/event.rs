//! The request that every server gets: an order event as a provider would send it, with an id of
//! its own in each and a signature over the body. Built once, patched in place for each send.

use std::sync::atomic::{AtomicU32, Ordering};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The header that carries `sha256=` and the hex HMAC-SHA256 of the body.
pub(crate) const SIGNATURE_HEADER: &str = "X-Sig";
/// What the signatures are keyed with; a key of a benchmark, and no secret.
pub(crate) const KEY: &[u8] = b"a-benchmark-key-of-forty-bytes-and-plain";
/// The path of the one source.
pub(crate) const PATH: &str = "/hooks/bench";
/// About what a pharmacy's order event weighs.
pub(crate) const ORDER_SIZE: usize = 700;

/// `evt_`, run, connection and number: as wide in every event.
const ID_DIGITS: usize = 4 + 4 + 12;
/// An order sees this many events, one after the other on one connection.
const EVENTS_AN_ORDER: u64 = 4;

/// One connection's request, ready to be sent again and again with a new id.
pub(crate) struct Request {
    bytes: Vec<u8>,
    keyed: Hmac<Sha256>,
    body: usize,
    signature: usize,
    event_id: usize,
    order_id: usize,
    run: u32,
    connection: usize,
    sent: u64,
}

/// Events of one run of the generator differ from those of any other in this process.
pub(crate) fn next_run() -> u32 {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    RUNS.fetch_add(1, Ordering::Relaxed)
}

impl Request {
    /// The requests of one connection in one run, with bodies of `size` bytes.
    pub(crate) fn new(run: u32, connection: usize, size: usize) -> crate::Result<Self> {
        let body = body(size);
        let digits = "0".repeat(ID_DIGITS);
        let head = format!(
            "POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: orders/2.1\r\nAccept: */*\r\n\
             Content-Type: application/json\r\n{SIGNATURE_HEADER}: sha256={}\r\n\
             Content-Length: {}\r\n\r\n",
            "0".repeat(64),
            body.len(),
        );
        let find = |text: &str, what: &str| {
            text.find(what).map(|at| at + what.len()).ok_or("the template has lost a field")
        };
        Ok(Self {
            signature: find(&head, "sha256=")?,
            event_id: head.len() + find(&body, "evt_")?,
            order_id: head.len() + find(&body, "ord_")?,
            body: head.len(),
            bytes: [head, body].concat().into_bytes(),
            keyed: Hmac::new_from_slice(KEY)?,
            run,
            connection,
            sent: 0,
        })
        .inspect(|r| debug_assert!(r.bytes[r.event_id..].starts_with(digits.as_bytes())))
    }

    /// The next event, signed.
    pub(crate) fn next(&mut self) -> &[u8] {
        self.put_id(self.event_id, self.sent);
        self.put_id(self.order_id, self.sent / EVENTS_AN_ORDER);
        self.sent += 1;
        let mut mac = self.keyed.clone();
        mac.update(&self.bytes[self.body..]);
        let mut digits = [0; 64];
        put_hex(&mut digits, &mac.finalize().into_bytes());
        self.bytes[self.signature..self.signature + 64].copy_from_slice(&digits);
        &self.bytes
    }

    /// The next event with a signature that nobody's key has made.
    pub(crate) fn forged(&mut self) -> &[u8] {
        self.next();
        let digit = &mut self.bytes[self.signature];
        *digit = if *digit == b'0' { b'1' } else { b'0' };
        &self.bytes
    }

    fn put_id(&mut self, at: usize, number: u64) {
        put_decimal(&mut self.bytes[at..at + 4], u64::from(self.run));
        put_decimal(&mut self.bytes[at + 4..at + 8], self.connection as u64);
        put_decimal(&mut self.bytes[at + 8..at + ID_DIGITS], number);
    }
}

fn body(size: usize) -> String {
    let id = "0".repeat(ID_DIGITS);
    let event = format!(
        r#"{{"id":"evt_{id}","event":"order.shipped","created":"2025-01-15T10:30:00Z","api_version":"2024-11-01","data":{{"order_id":"ord_{id}","status":"shipped","clinic_id":"550e8400-e29b-41d4-a716-446655440000","carrier":"UPS","tracking_number":"1Z999AA10123456784","shipped_at":"2025-01-15T10:29:58Z","items":[{{"sku":"SEMA-0.25","quantity":1,"days_supply":28}},{{"sku":"NEEDLE-31G","quantity":4,"days_supply":28}}],"ship_to":{{"name":"Test Patient","street":"1 Example Street","city":"Springfield","state":"IL","zip":"62701"}},"note":""#
    );
    let end = r#""}}"#;
    let note = size.saturating_sub(event.len() + end.len());
    format!("{event}{}{end}", "Leave with the front desk. ".repeat(note / 27 + 1).split_at(note).0)
}

fn put_decimal(at: &mut [u8], mut number: u64) {
    for digit in at.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn put_hex(at: &mut [u8; 64], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in at.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}
