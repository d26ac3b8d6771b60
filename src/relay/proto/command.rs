//! The commands MAIL and RCPT with their parameters (RFC 5321 §4.1.2 and the extensions').
//!
//! What goes into a command comes from clients. A command that is built here is one line whatever it is made of: what could end the line is refused.

use std::fmt::Write as _;

/// An address or parameter has octets that cannot stand in a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it cannot be written into a command")]
pub struct NotWritable;

/// What MAIL says. Parameters that the server does not know must be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mail<'a> {
    /// The reverse-path without angle brackets; empty for `<>`.
    pub reverse_path: &'a str,
    /// `SIZE=` in octets
    pub size: Option<u64>,
    /// `BODY=8BITMIME`
    pub eight_bit: bool,
    /// `SMTPUTF8`
    pub smtputf8: bool,
    /// `REQUIRETLS`
    pub require_tls: bool,
    /// `RET=`: `FULL` or `HDRS`
    pub ret: Option<&'static str>,
    /// `ENVID=`, as it is meant: it is encoded here.
    pub envelope_id: Option<&'a str>,
    /// `BY=`: seconds that are left, which may be negative, and whether to return it after that.
    pub deliver_by: Option<(i64, bool)>,
    /// `MT-PRIORITY=`
    pub priority: Option<i8>,
}

/// What RCPT says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rcpt<'a> {
    /// The forward-path without angle brackets.
    pub forward_path: &'a str,
    /// `NOTIFY=`: success, failure, delay; all `false` is `NEVER`.
    pub notify: Option<[bool; 3]>,
    /// `ORCPT=`: type, and the address as xtext.
    pub original: Option<(&'a str, &'a str)>,
}

impl Mail<'_> {
    /// Appends the command.
    ///
    /// # Errors
    /// [`NotWritable`] if the reverse-path has control characters, or octets outside of ASCII without SMTPUTF8; nothing is appended then.
    pub fn write(&self, out: &mut String) -> Result<(), NotWritable> {
        check_path(self.reverse_path)?;
        if !self.smtputf8 && !self.reverse_path.is_ascii() {
            return Err(NotWritable);
        }
        let _ = write!(out, "MAIL FROM:<{}>", self.reverse_path);
        if let Some(size) = self.size {
            let _ = write!(out, " SIZE={size}");
        }
        if self.eight_bit {
            out.push_str(" BODY=8BITMIME");
        }
        if self.smtputf8 {
            out.push_str(" SMTPUTF8");
        }
        if self.require_tls {
            out.push_str(" REQUIRETLS");
        }
        if let Some(ret) = self.ret {
            let _ = write!(out, " RET={ret}");
        }
        if let Some(id) = self.envelope_id {
            out.push_str(" ENVID=");
            xtext(id.as_bytes(), out);
        }
        if let Some((seconds, or_return)) = self.deliver_by {
            let _ = write!(out, " BY={seconds};{}", if or_return { 'R' } else { 'N' });
        }
        if let Some(priority) = self.priority {
            let _ = write!(out, " MT-PRIORITY={priority}");
        }
        out.push_str("\r\n");
        Ok(())
    }
}

impl Rcpt<'_> {
    /// Appends the command, for a message with or without SMTPUTF8.
    ///
    /// # Errors
    /// As for [`Mail::write`].
    pub fn write(&self, smtputf8: bool, out: &mut String) -> Result<(), NotWritable> {
        check_path(self.forward_path)?;
        if self.forward_path.is_empty() || (!smtputf8 && !self.forward_path.is_ascii()) {
            return Err(NotWritable);
        }
        let _ = write!(out, "RCPT TO:<{}>", self.forward_path);
        match self.notify {
            None => {}
            Some([false, false, false]) => out.push_str(" NOTIFY=NEVER"),
            Some(events) => {
                let names = ["SUCCESS", "FAILURE", "DELAY"].into_iter().zip(events);
                let named: Vec<&str> = names.filter_map(|(name, wanted)| wanted.then_some(name)).collect();
                let _ = write!(out, " NOTIFY={}", named.join(","));
            }
        }
        if let Some((address_type, address)) = self.original
            && is_atom(address_type)
        {
            let _ = write!(out, " ORCPT={address_type};");
            original(address, smtputf8, out);
        }
        out.push_str("\r\n");
        Ok(())
    }
}

/// Whether a path is one token of a line: no control characters, which would end it, and no space outside of quotes, which would end the path.
fn check_path(path: &str) -> Result<(), NotWritable> {
    let (mut quoted, mut escaped) = (false, false);
    for c in path.chars() {
        let was_escaped = std::mem::take(&mut escaped);
        match c {
            _ if c.is_control() => return Err(NotWritable),
            _ if was_escaped => {}
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ' ' | '<' | '>' if !quoted => return Err(NotWritable),
            _ => {}
        }
    }
    if quoted { Err(NotWritable) } else { Ok(()) }
}

fn is_atom(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
}

