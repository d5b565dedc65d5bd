//! Who may call: allowlists, judged by the other end of the connection where nobody is trusted to
//! speak for others.

use crate::client::Post;
use crate::gateway::setup;

const SOURCES: &str = "
[source.open]
auth = { kind = \"none-dangerous\" }

[source.one]
auth = { kind = \"none-dangerous\" }
allow_ips = [\"127.0.0.1/32\"]

[source.net]
auth = { kind = \"none-dangerous\" }
allow_ips = [\"192.0.2.0/24\", \"127.0.2.0/30\"]

[source.six]
auth = { kind = \"none-dangerous\" }
allow_ips = [\"::/0\"]

[source.local6]
auth = { kind = \"none-dangerous\" }
allow_ips = [\"::1/128\"]

[upstream.app]
url = \"http://127.0.0.1:1/\"
";

#[tokio::test]
async fn only_listed_addresses_get_in() {
    let gateway = setup(SOURCES).start().await;
    for (path, from, allowed) in [
        ("/hooks/open", "127.0.0.77", true),
        ("/hooks/one", "127.0.0.1", true),
        ("/hooks/one", "127.0.0.2", false),
        ("/hooks/net", "127.0.2.3", true),
        ("/hooks/net", "127.0.2.4", false),
        ("/hooks/net", "127.0.0.1", false),
        ("/hooks/six", "127.0.0.1", false),
    ] {
        let post = Post::to(path).from(from);
        if allowed {
            gateway.accepts(&post).await;
        } else {
            gateway.refuses(path, &post, 403, "ip_not_allowed").await;
        }
    }
}

/// Nobody is believed who says that he is called by somebody else.
#[tokio::test]
async fn forwarding_headers_change_nothing() {
    let gateway = setup(SOURCES).start().await;
    for (name, value) in [
        ("X-Forwarded-For", "127.0.0.1"),
        ("Forwarded", "for=127.0.0.1"),
        ("X-Real-IP", "127.0.0.1"),
        ("CF-Connecting-IP", "127.0.0.1"),
        ("True-Client-IP", "127.0.0.1"),
    ] {
        let post = Post::to("/hooks/one").from("127.0.0.2").header(name, value);
        gateway.refuses(name, &post, 403, "ip_not_allowed").await;
    }
    gateway.accepts(&Post::to("/hooks/one").header("X-Forwarded-For", "192.0.2.1")).await;
}

/// A listener for both families sees IPv4 clients under IPv4-mapped addresses. They are judged,
/// and told of, as the IPv4 addresses that they are.
#[tokio::test]
async fn on_an_ipv6_listener_ipv4_clients_are_ipv4_clients() {
    let gateway = setup(SOURCES).server("listen = \"[::]:0\"").start().await;
    let port = gateway.address.port();
    let four = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let six = format!("[::1]:{port}").parse().unwrap();
    for (path, from, to, status) in [
        ("/hooks/one", "127.0.0.1", four, 200),
        ("/hooks/one", "127.0.0.2", four, 403),
        ("/hooks/net", "127.0.2.1", four, 200),
        ("/hooks/six", "127.0.0.1", four, 403),
        ("/hooks/six", "::1", six, 200),
        ("/hooks/local6", "::1", six, 200),
        ("/hooks/local6", "127.0.0.1", four, 403),
        ("/hooks/one", "::1", six, 403),
    ] {
        let post = Post::to(path).from(from);
        let answer = post.send(to).await;
        assert_eq!(answer.status, status, "{path} from {from}");
        answer.assert_well_formed();
        if status == 403 {
            let line = crate::lines::refusal(&post.tag).await;
            assert_eq!(line["client"], from, "{path}");
        }
    }
}
