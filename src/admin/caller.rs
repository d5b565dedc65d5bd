//! Who asks: whoever has a token, or a user of this machine.

use std::fs;

use crate::audit::Operator;
use crate::config::Role;
use crate::listen::Origin;
use crate::secret::Withdrawal;

/// Where the names of users stand.
const PASSWD: &str = "/etc/passwd";

/// The longest name of a user that is shown, in bytes.
const MAX_NAME: usize = 32;

/// Somebody who was let in.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// Who it is, in records.
    pub(super) operator: Operator,
    /// What they may do.
    pub(super) role: Role,
    /// Whether they still may.
    pub(super) withdrawal: Withdrawal,
}

impl Caller {
    /// A user of this machine, over the Unix socket, who may do everything.
    pub(super) fn local(uid: u32) -> Self {
        // Where the sandbox or the machine has no names, the number says it all.
        let users = fs::read_to_string(PASSWD).unwrap_or_default();
        let operator = Operator { who: user(uid, &users), peer: "admin.sock".to_owned() };
        Self { operator, role: Role::Admin, withdrawal: Withdrawal::default() }
    }

    /// Who has shown the token of this name.
    pub(super) fn of_token(
        who: &str,
        role: Role,
        withdrawal: &Withdrawal,
        origin: &Origin,
    ) -> Self {
        let operator = Operator { who: who.to_owned(), peer: origin.address().to_string() };
        Self { operator, role, withdrawal: withdrawal.clone() }
    }
}

/// The user in the words of the audit trail, at most 64 bytes.
fn user(uid: u32, users: &str) -> String {
    match name_of(uid, users) {
        Some(name) => format!("uid {uid} ({name})"),
        None => format!("uid {uid}"),
    }
}

fn name_of(uid: u32, users: &str) -> Option<&str> {
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(uid)).then_some(name)
    })?;
    let plain = named.bytes().all(|byte| byte.is_ascii_graphic());
    (plain && (1..=MAX_NAME).contains(&named.len())).then_some(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_named_where_there_is_a_plain_name() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbroken\nodd name:x:7:7::/:\n\
                     hookward:x:990:990:Gateway:/var/lib/hookward:/usr/sbin/nologin\n";
        for (uid, shown) in
            [(0, "uid 0 (root)"), (990, "uid 990 (hookward)"), (7, "uid 7"), (991, "uid 991")]
        {
            assert_eq!(user(uid, users), shown);
            assert_eq!(user(uid, ""), format!("uid {uid}"));
        }
    }

    #[test]
    fn the_journal_has_room_for_the_longest() {
        let name = "n".repeat(MAX_NAME);
        let users = format!("{name}:x:{}:0:::\n", u32::MAX);
        let shown = user(u32::MAX, &users);
        assert!(shown.contains(&name) && shown.len() <= 64, "{shown}");
    }
}
