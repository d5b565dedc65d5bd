//! Who may do what on the operators' side: the one place that says so. docs/admin.md has it as a table.

use super::api::Route;
use crate::config::Role;

/// What a caller must be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    /// See sources, events and dead letters without their payloads, and gaps.
    Read,
    /// See what was counted.
    Metrics,
    /// See an event's payload, and what upstreams answered.
    Payload,
    /// Replay, release and discard.
    Act,
    /// See the audit trail.
    Trail,
}

/// What a request asks for. A route says which method it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Metrics,
    Api {
        route: Route,
        /// Whether `payload=1` stands in the query.
        payload: bool,
    },
}

impl Right {
    /// What this needs.
    pub(super) fn needed_for(asked: Asked) -> Self {
        match asked {
            Asked::Metrics => Self::Metrics,
            Asked::Api { route, payload } => match route {
                Route::Event(_) if payload => Self::Payload,
                Route::Event(_)
                | Route::Sources
                | Route::Events
                | Route::DeadLetters
                | Route::Gaps
                | Route::OpenApi => Self::Read,
                // A dry run as well: it is asked for where something is to be done.
                Route::Act(..) | Route::ReplayDeadLetters => Self::Act,
                Route::Audit => Self::Trail,
            },
        }
    }

    /// What is said of a role that has it not. For our own records.
    pub(super) fn lacking(self) -> &'static str {
        match self {
            Self::Read => "the token's role does not include reading",
            Self::Metrics => "the token's role does not include metrics",
            Self::Payload => "the token's role does not include payloads",
            Self::Act => "the token's role does not include acts",
            Self::Trail => "the token's role does not include the audit trail",
        }
    }

    /// Whether this role has it.
    pub(super) fn is_of(self, role: Role) -> bool {
        match role {
            Role::Admin => true,
            Role::Viewer => match self {
                Self::Read | Self::Metrics => true,
                Self::Payload | Self::Act | Self::Trail => false,
            },
            Role::Operator => match self {
                Self::Read | Self::Metrics | Self::Payload | Self::Act => true,
                Self::Trail => false,
            },
            Role::Auditor => match self {
                Self::Read | Self::Trail => true,
                Self::Metrics | Self::Payload | Self::Act => false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixMillis;
    use crate::event::EventId;
    use crate::store::query::ActKind;

    #[test]
    fn the_documented_rights_are_the_ones_that_hold() {
        let event = EventId::new(UnixMillis(7), [1; 10]);
        let api = |route, payload| Asked::Api { route, payload };
        let rows = [
            ("sources, gaps, the OpenAPI document", api(Route::Sources, false)),
            ("events and dead letters, without payloads", api(Route::Event(event), false)),
            ("metrics", Asked::Metrics),
            ("payloads", api(Route::Event(event), true)),
            ("acts", api(Route::Act(event, ActKind::Replayed), false)),
            ("the audit trail", api(Route::Audit, false)),
        ];
        let documented = include_str!("../../docs/admin.md");
        for (what, asked) in rows {
            let right = Right::needed_for(asked);
            let roles = [Role::Viewer, Role::Operator, Role::Auditor, Role::Admin];
            let cells = roles.map(|role| if right.is_of(role) { "yes" } else { "-" });
            let row = format!("| {what} | {} |", cells.join(" | "));
            assert!(documented.contains(&row), "docs/admin.md lacks the row\n{row}");
        }
        for route in [Route::Gaps, Route::OpenApi, Route::Events, Route::DeadLetters] {
            assert_eq!(Right::needed_for(api(route, false)), Right::Read, "{route:?}");
        }
        assert_eq!(Right::needed_for(api(Route::ReplayDeadLetters, false)), Right::Act);
    }
}
