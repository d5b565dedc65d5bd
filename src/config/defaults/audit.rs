//! The audit trail's defaults.

use std::time::Duration;

use super::super::units::ByteSize;
use super::{Limit, days};

/// `audit.retention`
pub const KEEP: Limit<Duration> = Limit {
    key: "audit.retention",
    default: days(2_192),
    least: days(1),
    most: days(36_500),
    reason: "six years, which 45 CFR 164.316 asks of the documentation of security measures",
};
/// `audit.max_size`
pub const MAX_SIZE: Limit<ByteSize> = Limit {
    key: "audit.max_size",
    default: ByteSize(2 << 30),
    least: ByteSize(64 << 20),
    most: ByteSize(1 << 50),
    reason: "some four million records; a flood cannot fill the disk, and beyond it the oldest go, to audit.archive if that is set",
};
/// `audit.required`
pub const REQUIRED: bool = false;
