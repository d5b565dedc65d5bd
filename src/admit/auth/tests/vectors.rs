//! Examples that others have published.

use super::*;

#[test]
fn githubs_documented_example_verifies() {
    let github = source(
        Auth::Hmac(body_scheme("x-hub-signature-256", "sha256=")),
        &[b"It's a Secret to Everybody"],
    );
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let headers = [("X-Hub-Signature-256", signature)];
    assert_eq!(check(&github, &headers, b"Hello, World!"), Ok(()));
    assert_eq!(check(&github, &headers, b"Hello, World?"), Err(SignatureInvalid));
}

#[test]
fn slacks_documented_example_verifies() {
    let body = b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow\
        &channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner\
        &command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands\
        %2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN\
        &trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let headers = [
        (
            "X-Slack-Signature",
            "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
        ),
        ("X-Slack-Request-Timestamp", "1531420618"),
    ];
    let slack = slack(b"8f742231b10e8888abcd99yyyzzz85a5");
    let then = UnixMillis(1_531_420_618_000);
    assert_eq!(check_at(&slack, &headers, body, then), Ok(()));
    let late = check_at(&slack, &headers, body, NOW).unwrap_err();
    assert_eq!(late.reason, TimestampOutOfRange);
}

#[test]
fn the_standard_webhooks_libraries_example_verifies() {
    let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let headers = [
        ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    ];
    let source = standard_webhooks(&[&key]);
    let then = UnixMillis(1_614_265_330_000);
    assert_eq!(check_at(&source, &headers, br#"{"test": 2432232314}"#, then), Ok(()));
    let other = check_at(&source, &headers, br#"{"test": 2432232315}"#, then).unwrap_err();
    assert_eq!(other.reason, SignatureInvalid);
}

/// RFC 2202 section 3 (SHA-1) and RFC 4231 section 4 (SHA-256, SHA-512): cases 1, 2, 3 and the
/// two whose keys are longer than a block.
#[test]
fn the_rfcs_hmac_vectors_verify() {
    const LONG_KEY: &[u8] = b"Test Using Larger Than Block-Size Key - Hash Key First";
    let long =
        b"This is a test using a larger than block-size key and a larger than block-size data. \
        The key needs to be hashed before being used by the HMAC algorithm.";
    let (sha1, sha256, sha512) = (Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512);
    let vectors: [(Algorithm, &[u8], &[u8], &str); 12] = [
        (sha1, &[0x0b; 20], b"Hi There", "b617318655057264e28bc0b6fb378c8ef146be00"),
        (
            sha1,
            b"Jefe",
            b"what do ya want for nothing?",
            "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
        ),
        (sha1, &[0xaa; 20], &[0xdd; 50], "125d7342b9ac11cd91a39af48aa17b4f63f175d3"),
        (sha1, &[0xaa; 80], LONG_KEY, "aa4ae5e15272d00e95705637ce8a3b55ed402112"),
        (
            sha256,
            &[0x0b; 20],
            b"Hi There",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        ),
        (
            sha256,
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (
            sha256,
            &[0xaa; 131],
            LONG_KEY,
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
        (
            sha256,
            &[0xaa; 131],
            long,
            "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
        ),
        (
            sha512,
            &[0x0b; 20],
            b"Hi There",
            "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854",
        ),
        (
            sha512,
            b"Jefe",
            b"what do ya want for nothing?",
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
        ),
        (
            sha512,
            &[0xaa; 131],
            LONG_KEY,
            "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f3526b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598",
        ),
        (
            sha512,
            &[0xaa; 131],
            long,
            "e37b6a775dc87dbaa4dfa9f96e5e3ffddebd71f8867289865df5a32d20cdc944b6022cac3c4982b10d5eeb55c3e4de15134676fb6de0446065c97440fa8c6a58",
        ),
    ];
    for (algorithm, key, body, tag) in vectors {
        let tag = hex::decode(tag).unwrap();
        for (encoding, written) in
            [(Encoding::Hex, hex::encode(&tag)), (Encoding::Base64, STANDARD.encode(&tag))]
        {
            let scheme = HmacScheme { algorithm, encoding, ..body_scheme("x-sig", "") };
            let source = source(Auth::Hmac(scheme), &[key]);
            assert_eq!(check(&source, &[("x-sig", &written)], body), Ok(()), "{written}");
            assert_eq!(check(&source, &[("x-sig", &written)], b"other"), Err(SignatureInvalid));
        }
    }
}

// ---- API keys ----
