//! I-JSON (RFC 7493): one strict pass over the bytes that finds where every value stands.
