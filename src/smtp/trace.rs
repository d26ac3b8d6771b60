//! The trace fields that delivery puts in front of a message: Return-Path and Received (RFC 5321 §4.4), and dates.

use std::net::IpAddr;
use std::time::Duration;

use ekitei_directory::EmailAddress;

use crate::proto::path::ReversePath;
use crate::session::Role;

/// What a Received field tells.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received<'a> {
    /// The name that the client gave.
    pub(crate) client_name: &'a str,
    /// Its address.
    pub(crate) client: IpAddr,
    /// The name of this host.
    pub(crate) hostname: &'a str,
    /// What was spoken.
    pub(crate) role: Role,
    /// With extensions.
    pub(crate) extended: bool,
    /// The cipher suite, if TLS was spoken (RFC 8314 §4.3).
    pub(crate) cipher: Option<&'a str>,
    /// Whether the client logged in.
    pub(crate) authenticated: bool,
    /// Whether SMTPUTF8 was declared.
    pub(crate) smtputf8: bool,
    /// Names the transaction.
    pub(crate) id: &'a str,
    /// The recipient; only if it is the only one, since others must not learn of each other.
    pub(crate) recipient: Option<&'a str>,
    /// Since the epoch.
    pub(crate) time: Duration,
}

impl Received<'_> {
    /// The whole field.
    pub(crate) fn field(&self) -> String {
        let mut field = format!(
            "Received: from {} ({})\r\n\tby {} (Ekitei) with {}",
            printable(self.client_name),
            literal(self.client),
            self.hostname,
            self.protocol()
        );
        if let Some(cipher) = self.cipher {
            field.push_str("\r\n\ttls ");
            field.push_str(cipher);
        }
        field.push_str(&format!(" id {}", self.id));
        if let Some(recipient) = self.recipient {
            field.push_str(&format!("\r\n\tfor <{recipient}>"));
        }
        field.push_str(&format!(";\r\n\t{}\r\n", date(self.time)));
        field
    }

    /// The keyword of RFC 3848, RFC 6531 §4.3 and RFC 8314 §7.4.
    fn protocol(&self) -> String {
        let base = match (self.role, self.smtputf8, self.extended) {
            (Role::Lmtp, true, _) => "UTF8LMTP",
            (Role::Lmtp, false, _) => "LMTP",
            (_, true, _) => "UTF8SMTP",
            (_, false, true) => "ESMTP",
            // HELO has no keyword for TLS.
            (_, false, false) => return "SMTP".to_owned(),
        };
        let tls = if self.cipher.is_some() { "S" } else { "" };
        let auth = if self.authenticated { "A" } else { "" };
        format!("{base}{tls}{auth}")
    }
}

/// The Return-Path field.
pub(crate) fn return_path(sender: &ReversePath) -> String {
    format!("Return-Path: <{}>\r\n", sender.as_str())
}

/// The Delivered-To field of what an address of ours leads elsewhere; none for an address that only hosts with SMTPUTF8 could take.
pub(crate) fn delivered_to(address: &EmailAddress) -> Option<String> {
    let address = address.to_wire();
    address.is_ascii().then(|| format!("Delivered-To: {address}\r\n"))
}

/// An address as it stands in Received (RFC 5321 §4.1.3).
fn literal(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => format!("[{v4}]"),
        IpAddr::V6(v6) => format!("[IPv6:{v6}]"),
    }
}

/// What a client calls itself, without what would end a comment or a clause of the field.
fn printable(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    name.chars().map(|c| if plain(c) { c } else { '?' }).collect()
}

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A moment in UTC as RFC 5322 §3.3 writes it.
pub(crate) fn date(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    format!(
        "{}, {day} {} {year} {:02}:{:02}:{:02} +0000",
        DAYS[(days % 7) as usize],
        MONTHS[month],
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// Year, month from 0 and day of the month of a day since 1 January 1970: counted in years that begin in March, so
/// that the leap day is the last, and eras of 400 years.
fn civil(days: u64) -> (u64, usize, u64) {
    let from_march_0000 = days + 719_468;
    let era = from_march_0000 / 146_097;
    let day_of_era = from_march_0000 % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = ((month_from_march + 2) % 12) as usize;
    (era * 400 + year_of_era + u64::from(month < 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "Thu, 1 Jan 1970 00:00:00 +0000"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 +0000"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 +0000"),
            (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 +0000"),
            (1_709_251_200, "Fri, 1 Mar 2024 00:00:00 +0000"),
            (1_798_675_199, "Wed, 30 Dec 2026 23:59:59 +0000"),
            (4_102_444_800, "Fri, 1 Jan 2100 00:00:00 +0000"),
        ] {
            assert_eq!(date(Duration::from_secs(seconds)), text);
        }
    }

    fn received() -> Received<'static> {
        Received {
            client_name: "mx.other.test",
            client: IpAddr::from([192, 0, 2, 1]),
            hostname: "mail.example.test",
            role: Role::Mx,
            extended: true,
            cipher: None,
            authenticated: false,
            smtputf8: false,
            id: "1a2b",
            recipient: Some("alice@example.test"),
            time: Duration::ZERO,
        }
    }

    #[test]
    fn a_received_field_says_who_what_and_when() {
        assert_eq!(
            received().field(),
            "Received: from mx.other.test ([192.0.2.1])\r\n\tby mail.example.test (Ekitei) with ESMTP id 1a2b\r\n\t\
             for <alice@example.test>;\r\n\tThu, 1 Jan 1970 00:00:00 +0000\r\n"
        );
    }

    #[test]
    fn the_protocol_keyword_tells_tls_and_authentication() {
        let with = |change: fn(&mut Received<'static>)| {
            let mut received = received();
            change(&mut received);
            received.protocol()
        };
        assert_eq!(with(|r| r.extended = false), "SMTP");
        assert_eq!(with(|r| r.cipher = Some("TLS_AES_128_GCM_SHA256")), "ESMTPS");
        assert_eq!(with(|r| (r.cipher, r.authenticated) = (Some("X"), true)), "ESMTPSA");
        assert_eq!(with(|r| r.role = Role::Lmtp), "LMTP");
        assert_eq!(with(|r| (r.smtputf8, r.cipher) = (true, Some("X"))), "UTF8SMTPS");
    }

    #[test]
    fn a_client_cannot_write_into_the_field() {
        let field = Received { client_name: "x)\u{7f}by;(evil", ..received() }.field();
        assert!(field.starts_with("Received: from x??by??evil ("), "{field}");
    }
}
