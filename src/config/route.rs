//! `[[route]]`: which events go to which upstreams.

use super::context::Context;
use super::defaults::{MAX_ROUTES, MAX_UPSTREAMS};
use super::problem::{ProblemKind, Warning};
use super::tree::{Node, nearest};
use super::{Route, selector, source, upstream};
use crate::event::SourceName;

pub(super) const KEYS: &[&str] = &["source", "type", "to"];

const ROUTES: &str = "[[route]] tables";
const TO: &str = "a list of upstreams' names such as [\"app\"]";

/// Reads all routes. `None` if one is wrong.
pub(super) fn read(
    node: &Node<'_>,
    sources: &[source::Checked],
    upstreams: &[upstream::Checked],
    cx: &mut Context<'_>,
) -> Option<Vec<Route>> {
    let list = node.full_list(ROUTES, MAX_ROUTES, cx)?;
    let routes: Vec<_> = list.iter().map(|node| route(node, sources, upstreams, cx)).collect();
    let routes: Vec<Route> = routes.into_iter().collect::<Option<_>>()?;
    for (i, upstream) in upstreams.iter().enumerate() {
        if !routes.iter().any(|route| route.to.contains(&i)) {
            cx.problem(&upstream.spot, Warning::NoRouteTo);
        }
    }
    for source in sources {
        let takes = |r: &Route| r.source.as_ref().is_none_or(|name| name.as_str() == source.name);
        if !routes.iter().any(takes) {
            cx.problem(&source.spot, Warning::NoRouteFrom);
        }
    }
    Some(routes)
}

fn route(
    node: &Node<'_>,
    sources: &[source::Checked],
    upstreams: &[upstream::Checked],
    cx: &mut Context<'_>,
) -> Option<Route> {
    let table = node.table(KEYS, cx)?;
    let source = table.get("source").map(|node| {
        let names: Vec<&str> = sources.iter().map(|s| s.name.as_str()).collect();
        let index = known(&node, &names, "a source's name", cx)?;
        sources.get(index).and_then(|source| SourceName::new(&source.name).ok())
    });
    let kind = table.get("type").map(|node| selector::pattern(&node, cx));
    let Some(to) = table.get("to") else {
        cx.missing(table.spot(), "to", TO);
        return None;
    };
    let names: Vec<&str> = upstreams.iter().map(|u| u.name.as_str()).collect();
    let mut targets = Vec::new();
    for node in to.full_list(TO, MAX_UPSTREAMS, cx)? {
        let target = known(&node, &names, "an upstream's name", cx);
        if let Some(target) = target
            && targets.contains(&Some(target))
        {
            let found = format!("\"{}\"", names.get(target).copied().unwrap_or_default());
            let by = "the same list".to_owned();
            cx.problem(node.spot(), ProblemKind::Taken { found, by });
        }
        targets.push(target);
    }
    Some(Route {
        source: source.map_or(Some(None), |s| s.map(Some))?,
        kind: kind.map_or(Some(None), |k| k.map(Some))?,
        to: targets.into_iter().collect::<Option<_>>()?,
    })
}

/// The index of the name that the node holds.
fn known(
    node: &Node<'_>,
    names: &[&str],
    accepted: &'static str,
    cx: &mut Context<'_>,
) -> Option<usize> {
    let text = node.text(accepted, cx)?;
    let index = names.iter().position(|name| *name == text);
    if index.is_none() {
        let accepted = if names.is_empty() { accepted.to_owned() } else { some(names) };
        node.refuse(text, accepted, nearest(text, names).map(|n| format!("\"{n}\"")), cx);
    }
    index
}

/// The first few names, and how many more there are.
fn some(names: &[&str]) -> String {
    const MOST: usize = 8;
    let mut shown: Vec<_> = names.iter().take(MOST).map(|name| format!("\"{name}\"")).collect();
    if let Some(further) = names.len().checked_sub(MOST).filter(|further| *further > 0) {
        shown.push(format!("and {further} more"));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_not_shown_are_counted() {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
        assert_eq!(some(&names[..2]), r#""a", "b""#);
        assert!(some(&names[..8]).ends_with(r#", "g", "h""#));
        assert!(some(&names).ends_with(r#", "g", "h", and 2 more"#));
    }
}
