use std::net::Ipv6Addr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;

use super::HeaderError::*;
use super::*;

fn v1(words: &str) -> Result<Option<SocketAddr>, HeaderError> {
    let line = format!("PROXY {words}\r\n");
    let parsed = parse(line.as_bytes());
    if let Ok(header) = parsed {
        assert_eq!(header.len, line.len(), "{words}");
    }
    parsed.map(|header| header.source)
}

/// A header of version 2 whose length is right.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let mut header = v2::SIGNATURE.to_vec();
    header.extend([command, family]);
    header.extend(u16::try_from(block.len()).unwrap().to_be_bytes());
    header.extend(block);
    header
}

fn source_v2(command: u8, family: u8, block: &[u8]) -> Result<Option<SocketAddr>, HeaderError> {
    let header = v2(command, family, block);
    let parsed = parse(&header);
    if let Ok(parsed) = parsed {
        assert_eq!(parsed.len, header.len());
    }
    parsed.map(|header| header.source)
}

/// 203.0.113.9:56324 calls 192.0.2.1:443.
const IPV4: &[u8] = &[203, 0, 113, 9, 192, 0, 2, 1, 0xdc, 0x04, 1, 187];

fn ipv6() -> Vec<u8> {
    let (from, to): (Ipv6Addr, Ipv6Addr) =
        ("2001:db8::9".parse().unwrap(), "2001:db8::1".parse().unwrap());
    [from.octets().as_slice(), &to.octets(), &[0xdc, 0x04, 1, 187]].concat()
}

fn field(kind: u8, value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(value.len()).unwrap().to_be_bytes();
    [&[kind], len.as_slice(), value].concat()
}

fn socket(text: &str) -> Option<SocketAddr> {
    Some(text.parse().unwrap())
}

#[test]
fn lines_name_the_client() {
    for (words, source) in [
        ("TCP4 203.0.113.9 192.0.2.1 56324 443", socket("203.0.113.9:56324")),
        ("TCP4 255.255.255.255 0.0.0.0 65535 0", socket("255.255.255.255:65535")),
        ("TCP4 0.0.0.0 192.0.2.1 0 443", socket("0.0.0.0:0")),
        ("TCP6 2001:db8::9 2001:db8::1 56324 443", socket("[2001:db8::9]:56324")),
        ("TCP6 ::ffff:203.0.113.9 ::1 56324 443", socket("[::ffff:203.0.113.9]:56324")),
        ("UNKNOWN", None),
        ("UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535", None),
        ("UNKNOWN \0\x01\x7f anything", None),
    ] {
        assert_eq!(v1(words), Ok(source), "{words:?}");
    }
}

#[test]
fn lines_that_are_not_exactly_so_are_refused() {
    for (words, error) in [
        ("TCP7 ", Line),
        ("tcp4 203.0.113.9 192.0.2.1 56324 443", Line),
        ("UDP4 203.0.113.9 192.0.2.1 56324 443", Line),
        ("UNKNOWNS", Line),
        ("unknown", Line),
        ("TCP4", Line),
        ("TCP4 203.0.113.9", Line),
        ("TCP4 203.0.113.9 192.0.2.1 56324", Line),
        ("TCP4 203.0.113.9 192.0.2.1 56324 443 ", Line),
        ("TCP4 203.0.113.9 192.0.2.1 56324 443 1", Line),
        (" TCP4 203.0.113.9 192.0.2.1 56324 443", Line),
        ("TCP4  203.0.113.9 192.0.2.1 56324 443", Line),
        ("TCP4\t203.0.113.9 192.0.2.1 56324 443", Line),
        ("TCP4 203.0.113.9 192.0.2.1 56324 443\r", Line),
        ("TCP4 203.0.113.9\r192.0.2.1 56324 443", Line),
        ("UNKNOWN \r x", Line),
        ("TCP4 203.0.113.9 192.0.2.1 56324 0443", Address),
        ("TCP4 203.0.113.9 192.0.2.1 00 443", Address),
        ("TCP4 203.0.113.9 192.0.2.1 +1 443", Address),
        ("TCP4 203.0.113.9 192.0.2.1 -1 443", Address),
        ("TCP4 203.0.113.9 192.0.2.1 65536 443", Address),
        ("TCP4 203.0.113.9 192.0.2.1 56324 http", Address),
        ("TCP4 203.0.113.9 192.0.2.1  443", Address),
        ("TCP4 203.0.113.09 192.0.2.1 56324 443", Address),
        ("TCP4 203.0.113 192.0.2.1 56324 443", Address),
        ("TCP4 203.0.113.9 192.0.2.256 56324 443", Address),
        ("TCP4 2001:db8::9 2001:db8::1 56324 443", Address),
        ("TCP4 203.0.113.9 2001:db8::1 56324 443", Address),
        ("TCP6 203.0.113.9 192.0.2.1 56324 443", Address),
        ("TCP6 [2001:db8::9] 2001:db8::1 56324 443", Address),
        ("TCP6 fe80::1%eth0 2001:db8::1 56324 443", Address),
        ("TCP6 2001:db8:::9 2001:db8::1 56324 443", Address),
        ("TCP4 localhost 192.0.2.1 56324 443", Address),
        ("TCP4 203.0.113.9\0 192.0.2.1 56324 443", Address),
    ] {
        assert_eq!(v1(words), Err(error), "{words:?}");
    }
}

