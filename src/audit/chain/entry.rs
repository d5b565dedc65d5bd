//! What waits to be written to the trail, and the record that becomes of it. A refusal comes here as it
//! is; what takes time is done by the writer.

use std::net::IpAddr;

use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::super::refused::{Client, Refused, bounded};
use super::record::Record;
use crate::clock::UnixMillis;
use crate::event::EventId;
use crate::listen::Listener;

/// What waits to be written.
#[derive(Debug)]
pub(super) enum Entry {
    Refusal(Box<Refusal>),
    Sum(Sum),
    Own(Own, EventId, UnixMillis),
}

/// A refusal of one request.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) id: EventId,
    pub(super) at: UnixMillis,
    reason: &'static str,
    detail: &'static str,
    source: Option<String>,
    listener: Listener,
    who: Option<String>,
    peer: Option<IpAddr>,
    client: Option<IpAddr>,
    tls: Option<&'static str>,
    server_name: Option<String>,
    method: String,
    path: String,
    user_agent: String,
    declared: Option<u64>,
    size: u64,
    pub(super) body: Seen,
    credential: Option<String>,
    status: u16,
    /// What else is to be said; no secret and no payload.
    pub(super) details: Option<Value>,
}

/// A request's body.
#[derive(Debug)]
pub(super) enum Seen {
    /// Nobody asked for it, or too many others wait to be hashed.
    Nothing,
    /// As far as it was read.
    Bytes(Bytes),
}

impl Seen {
    /// Bytes that are held in memory for it.
    pub(super) fn held(&self) -> usize {
        if let Self::Bytes(bytes) = self { bytes.len() } else { 0 }
    }

    pub(super) fn hash(&self) -> Option<[u8; 32]> {
        match self {
            Self::Nothing => None,
            Self::Bytes(bytes) => Some(Sha256::digest(bytes).into()),
        }
    }
}

/// Refusals that do not stand singly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    /// Why they were refused.
    pub reason: &'static str,
    /// What is to be said of all of them. Fixed text.
    pub detail: &'static str,
    /// Whose endpoint they were sent to, if it was one.
    pub source: Option<String>,
    /// Where they came in, if it was one listener.
    pub listener: Option<Listener>,
    /// Who sent them.
    pub client: String,
    /// Whose credential they showed, if it was one's, and was right.
    pub who: Option<String>,
    /// How many there were.
    pub count: u64,
    /// When the first was.
    pub first: UnixMillis,
    /// When the last was.
    pub last: UnixMillis,
}

/// What the gateway itself has done.
#[derive(Clone, Debug, PartialEq)]
pub struct Own {
    /// What, by its public name.
    pub reason: &'static str,
    /// On whose account.
    pub who: String,
    /// What else is to be said; no secret and no payload.
    pub details: Value,
}

impl Refusal {
    /// What is kept of it.
    pub(super) fn of(
        refused: &Refused<'_>,
        id: EventId,
        at: UnixMillis,
        credential: Option<String>,
    ) -> Self {
        let text = |text: std::borrow::Cow<'_, str>| text.into_owned();
        let server_name = refused.tls.and_then(|tls| tls.server_name.as_deref());
        Self {
            id,
            at,
            reason: refused.reason.as_str(),
            detail: refused.detail,
            source: refused.source.map(|source| source.as_str().to_owned()),
            listener: refused.listener,
            who: refused.who.map(str::to_owned),
            peer: refused.peer.or(refused.client),
            client: refused.client,
            tls: refused.tls.map(|tls| tls.version),
            server_name: server_name.map(|name| text(bounded::<128>(name.as_bytes()))),
            method: text(bounded::<32>(refused.method.as_bytes())),
            path: text(bounded::<256>(refused.path.as_bytes())),
            user_agent: text(bounded::<128>(refused.user_agent)),
            declared: refused.declared,
            size: refused.body.as_ref().map_or(refused.size, |body| body.len() as u64),
            body: refused.body.clone().map_or(Seen::Nothing, Seen::Bytes),
            credential,
            status: refused.status,
            details: None,
        }
    }

    pub(super) fn reason(&self) -> &'static str {
        self.reason
    }

    fn into_record(self) -> Record {
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        let local = self.listener == Listener::Socket;
        let address = |ip: Option<IpAddr>| {
            if local { "admin.sock".to_owned() } else { Client(ip).to_string() }
        };
        Record {
            id: self.id.to_string(),
            time: self.at.to_string(),
            reason: self.reason.to_owned(),
            detail: some(self.detail.to_owned()),
            source: self.source,
            listener: Some(self.listener.as_str().to_owned()),
            peer: Some(address(self.peer)),
            client: Some(address(self.client)),
            who: self.who,
            tls: self.tls.map(str::to_owned),
            server_name: self.server_name,
            method: some(self.method),
            path: some(self.path),
            user_agent: some(self.user_agent),
            declared: self.declared,
            size: Some(self.size),
            sha256: self.body.hash().map(hex::encode),
            credential: self.credential,
            status: Some(self.status).filter(|status| *status > 0),
            count: 1,
            details: self.details,
            ..Record::default()
        }
    }
}

impl Entry {
    /// The record of it. `id` and `now` are for one that has none of its own.
    pub(super) fn into_record(self, id: EventId, now: UnixMillis) -> Record {
        match self {
            Self::Refusal(refusal) => refusal.into_record(),
            Self::Sum(sum) => Record {
                id: id.to_string(),
                time: now.to_string(),
                reason: sum.reason.to_owned(),
                detail: Some(sum.detail.to_owned()).filter(|text| !text.is_empty()),
                source: sum.source,
                listener: sum.listener.map(|listener| listener.as_str().to_owned()),
                client: Some(sum.client),
                who: sum.who,
                count: sum.count,
                first: Some(sum.first.to_string()),
                last: Some(sum.last.to_string()),
                ..Record::default()
            },
            Self::Own(own, id, at) => Record {
                id: id.to_string(),
                time: at.to_string(),
                reason: own.reason.to_owned(),
                who: Some(own.who),
                count: 1,
                details: Some(own.details),
                ..Record::default()
            },
        }
    }
}
