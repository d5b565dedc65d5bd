//! Whom an upstream's certificate is from, and which one it is shown.

use super::*;

#[tokio::test]
async fn https_shows_the_configured_certificate_to_who_asks_for_it() {
    let (own, other) = (rcgen_pair(), rcgen_pair());
    let (addr, ca) = tls_app_asking(Some(&own.0));
    for (client_cert, taken) in
        [(Some(identity(&own)), true), (Some(identity(&other)), false), (None, false)]
    {
        let mut upstream = upstream(&format!("https://{addr}/hooks"));
        upstream.ca = Some(authorities(&ca));
        upstream.client_cert = client_cert;
        let attempt = once(&forwarder(upstream), 1).await;
        assert_eq!(attempt.result == AttemptResult::Answered(200), taken, "{attempt:?}");
        assert!(taken || retried(&attempt));
    }
}

#[tokio::test]
async fn https_trusts_the_configured_ca_and_no_other() {
    let (addr, own_ca) = tls_app();
    let (_, other_ca) = tls_app();
    for (ca, expected) in
        [(own_ca, AttemptResult::Answered(200)), (other_ca, AttemptResult::ConnectFailed)]
    {
        let mut upstream = upstream(&format!("https://{addr}/hooks"));
        upstream.ca = Some(authorities(&ca));
        assert_eq!(once(&forwarder(upstream), 1).await.result, expected);
    }
}
