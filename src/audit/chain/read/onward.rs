//! Pages of records, oldest first: for whoever wants all of them through the API.

use std::io;

use super::damage::{Seen, seen};
use super::{MOST_READ, Page, Reader, is_over};
use crate::audit::chain::filter::{Filter, Wanted};
use crate::audit::chain::parts::Part;

impl Reader {
    /// At most `limit` records behind this number, or the oldest. May be fewer although there are more,
    /// where many have to be looked through.
    ///
    /// # Errors
    /// As the file system says.
    pub fn oldest(&self, filter: &Filter, after: Option<u64>, limit: usize) -> io::Result<Page> {
        let wanted = Wanted::new(filter);
        let after = after.unwrap_or(0);
        let (mut page, mut read) = (Page::default(), 0);
        let key = self.key();
        let parts = self.parts(key.as_ref())?;
        let (mut reached, mut on_the_way) = (None, self.unread(&parts)?);
        for (at, part) in parts.iter().enumerate() {
            let next = parts.get(at + 1);
            if is_over(next, filter.since) || is_behind(next, after) {
                continue;
            }
            if read >= MOST_READ && reached.is_some() {
                return Ok(page.up_to(reached, on_the_way));
            }
            let Some(segment) = self.load(part.number)? else { continue };
            read += segment.len() as u64;
            let seen = seen(&segment, part, next, key.as_ref());
            for seen in seen.filter(|seen| seen.is_behind(after)) {
                match seen {
                    Seen::Hole(hole) => {
                        reached = hole.upto().max(reached);
                        on_the_way.add(hole.into());
                    }
                    Seen::Frame(frame) => {
                        reached = Some(frame.sequence.0);
                        if let Some(listed) = wanted.of(&frame)
                            && page.is_full(listed, &mut on_the_way, limit)
                        {
                            return Ok(page);
                        }
                    }
                }
            }
        }
        Ok(page.up_to(None, on_the_way))
    }
}

/// Whether all in front of this segment has a number up to that.
fn is_behind(next: Option<&Part>, after: u64) -> bool {
    let signed = next.filter(|next| after > 0 && next.signed.is_some());
    signed.and_then(|next| next.follows).is_some_and(|start| start.sequence.0 <= after)
}
