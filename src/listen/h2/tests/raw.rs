//! A client that writes any frame, and reads what comes.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

pub(super) const DATA: u8 = 0x0;
pub(super) const HEADERS: u8 = 0x1;
pub(super) const PRIORITY: u8 = 0x2;
pub(super) const RST_STREAM: u8 = 0x3;
pub(super) const SETTINGS: u8 = 0x4;
pub(super) const PING: u8 = 0x6;
pub(super) const GOAWAY: u8 = 0x7;
pub(super) const WINDOW_UPDATE: u8 = 0x8;
pub(super) const CONTINUATION: u8 = 0x9;

pub(super) const ACK: u8 = 0x1;
pub(super) const END_STREAM: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;

pub(super) const PROTOCOL_ERROR: u32 = 0x1;
pub(super) const FLOW_CONTROL_ERROR: u32 = 0x3;
pub(super) const REFUSED_STREAM: u32 = 0x7;
pub(super) const ENHANCE_YOUR_CALM: u32 = 0xb;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) id: u32,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    /// The error code of RST_STREAM or GOAWAY.
    pub(super) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    /// The status of an answer, where it is one of those that HPACK has a number for.
    pub(super) fn status(&self) -> u16 {
        match self.payload[0] {
            0x88 => 200,
            0x8c => 400,
            0x8d => 404,
            _ => 0,
        }
    }
}

pub(super) fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&id.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// Header fields as HPACK literals that are not kept.
pub(super) fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    fn text(out: &mut Vec<u8>, text: &str) {
        match text.len() {
            short @ 0..127 => out.push(u8::try_from(short).unwrap()),
            mut long => {
                out.push(127);
                long -= 127;
                while long >= 128 {
                    out.push(u8::try_from(long % 128).unwrap() | 128);
                    long /= 128;
                }
                out.push(u8::try_from(long).unwrap());
            }
        }
        out.extend_from_slice(text.as_bytes());
    }
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        text(&mut out, name);
        text(&mut out, value);
    }
    out
}

pub(super) const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":authority", "gw"), (":path", "/hooks/a")];

/// A request of these fields without a body.
pub(super) fn request(id: u32, with: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, id, &fields(with))
}

/// The head of a request whose body is to come.
pub(super) fn head(id: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, id, &fields(&POST))
}

/// The n-th stream of a client.
pub(super) fn stream(n: usize) -> u32 {
    u32::try_from(2 * n + 1).unwrap()
}

pub(super) struct Client {
    stream: DuplexStream,
    /// Whether it answers settings and pings.
    pub(super) polite: bool,
}

impl Client {
    /// With the preface and empty settings sent.
    pub(super) async fn new(stream: DuplexStream) -> Self {
        Self::with_settings(stream, &[]).await
    }

    pub(super) async fn with_settings(stream: DuplexStream, settings: &[(u16, u32)]) -> Self {
        let mut client = Self { stream, polite: true };
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend_from_slice(&name.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        client.send(&frame(SETTINGS, 0, 0, &payload)).await;
        client
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        assert!(self.try_send(bytes).await, "the connection is closed");
    }

    /// Whether the connection took it.
    pub(super) async fn try_send(&mut self, bytes: &[u8]) -> bool {
        timeout(BOUND, self.stream.write_all(bytes)).await.expect("the server reads").is_ok()
    }

    /// Says that nothing more will come.
    pub(super) async fn finish(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// The next frame; `None` at the end of the connection.
    pub(super) async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        let read = timeout(BOUND, self.stream.read_exact(&mut head)).await;
        read.expect("a frame or the end").ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut payload).await.unwrap();
        let id = u32::from_be_bytes(head[5..9].try_into().unwrap());
        let frame = Frame { kind: head[3], flags: head[4], id, payload };
        let is_asking = matches!(frame.kind, SETTINGS | PING) && frame.flags & ACK == 0;
        if is_asking && self.polite {
            let payload = if frame.kind == PING { frame.payload.as_slice() } else { &[] };
            self.try_send(&self::frame(frame.kind, ACK, 0, payload)).await;
        }
        Some(frame)
    }

    /// The next frame of this kind; `None` at the end of the connection.
    pub(super) async fn until(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if frame.kind == kind && !(kind == SETTINGS && frame.flags & ACK != 0) {
                return Some(frame);
            }
        }
    }

    /// The next answer, reset or GOAWAY; `None` at the end of the connection.
    pub(super) async fn outcome(&mut self) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if matches!(frame.kind, HEADERS | RST_STREAM | GOAWAY) {
                return Some(frame);
            }
        }
    }

    /// Everything up to the end of the connection.
    pub(super) async fn rest(&mut self) -> Vec<Frame> {
        let mut all = Vec::new();
        while let Some(frame) = self.next().await {
            all.push(frame);
        }
        all
    }
}
