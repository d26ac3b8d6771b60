//! What the server can do, as told in each state (RFC 9051 §6.1.1).

use std::borrow::Cow;

/// What the list depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances {
    /// The client has logged in.
    pub(crate) authenticated: bool,
    /// STARTTLS is possible: there is a certificate, and TLS is not spoken yet.
    pub(crate) can_start_tls: bool,
    /// Passwords may be sent: TLS is spoken, or the configuration allows it without.
    pub(crate) may_log_in: bool,
    /// The largest message for APPEND, in octets.
    pub(crate) append_limit: u64,
}

/// What there is in every state.
const ALWAYS: &[&str] = &["IMAP4rev2", "IMAP4rev1", "LITERAL+", "ID", "ENABLE"];

/// What there is after the login (RFC numbers in the order of the list: 2177, 2342, 3348, 3691, 4315, 6851, 6154, 6154, 5258, 5819, 4731,
/// 5182, 8438, 3502, 3516, 5032, 9208, 9208, 6855).
const AFTER_LOGIN: &[&str] = &[
    "IDLE",
    "NAMESPACE",
    "CHILDREN",
    "UNSELECT",
    "UIDPLUS",
    "MOVE",
    "SPECIAL-USE",
    "CREATE-SPECIAL-USE",
    "LIST-EXTENDED",
    "LIST-STATUS",
    "ESEARCH",
    "SEARCHRES",
    "STATUS=SIZE",
    "MULTIAPPEND",
    "BINARY",
    "WITHIN",
    "QUOTA",
    "QUOTA=RES-STORAGE",
    "UTF8=ACCEPT",
];

/// The capabilities in these circumstances.
pub(crate) fn capabilities(now: Circumstances) -> Vec<Cow<'static, str>> {
    let mut list: Vec<Cow<'static, str>> = ALWAYS.iter().map(|&name| name.into()).collect();
    if now.authenticated {
        list.extend(AFTER_LOGIN.iter().map(|&name| Cow::from(name)));
        list.push(format!("APPENDLIMIT={}", now.append_limit).into());
        return list;
    }
    list.push("SASL-IR".into());
    if now.can_start_tls {
        list.push("STARTTLS".into());
    }
    if now.may_log_in {
        list.extend(["AUTH=PLAIN".into(), "AUTH=LOGIN".into()]);
    } else {
        list.push("LOGINDISABLED".into());
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_asked_for_only_where_they_may_be_sent() {
        let plain =
            Circumstances { authenticated: false, can_start_tls: true, may_log_in: false, append_limit: 7 };
        let list = capabilities(plain);
        assert!(list.contains(&"LOGINDISABLED".into()) && list.contains(&"STARTTLS".into()));
        assert!(!list.iter().any(|name| name.starts_with("AUTH=")));

        let tls = Circumstances { can_start_tls: false, may_log_in: true, ..plain };
        let list = capabilities(tls);
        assert!(list.contains(&"AUTH=PLAIN".into()) && !list.contains(&"STARTTLS".into()));
        assert!(!list.contains(&"LOGINDISABLED".into()));

        let after = capabilities(Circumstances { authenticated: true, ..tls });
        assert!(after.contains(&"APPENDLIMIT=7".into()) && after.contains(&"IMAP4rev2".into()));
        assert!(!after.iter().any(|name| name.starts_with("AUTH=")));
    }
}
