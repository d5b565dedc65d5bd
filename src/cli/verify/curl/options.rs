//! The options of curl that a copied command has.

/// What an option does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Does {
    Method,
    Header,
    /// `-d`: a file's line ends are left out.
    Data,
    DataRaw,
    DataBinary,
    Json,
    Url,
    /// Sets this header.
    Sets(&'static str),
    Cookie,
    Head,
    /// The credentials of basic authentication.
    User,
    /// A file of further options.
    Config,
    /// Nothing to the request.
    Flag,
    /// Nothing to the request, and takes a value.
    Value,
    Unfit,
}

/// The option of this name, which stands behind two hyphens.
pub(super) fn long(name: &str) -> Option<Does> {
    Some(match name {
        "request" => Does::Method,
        "header" => Does::Header,
        "data" | "data-ascii" => Does::Data,
        "data-raw" => Does::DataRaw,
        "data-binary" => Does::DataBinary,
        "json" => Does::Json,
        "url" => Does::Url,
        "user-agent" => Does::Sets("User-Agent"),
        "referer" => Does::Sets("Referer"),
        "cookie" => Does::Cookie,
        "head" => Does::Head,
        "user" => Does::User,
        "config" => Does::Config,
        "silent"
        | "show-error"
        | "verbose"
        | "include"
        | "insecure"
        | "location"
        | "fail"
        | "compressed"
        | "http1.0"
        | "http1.1"
        | "http2"
        | "http2-prior-knowledge"
        | "http3"
        | "no-progress-meter"
        | "progress-bar"
        | "globoff"
        | "path-as-is"
        | "ipv4"
        | "ipv6"
        | "no-keepalive"
        | "no-buffer"
        | "fail-with-body"
        | "tlsv1.2"
        | "tlsv1.3" => Does::Flag,
        "output" | "write-out" | "max-time" | "connect-timeout" | "cacert" | "cert" | "key"
        | "resolve" | "connect-to" | "proxy" | "retry" | "retry-delay" | "interface"
        | "dump-header" | "cookie-jar" | "trace" | "trace-ascii" | "stderr" | "max-redirs"
        | "retry-max-time" => Does::Value,
        "get" | "form" | "form-string" | "upload-file" | "data-urlencode" => Does::Unfit,
        _ => return None,
    })
}

/// The option of this letter.
pub(super) fn short(letter: char) -> Option<Does> {
    Some(match letter {
        'X' => Does::Method,
        'H' => Does::Header,
        'd' => Does::Data,
        'A' => Does::Sets("User-Agent"),
        'e' => Does::Sets("Referer"),
        'b' => Does::Cookie,
        'I' => Does::Head,
        'u' => Does::User,
        'K' => Does::Config,
        's' | 'S' | 'v' | 'i' | 'k' | 'L' | 'f' | '0' | '#' | 'g' | '4' | '6' | 'N' => Does::Flag,
        'o' | 'w' | 'm' | 'x' | 'D' | 'c' | 'E' => Does::Value,
        'G' | 'F' | 'T' => Does::Unfit,
        _ => return None,
    })
}

impl Does {
    /// Whether a value follows.
    pub(super) fn takes_value(self) -> bool {
        !matches!(self, Self::Flag | Self::Head | Self::Unfit)
    }
}
