//! Who was not let in at the admin listener.

use super::Explanation;
use super::case::{Case, listed};
use crate::admin;

/// Whether it came in at the admin listener.
pub(super) fn at_admin(case: &Case<'_>) -> bool {
    case.record.listener.as_deref() == Some("admin")
}

pub(super) fn missing(case: &Case<'_>) -> Explanation {
    Explanation::new("Somebody asked at the admin listener without a token.")
        .known(listens(case))
        .check("whether it is a monitor: /healthz and /readyz need no token, /metrics does")
        .check(NOBODY)
}

pub(super) fn invalid(case: &Case<'_>) -> Explanation {
    Explanation::new(
        "Somebody asked at the admin listener with a wrong token, or in another form than `Authorization: Bearer TOKEN`.",
    )
    .known(listens(case))
    .known(repeated(case))
    .check("whether a token was changed, and who or what still has the old one: the fingerprint tells whether it is always the same")
    .check(NOBODY)
}

pub(super) fn limited(case: &Case<'_>) -> Explanation {
    Explanation::new("Somebody had presented too many wrong tokens at the admin listener, and was not listened to for a while.")
        .known(listens(case))
        .check("what they were refused for before that: `hookward audit list --listener admin` with this client")
        .check(NOBODY)
}

/// Where a pool keeps more than that.
const POOL: &str = "whether a proxy, a pool or a scraper keeps more connections to it than one client may have: it meets that as connections that are reset";

pub(super) fn overloaded(case: &Case<'_>) -> Explanation {
    let most = admin::MAX_CONNECTIONS;
    let of_client = admin::MAX_OF_CLIENT;
    let bounds = format!(
        "it has {most} connections, {of_client} of one client, and twice as many of one IPv6 /48"
    );
    Explanation::new("A connection to the admin listener was closed, without an answer, for others came and it has only so many.")
        .known(listens(case))
        .known(Some(bounds))
        .check("who has most of them: `hookward audit list --listener admin` at that time")
        .check(POOL)
        .check("if the detail says that right tokens had more places than they keep: whose tokens are used so often; one that is taken out of the file keeps no place any more")
        .check("the Unix socket meanwhile: it has places of its own")
        .check(NOBODY)
}

pub(super) fn not_permitted(case: &Case<'_>) -> Explanation {
    let who = case.record.who.as_deref().unwrap_or("somebody with a token");
    let detail = case.record.detail.as_deref().unwrap_or("the token's role does not include it");
    Explanation::new(format!("{who} asked for what the role of that token does not allow: {detail}."))
        .check("whether they should be allowed to: `role` of [admin.tokens.NAME]; docs/admin.md has what each role may")
        .check("if they did not ask for it themselves: the token is known to somebody else, and is to be replaced")
}

const NOBODY: &str = "if it is nobody you know: who can reach the admin listener at all; it belongs on an address that strangers cannot reach";

fn listens(case: &Case<'_>) -> Option<String> {
    let admin = case.setup?.config.admin.as_ref()?;
    let open = if admin.listen.ip().is_loopback() {
        "this machine alone can reach that"
    } else {
        "that is no loopback address"
    };
    Some(format!("admin.listen is {}: {open}", admin.listen))
}

fn repeated(case: &Case<'_>) -> Option<String> {
    let credential = &case.near.credential;
    (credential.records > 1).then(|| {
        let clients = listed(case.near.credential_clients.iter().map(String::as_str));
        format!(
            "the same token was refused {} times in the day before and after it, from {clients}",
            credential.count
        )
    })
}