/// Appends xtext (RFC 3461 §4).
pub fn xtext(octets: &[u8], out: &mut String) {
    for &octet in octets {
        match octet {
            b'+' | b'=' => push_hex(octet, out),
            b'!'..=b'~' => out.push(char::from(octet)),
            _ => push_hex(octet, out),
        }
    }
}

fn push_hex(octet: u8, out: &mut String) {
    let _ = write!(out, "+{octet:02X}");
}

/// Appends an address that is xtext already. Characters outside of ASCII (RFC 6533 §3) stay with SMTPUTF8 and become `\x{HEX}` without; what
/// cannot stand in a parameter at all is encoded.
fn original(address: &str, smtputf8: bool, out: &mut String) {
    for c in address.chars() {
        match c {
            '!'..='<' | '>'..='~' => out.push(c),
            _ if c.is_ascii() => xtext(&[c as u8], out),
            _ if c.is_control() => {}
            _ if smtputf8 => out.push(c),
            _ => {
                let _ = write!(out, "\\x{{{:X}}}", u32::from(c));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn mail(mail: &Mail<'_>) -> String {
        let mut out = String::new();
        mail.write(&mut out).unwrap();
        out
    }

    fn rcpt(rcpt: &Rcpt<'_>, smtputf8: bool) -> String {
        let mut out = String::new();
        rcpt.write(smtputf8, &mut out).unwrap();
        out
    }

    #[test]
    fn parameters_stand_behind_the_path() {
        assert_eq!(mail(&Mail::default()), "MAIL FROM:<>\r\n");
        let all = Mail {
            reverse_path: "\"a b\"@x",
            size: Some(12),
            eight_bit: true,
            smtputf8: true,
            require_tls: true,
            ret: Some("HDRS"),
            envelope_id: Some("a+b=c d"),
            deliver_by: Some((-7, false)),
            priority: Some(-3),
        };
        assert_eq!(
            mail(&all),
            "MAIL FROM:<\"a b\"@x> SIZE=12 BODY=8BITMIME SMTPUTF8 REQUIRETLS RET=HDRS ENVID=a+2Bb+3Dc+20d BY=-7;N \
             MT-PRIORITY=-3\r\n"
        );
        let to = Rcpt {
            forward_path: "b@y",
            notify: Some([true, false, true]),
            original: Some(("rfc822", "B+2Bc@y")),
        };
        assert_eq!(rcpt(&to, false), "RCPT TO:<b@y> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;B+2Bc@y\r\n");
        let never = Rcpt { forward_path: "b@y", notify: Some([false; 3]), original: None };
        assert_eq!(rcpt(&never, false), "RCPT TO:<b@y> NOTIFY=NEVER\r\n");
    }

    #[test]
    fn an_original_recipient_outside_of_ascii_is_written_for_both_kinds_of_server() {
        let to = Rcpt { forward_path: "b@y", original: Some(("utf-8", "jürgen@y")), ..Rcpt::default() };
        assert_eq!(rcpt(&to, true), "RCPT TO:<b@y> ORCPT=utf-8;jürgen@y\r\n");
        assert_eq!(rcpt(&to, false), "RCPT TO:<b@y> ORCPT=utf-8;j\\x{FC}rgen@y\r\n");
    }

    #[test]
    fn nothing_gets_out_of_its_place() {
        for path in ["a@x>\r\nRCPT TO:<b@y", "a@x> SIZE=1", "a@x\nb", "a@x\0", "a b@x", "\"a@x", "a\u{85}@x"]
        {
            assert_eq!(
                Mail { reverse_path: path, smtputf8: true, ..Mail::default() }.write(&mut String::new()),
                Err(NotWritable),
                "{path:?}"
            );
            assert_eq!(
                Rcpt { forward_path: path, ..Rcpt::default() }.write(true, &mut String::new()),
                Err(NotWritable),
                "{path:?}"
            );
        }
        assert!(Rcpt { forward_path: "é@x", ..Rcpt::default() }.write(false, &mut String::new()).is_err());
        assert!(Rcpt::default().write(false, &mut String::new()).is_err(), "no recipient is <>");
    }

    proptest! {
        #[test]
        fn a_command_is_one_line(path in ".{0,20}", id in any::<String>(), original in any::<String>(), smtputf8 in any::<bool>()) {
            let mut out = String::new();
            let mail = Mail { reverse_path: &path, smtputf8, envelope_id: Some(&id), ..Mail::default() };
            let _ = mail.write(&mut out);
            let written = usize::from(!out.is_empty());
            let to = Rcpt { forward_path: "b@y", original: Some(("rfc822", &original)), notify: None };
            to.write(smtputf8, &mut out).unwrap();
            prop_assert_eq!(out.matches("\r\n").count(), written + 1);
            prop_assert_eq!(out.matches(['\r', '\n', '\0']).count(), 2 * (written + 1));
            prop_assert!(smtputf8 || out.is_ascii());
            let to = out.rsplit_terminator("\r\n").next().unwrap();
            prop_assert_eq!(to.split(' ').count(), 3, "the parameter is one word");
        }
    }
}
