//! Whom proxies name: PROXY headers and X-Forwarded-For.

use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll, Waker};

use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

use crate::admit::{self, Proxies};
use crate::listen::Origin;
use crate::listen::proxy_protocol::{self, Header};

/// A connection's first bytes: what is read of them is the header to its last byte and nothing
/// behind it, whatever follows; a part of a header is none; and the header is bounded.
pub fn proxy_header(data: &[u8]) {
    let parsed = proxy_protocol::parse(data);
    let mut stream = data;
    let read = {
        let reading = std::pin::pin!(proxy_protocol::read_header(&mut stream));
        match reading.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(read) => read,
            Poll::Pending => Err(proxy_protocol::HeaderError::Cut),
        }
    };
    assert_eq!(read.ok(), parsed.ok(), "read and parsed differently");
    let Ok(Header { len, .. }) = parsed else { return };
    assert!(len <= 536, "a header without bounds");
    assert_eq!(stream.len(), data.len() - len, "read too little or too much");
    let (header, _) = data.split_at(len);
    assert_eq!(proxy_protocol::parse(header), parsed, "what follows changes the header");
    for end in 0..len {
        let part = data.get(..end).unwrap_or_default();
        assert_eq!(proxy_protocol::parse(part), Err(proxy_protocol::HeaderError::Cut));
    }
}

/// The values of X-Forwarded-For, one a line: from a stranger they change nothing; from a trusted
/// proxy the client is the first address from the right that is not trusted, whatever stands to
/// the left of it.
pub fn forwarded(data: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(64) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append("x-forwarded-for", value);
        }
    }
    let trusted = vec![IpNet::from(IpAddr::from([10, 0, 0, 1]))];
    let proxies = Proxies { trusted, proxy_protocol: false };
    let stranger = Origin::plain(SocketAddr::from(([192, 0, 2, 1], 1)));
    let client = admit::client_address(&stranger, &headers, &proxies);
    assert_eq!(client, Ok(Some([192, 0, 2, 1].into())), "a stranger is believed");

    let proxy = Origin::plain(SocketAddr::from(([10, 0, 0, 1], 1)));
    let proxy = Origin { forwards: true, ..proxy };
    let client = admit::client_address(&proxy, &headers, &proxies);
    let canonical = client.map(|client| client.map(|ip| ip.to_canonical()));
    assert_eq!(client, canonical, "an IPv4-mapped address");
    if client == Ok(Some([10, 0, 0, 1].into())) {
        return;
    }
    let mut more = HeaderMap::new();
    more.append("x-forwarded-for", HeaderValue::from_static("203.0.113.1, garbage"));
    for value in headers.get_all("x-forwarded-for") {
        more.append("x-forwarded-for", value.clone());
    }
    let again = admit::client_address(&proxy, &more, &proxies);
    assert_eq!(again, client, "what the client made up counts");
}