#[test]
fn a_line_ends_in_cr_lf_within_107_bytes() {
    assert_eq!(parse(b"PROXY UNKNOWN\n"), Err(Line));
    assert_eq!(parse(b"PROXY UNKNOWN\r"), Err(Cut));
    assert_eq!(parse(b"PROXY UNKNOWN"), Err(Cut));
    let fill = |total: usize| format!("PROXY UNKNOWN {}\r\n", "f".repeat(total - 16));
    assert_eq!(parse(fill(107).as_bytes()), Ok(Header { source: None, len: 107 }));
    assert_eq!(parse(fill(108).as_bytes()), Err(TooLong));
    assert_eq!(parse(&[b"PROXY ".as_slice(), &[b'f'; 5000]].concat()), Err(TooLong));
}

#[test]
fn what_is_no_header_is_told_from_its_first_bytes() {
    for bytes in [
        b"GET / HTTP/1.1\r\n".as_slice(),
        b"proxy TCP4 203.0.113.9 192.0.2.1 56324 443\r\n",
        b"PROXY\tTCP4 203.0.113.9 192.0.2.1 56324 443\r\n",
        b"\r\nPROXY UNKNOWN\r\n",
        b"\r\n\r\n\0\r\nQUIT\r\n\r\n\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00",
    ] {
        assert_eq!(parse(bytes), Err(Absent), "{:?}", bytes.escape_ascii().to_string());
    }
    assert_eq!(parse(b""), Err(Cut));
    assert_eq!(parse(b"GET /"), Err(Cut), "too short to tell");
}

#[test]
fn binary_headers_name_the_client() {
    assert_eq!(source_v2(0x21, 0x11, IPV4), Ok(socket("203.0.113.9:56324")));
    assert_eq!(source_v2(0x21, 0x21, &ipv6()), Ok(socket("[2001:db8::9]:56324")));
    assert_eq!(source_v2(0x21, 0x31, &[b'/'; 216]), Ok(None), "a Unix socket has no IP address");
    assert_eq!(source_v2(0x21, 0x00, b""), Ok(None));
    assert_eq!(source_v2(0x21, 0x00, b"whatever"), Ok(None));
    // LOCAL: the block is skipped, whatever it claims to be.
    for (family, block) in [(0x00, b"".as_slice()), (0x11, IPV4), (0xff, b"x"), (0x12, b"")] {
        assert_eq!(source_v2(0x20, family, block), Ok(None), "{family:x}");
    }
}

#[test]
fn binary_headers_that_do_not_exist_are_refused() {
    for command in [0x00, 0x01, 0x11, 0x22, 0x2f, 0x31, 0xff] {
        assert_eq!(source_v2(command, 0x11, IPV4), Err(Command), "{command:x}");
    }
    for family in [0x01, 0x02, 0x10, 0x13, 0x20, 0x30, 0x33, 0x41, 0xf1, 0xff] {
        assert_eq!(source_v2(0x21, family, &[0; 216]), Err(Family), "{family:x}");
    }
    for family in [0x12, 0x22, 0x32] {
        assert_eq!(source_v2(0x21, family, &[0; 216]), Err(Datagram), "{family:x}");
    }
    assert_eq!(source_v2(0x21, 0x11, &IPV4[..11]), Err(Length));
    assert_eq!(source_v2(0x21, 0x21, &ipv6()[..35]), Err(Length));
    assert_eq!(source_v2(0x21, 0x31, &[0; 215]), Err(Length));
    assert_eq!(source_v2(0x21, 0x11, b""), Err(Length));
}

#[test]
fn additional_fields_are_skipped_when_they_add_up() {
    let fields = [field(0x05, b"unique"), field(0x04, b""), field(0xee, &[7; 300])].concat();
    let block = [IPV4, &fields].concat();
    assert_eq!(source_v2(0x21, 0x11, &block), Ok(socket("203.0.113.9:56324")));
    assert_eq!(source_v2(0x21, 0x11, &block[..block.len() - 1]), Err(Length));
    for rest in [b"\0".as_slice(), b"\x05\0", b"\x05\0\x01", b"\x05\xff\xffx"] {
        assert_eq!(source_v2(0x21, 0x11, &[IPV4, rest].concat()), Err(Length), "{rest:?}");
    }
}

