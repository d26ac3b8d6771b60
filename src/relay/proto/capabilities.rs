//! What a server announces in its reply to EHLO (RFC 5321 §4.1.1.1).

use super::reply::Reply;

/// The extensions of a server that a client makes use of. The default is what HELO promises: none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// `SIZE` (RFC 1870): MAIL may have the parameter.
    pub size: bool,
    /// The most octets of a message; `None` if it does not say.
    pub max_size: Option<u64>,
    /// `PIPELINING` (RFC 2920)
    pub pipelining: bool,
    /// `8BITMIME` (RFC 6152)
    pub eight_bit_mime: bool,
    /// `SMTPUTF8` (RFC 6531)
    pub smtputf8: bool,
    /// `CHUNKING` (RFC 3030)
    pub chunking: bool,
    /// `DSN` (RFC 3461)
    pub dsn: bool,
    /// `STARTTLS` (RFC 3207)
    pub starttls: bool,
    /// `REQUIRETLS` (RFC 8689)
    pub require_tls: bool,
    /// `DELIVERBY` (RFC 2852): the least seconds for mode `R`, 0 if any will do.
    pub deliver_by: Option<u64>,
    /// `MT-PRIORITY` (RFC 6710)
    pub priority: bool,
    /// `AUTH` (RFC 4954): what we know of its mechanisms.
    pub auth: Mechanisms,
    /// `LIMITS` (RFC 9422)
    pub limits: Limits,
}

/// The mechanisms of a server that a client can use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mechanisms {
    /// `PLAIN` (RFC 4616)
    pub plain: bool,
    /// `LOGIN`
    pub login: bool,
    /// `SCRAM-SHA-256` (RFC 7677)
    pub scram_sha_256: bool,
}

/// What a server allows on one connection (RFC 9422 §4); `None` where it does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `MAILMAX`: transactions.
    pub mail_max: Option<u64>,
    /// `RCPTMAX`: recipients in a transaction.
    pub rcpt_max: Option<u64>,
    /// `RCPTDOMAINMAX`: recipients' domains on a connection.
    pub rcpt_domain_max: Option<u64>,
}

impl Capabilities {
    /// Reads the reply to EHLO. Its first line is the server's name; what is not known or malformed is ignored, as RFC 5321 §4.1.1.1 wants.
    pub fn parse(reply: &Reply) -> Self {
        let mut capabilities = Self::default();
        for line in reply.lines().skip(1) {
            let mut words = line.split_ascii_whitespace();
            if let Some(keyword) = words.next() {
                capabilities.note(&keyword.to_ascii_uppercase(), words);
            }
        }
        capabilities
    }

    fn note<'a>(&mut self, keyword: &str, mut parameters: impl Iterator<Item = &'a str>) {
        match keyword {
            "SIZE" => {
                self.size = true;
                // 0 is no limit (RFC 1870 §4).
                self.max_size = parameters.next().and_then(|size| size.parse().ok()).filter(|&size| size > 0);
            }
            "PIPELINING" => self.pipelining = true,
            "8BITMIME" => self.eight_bit_mime = true,
            "SMTPUTF8" => self.smtputf8 = true,
            "CHUNKING" => self.chunking = true,
            "DSN" => self.dsn = true,
            "STARTTLS" => self.starttls = true,
            "REQUIRETLS" => self.require_tls = true,
            "DELIVERBY" => {
                self.deliver_by = Some(parameters.next().and_then(|least| least.parse().ok()).unwrap_or(0))
            }
            "MT-PRIORITY" => self.priority = true,
            "AUTH" => parameters.for_each(|mechanism| self.auth.note(mechanism)),
            "LIMITS" => parameters.for_each(|limit| self.limits.note(limit)),
            // The form of drafts before RFC 2554, for clients that look for it: `AUTH=LOGIN PLAIN`.
            _ => {
                if let Some(first) = keyword.strip_prefix("AUTH=") {
                    self.auth.note(first);
                    parameters.for_each(|mechanism| self.auth.note(mechanism));
                }
            }
        }
    }
}

impl Mechanisms {
    fn note(&mut self, mechanism: &str) {
        if mechanism.eq_ignore_ascii_case("PLAIN") {
            self.plain = true;
        } else if mechanism.eq_ignore_ascii_case("LOGIN") {
            self.login = true;
        } else if mechanism.eq_ignore_ascii_case("SCRAM-SHA-256") {
            self.scram_sha_256 = true;
        }
    }
}

impl Limits {
    fn note(&mut self, limit: &str) {
        let Some((name, value)) = limit.split_once('=') else { return };
        // A limit of 0 would allow nothing at all (RFC 9422 §4 has values from 1 on).
        let Some(value) = value.parse().ok().filter(|&value: &u64| value > 0) else { return };
        if name.eq_ignore_ascii_case("MAILMAX") {
            self.mail_max = Some(value);
        } else if name.eq_ignore_ascii_case("RCPTMAX") {
            self.rcpt_max = Some(value);
        } else if name.eq_ignore_ascii_case("RCPTDOMAINMAX") {
            self.rcpt_domain_max = Some(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(lines: &str) -> Capabilities {
        Capabilities::parse(&Reply::new(250, lines))
    }

    #[test]
    fn every_extension_is_found_in_any_case() {
        let all = parse(
            "mx.example SIZE is not here\nSIZE 1000\npipelining\n8BITMIME\nSMTPUTF8\nCHUNKING\nDSN\nSTARTTLS\nREQUIRETLS\n\
             DELIVERBY 240\nMT-PRIORITY MIXER\nAUTH scram-sha-256 PLAIN LOGIN X-OTHER\n\
             LIMITS RCPTMAX=20 mailmax=5 RCPTDOMAINMAX=1 OTHER=2 RCPTMAX",
        );
        let expected = Capabilities {
            size: true,
            max_size: Some(1000),
            pipelining: true,
            eight_bit_mime: true,
            smtputf8: true,
            chunking: true,
            dsn: true,
            starttls: true,
            require_tls: true,
            deliver_by: Some(240),
            priority: true,
            auth: Mechanisms { plain: true, login: true, scram_sha_256: true },
            limits: Limits { mail_max: Some(5), rcpt_max: Some(20), rcpt_domain_max: Some(1) },
        };
        assert_eq!(all, expected);
    }

    #[test]
    fn what_is_malformed_promises_nothing() {
        assert_eq!(parse("PIPELINING"), Capabilities::default(), "the first line is a name");
        assert_eq!(parse("x\n\n \nAUTH\nLIMITS RCPTMAX=0 MAILMAX=-1\nSTARTTLSX"), Capabilities::default());
        for (line, size) in [
            ("SIZE", None),
            ("SIZE 0", None),
            ("SIZE x", None),
            ("SIZE 99999999999999999999", None),
            ("SIZE 7", Some(7)),
        ] {
            let parsed = parse(&format!("x\n{line}"));
            assert_eq!((parsed.size, parsed.max_size), (true, size), "{line}");
        }
        assert!(parse("x\nAUTH=LOGIN").auth.login, "the old form");
        assert_eq!(parse("x\nDELIVERBY").deliver_by, Some(0));
    }
}
