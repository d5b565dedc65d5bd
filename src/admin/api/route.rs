//! The paths under `/api/v1`, and the methods of each.

use http::Method;

use super::fault::Fault;
use crate::event::EventId;
use crate::store::query::ActKind;

/// What all paths of the API begin with.
pub(in super::super) const ROOT: &str = "/api/v1/";

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Route {
    Sources,
    Events,
    Event(EventId),
    Act(EventId, ActKind),
    DeadLetters,
    ReplayDeadLetters,
    Gaps,
    Audit,
    OpenApi,
}

impl Route {
    /// What the path leads to, if this method does something there.
    pub(super) fn of(method: &Method, path: &str) -> Result<Self, Fault> {
        let rest = path.strip_prefix(ROOT).ok_or_else(Fault::no_such_path)?;
        let segments: Vec<&str> = rest.splitn(4, '/').collect();
        let route = match segments[..] {
            ["sources"] => Ok(Self::Sources),
            ["events"] => Ok(Self::Events),
            ["dead-letters"] => Ok(Self::DeadLetters),
            ["dead-letters", "replay"] => Ok(Self::ReplayDeadLetters),
            ["gaps"] => Ok(Self::Gaps),
            ["audit"] => Ok(Self::Audit),
            ["openapi.json"] => Ok(Self::OpenApi),
            ["events", event] => {
                only(method, GET)?;
                id(event).map(Self::Event)
            }
            ["events", event, act] => {
                let act = act_of(act).ok_or_else(Fault::no_such_path)?;
                only(method, POST)?;
                id(event).map(|id| Self::Act(id, act))
            }
            _ => Err(Fault::no_such_path()),
        }?;
        only(method, route.allows())?;
        Ok(route)
    }

    fn allows(self) -> &'static str {
        match self {
            Self::Act(..) | Self::ReplayDeadLetters => POST,
            Self::Sources
            | Self::Events
            | Self::Event(_)
            | Self::DeadLetters
            | Self::Gaps
            | Self::Audit
            | Self::OpenApi => GET,
        }
    }
}

const GET: &str = "GET, HEAD";
const POST: &str = "POST";

fn only(method: &Method, allow: &'static str) -> Result<(), Fault> {
    let fits = allow.split(", ").any(|allowed| method.as_str() == allowed);
    if fits { Ok(()) } else { Err(Fault::method(allow)) }
}

fn act_of(name: &str) -> Option<ActKind> {
    match name {
        "replay" => Some(ActKind::Replayed),
        "release" => Some(ActKind::Released),
        "discard" => Some(ActKind::Discarded),
        _ => None,
    }
}

/// An id in the one form that it is given out in; the library takes others as well.
fn id(text: &str) -> Result<EventId, Fault> {
    let id = text.parse::<EventId>().ok().filter(|_| text.len() == 36);
    id.ok_or_else(Fault::no_such_event)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixMillis;

    #[test]
    fn paths_lead_where_they_say() {
        let event = EventId::new(UnixMillis(7), [1; 10]);
        let get = |path: &str| Route::of(&Method::GET, path);
        let post = |path: &str| Route::of(&Method::POST, path);
        assert_eq!(get("/api/v1/sources"), Ok(Route::Sources));
        assert_eq!(Route::of(&Method::HEAD, "/api/v1/events"), Ok(Route::Events));
        assert_eq!(get(&format!("/api/v1/events/{event}")), Ok(Route::Event(event)));
        for (name, act) in [
            ("replay", ActKind::Replayed),
            ("release", ActKind::Released),
            ("discard", ActKind::Discarded),
        ] {
            let path = format!("/api/v1/events/{event}/{name}");
            assert_eq!(post(&path), Ok(Route::Act(event, act)));
            assert_eq!(get(&path), Err(Fault::method("POST")));
        }
        assert_eq!(post("/api/v1/dead-letters/replay"), Ok(Route::ReplayDeadLetters));
        assert_eq!(post("/api/v1/dead-letters"), Err(Fault::method("GET, HEAD")));
        // The method comes first: it is wrong for any id.
        assert_eq!(post("/api/v1/events/x"), Err(Fault::method("GET, HEAD")));
        assert_eq!(get("/api/v1/events/x"), Err(Fault::no_such_event()));
        let simple = event.to_string().replace('-', "");
        assert_eq!(get(&format!("/api/v1/events/{simple}")), Err(Fault::no_such_event()));
        for path in [
            "/api/v1/",
            "/api/v1/event",
            "/api/v1/events/",
            "/api/v1/Events",
            "/api/v1//events",
            "/api/v2/events",
            "/api/v1/dead-letters/",
            "/api/v1/events/x/look",
            "/api/v1/events/x/replay/y",
        ] {
            assert!(
                matches!(get(path), Err(fault) if fault == Fault::no_such_path() || fault == Fault::no_such_event()),
                "{path}"
            );
        }
    }
}