/// The header with the checksum put in where it belongs, worked out bit by bit.
fn with_checksum(before: &[u8], after: &[u8]) -> Vec<u8> {
    let block = [IPV4, before, &field(0x03, &[0; 4]), after].concat();
    let mut header = v2(0x21, 0x11, &block);
    let mut crc = u32::MAX;
    for byte in &header {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    let at = header.len() - after.len() - 4;
    header[at..at + 4].copy_from_slice(&(!crc).to_be_bytes());
    header
}

#[test]
fn a_checksum_is_verified() {
    for (before, after) in [(vec![], vec![]), (field(0x01, b"h2"), field(0x02, b"gateway"))] {
        let header = with_checksum(&before, &after);
        assert_eq!(parse(&header).map(|h| h.source), Ok(socket("203.0.113.9:56324")));
        for at in 16..16 + IPV4.len() {
            let mut damaged = header.clone();
            damaged[at] ^= 0x10;
            assert_eq!(parse(&damaged), Err(Checksum), "bit flipped at {at}");
        }
    }
    let twice = with_checksum(&field(0x03, &[0; 4]), b"");
    assert_eq!(parse(&twice), Err(Checksum));
    for value in [b"".as_slice(), b"abc", b"abcde"] {
        let block = [IPV4, &field(0x03, value)].concat();
        assert_eq!(source_v2(0x21, 0x11, &block), Err(Length));
    }
}

#[test]
fn a_binary_header_has_at_most_536_bytes() {
    let block = |total: usize| [IPV4, &field(0xee, &vec![0; total - 16 - 12 - 3])].concat();
    assert_eq!(source_v2(0x21, 0x11, &block(536)), Ok(socket("203.0.113.9:56324")));
    assert_eq!(source_v2(0x21, 0x11, &block(537)), Err(TooLong));
    assert_eq!(source_v2(0x20, 0x00, &vec![0; 65_535]), Err(TooLong));
    // It is told before the rest of it has come.
    assert_eq!(parse(&v2(0x20, 0x00, &vec![0; 65_535])[..16]), Err(TooLong));
}

/// Hands out at most `step` bytes a read.
struct Drip<'a> {
    bytes: &'a [u8],
    step: usize,
}

impl AsyncRead for Drip<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let n = self.step.min(buf.remaining()).min(self.bytes.len());
        let (now, later) = self.bytes.split_at(n);
        buf.put_slice(now);
        self.bytes = later;
        Poll::Ready(Ok(()))
    }
}

fn valid_headers() -> Vec<Vec<u8>> {
    let long = format!("PROXY UNKNOWN {}\r\n", "f".repeat(91));
    vec![
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n".to_vec(),
        b"PROXY TCP4 203.0.113.9 192.0.2.1 56324 443\r\n".to_vec(),
        b"PROXY TCP6 2001:db8::9 2001:db8::1 56324 443\r\n".to_vec(),
        long.into(),
        v2(0x20, 0x00, b""),
        v2(0x21, 0x11, IPV4),
        v2(0x21, 0x21, &ipv6()),
        with_checksum(&field(0xee, &[7; 480]), b""),
    ]
}

#[tokio::test]
async fn a_header_is_read_to_its_last_byte_and_not_beyond() {
    for header in valid_headers() {
        for behind in [b"".as_slice(), b"G", b"\n", b"\r\nGET / HTTP/1.1\r\n", &header.clone()] {
            for step in [1, 2, 7, 1000] {
                let sent = [header.as_slice(), behind].concat();
                let mut stream = Drip { bytes: &sent, step };
                let read = read_header(&mut stream).await;
                assert_eq!(read, parse(&header), "{:?}", header.escape_ascii().to_string());
                assert_eq!(stream.bytes, behind, "{:?}", header.escape_ascii().to_string());
            }
        }
    }
}

#[tokio::test]
async fn a_header_that_is_cut_off_is_none() {
    for header in valid_headers() {
        for len in 0..header.len() {
            let mut stream = Drip { bytes: &header[..len], step: 1000 };
            assert_eq!(read_header(&mut stream).await, Err(Cut), "{len} bytes");
            assert_eq!(parse(&header[..len]), Err(Cut), "{len} bytes");
        }
    }
}

#[tokio::test]
async fn only_trusted_peers_are_listened_to() {
    let settings = |trusted: &[&str]| Settings {
        trusted_proxies: trusted.iter().map(|net| net.parse().unwrap()).collect(),
        proxy_protocol: true,
        ..crate::listen::tests::plain(crate::listen::tests::limits())
    };
    let trusted = settings(&["10.0.0.0/8", "2001:db8:1::/48"]);
    let header = b"PROXY TCP4 203.0.113.9 192.0.2.1 56324 443\r\n".as_slice();
    for peer in ["10.0.0.1:9", "[::ffff:10.0.0.1]:9", "[2001:db8:1::1]:9"] {
        let peer = peer.parse().unwrap();
        let caller = read(&mut &*header, peer, &trusted).await;
        assert_eq!(caller, Ok(socket("203.0.113.9:56324")));
        let caller = read(&mut b"PROXY UNKNOWN\r\n".as_slice(), peer, &trusted).await;
        assert_eq!(caller, Ok(None), "it speaks for itself");
    }
    for peer in ["192.0.2.1:9", "[2001:db8:2::1]:9", "127.0.0.1:9"] {
        let mut stream = header;
        let caller = read(&mut stream, peer.parse().unwrap(), &trusted).await;
        assert_eq!(caller, Err(NotTrusted));
        assert_eq!(stream, header, "not a byte is read of it");
    }
    let nobody = read(&mut &*header, "10.0.0.1:9".parse().unwrap(), &settings(&[])).await;
    assert_eq!(nobody, Err(NotTrusted));
}
