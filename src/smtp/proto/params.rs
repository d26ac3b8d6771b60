//! The parameters of MAIL and RCPT: SIZE (RFC 1870), BODY (RFC 6152, 3030), SMTPUTF8 (RFC 6531), RET, ENVID, NOTIFY and ORCPT
//! (RFC 3461), AUTH (RFC 4954), REQUIRETLS (RFC 8689), BY (RFC 2852), MT-PRIORITY (RFC 6710).

use super::command::SyntaxError;
use super::xtext;

/// What the body may contain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyType {
    /// `7BIT`, the default. Octets over 127 are let through all the same.
    #[default]
    SevenBit,
    /// `8BITMIME`
    EightBitMime,
    /// `BINARYMIME`: lines need not end; only with BDAT.
    BinaryMime,
}

/// What a failure notification brings back (RFC 3461 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// `FULL`
    Full,
    /// `HDRS`
    Headers,
}

/// When to notify the sender (RFC 3461 §4.1). All false is `NEVER`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notify {
    /// `SUCCESS`
    pub success: bool,
    /// `FAILURE`
    pub failure: bool,
    /// `DELAY`
    pub delay: bool,
}

/// ORCPT: the recipient as the sender named it (RFC 3461 §4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginalRecipient {
    /// `rfc822`, `utf-8`, ...
    pub address_type: String,
    /// The address, as xtext still: it is only ever handed on.
    pub address: String,
}

/// BY: how soon it must be delivered (RFC 2852 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliverBy {
    /// Seconds from now; negative if that time is over (only to be notified).
    pub seconds: i64,
    /// Mode `R`: return it after that; otherwise (`N`) only notify the sender.
    pub or_return: bool,
}

/// The parameters of MAIL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailParameters {
    /// `SIZE`: octets the client means to send.
    pub size: Option<u64>,
    /// `BODY`
    pub body: Option<BodyType>,
    /// `SMTPUTF8`
    pub smtputf8: bool,
    /// `RET`
    pub ret: Option<Return>,
    /// `ENVID`, decoded.
    pub envelope_id: Option<String>,
    /// `AUTH`, decoded: who submitted the message; `<>` for nobody known.
    pub auth: Option<String>,
    /// `REQUIRETLS`
    pub require_tls: bool,
    /// `BY`
    pub deliver_by: Option<DeliverBy>,
    /// `MT-PRIORITY`, -9 to 9.
    pub priority: Option<i8>,
}

/// The parameters of RCPT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RcptParameters {
    /// `NOTIFY`
    pub notify: Option<Notify>,
    /// `ORCPT`
    pub original_recipient: Option<OriginalRecipient>,
}

/// Longest ENVID (RFC 3461 §5.4).
const ENVELOPE_ID_OCTETS: usize = 100;
/// Longest ORCPT (RFC 3461 §5.4).
const ORIGINAL_RECIPIENT_OCTETS: usize = 500;

/// One `keyword[=value]`.
type Parameter<'a> = (String, Option<&'a str>);

/// Splits parameters at spaces; keywords come out in upper case.
fn split(text: &str) -> Result<Vec<Parameter<'_>>, SyntaxError> {
    let mut parameters: Vec<Parameter<'_>> = Vec::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let (keyword, value) = word.split_once('=').map_or((word, None), |(k, v)| (k, Some(v)));
        let valid = keyword.starts_with(|c: char| c.is_ascii_alphanumeric())
            && keyword.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
            && value.is_none_or(|value| !value.is_empty() && !value.contains(|c: char| c.is_control()));
        let keyword = keyword.to_ascii_uppercase();
        if !valid || parameters.iter().any(|(known, _)| *known == keyword) {
            return Err(SyntaxError::Arguments);
        }
        parameters.push((keyword, value));
    }
    Ok(parameters)
}

impl MailParameters {
    /// Reads what follows the reverse-path.
    ///
    /// # Errors
    /// [`SyntaxError::Arguments`] for a wrong value, [`SyntaxError::UnknownParameter`].
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let mut found = Self::default();
        for (keyword, value) in split(text)? {
            match (keyword.as_str(), value) {
                ("SIZE", Some(value)) => found.size = Some(number(value)?),
                ("BODY", Some(value)) => found.body = Some(body_type(value)?),
                ("SMTPUTF8", None) => found.smtputf8 = true,
                ("RET", Some(value)) => found.ret = Some(ret(value)?),
                ("ENVID", Some(value)) => found.envelope_id = Some(envelope_id(value)?),
                ("AUTH", Some(value)) => found.auth = Some(decoded(value)?),
                ("REQUIRETLS", None) => found.require_tls = true,
                ("BY", Some(value)) => found.deliver_by = Some(deliver_by(value)?),
                ("MT-PRIORITY", Some(value)) => found.priority = Some(priority(value)?),
                (
                    "SIZE" | "BODY" | "SMTPUTF8" | "RET" | "ENVID" | "AUTH" | "REQUIRETLS" | "BY"
                    | "MT-PRIORITY",
                    _,
                ) => {
                    return Err(SyntaxError::Arguments);
                }
                _ => return Err(SyntaxError::UnknownParameter),
            }
        }
        Ok(found)
    }
}

impl RcptParameters {
    /// Reads what follows the forward-path.
    ///
    /// # Errors
    /// [`SyntaxError::Arguments`] for a wrong value, [`SyntaxError::UnknownParameter`].
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let mut found = Self::default();
        for (keyword, value) in split(text)? {
            match (keyword.as_str(), value) {
                ("NOTIFY", Some(value)) => found.notify = Some(notify(value)?),
                ("ORCPT", Some(value)) => found.original_recipient = Some(original_recipient(value)?),
                ("NOTIFY" | "ORCPT", _) => return Err(SyntaxError::Arguments),
                _ => return Err(SyntaxError::UnknownParameter),
            }
        }
        Ok(found)
    }
}

/// Digits only: `parse` alone would also read a sign.
pub(super) fn number(text: &str) -> Result<u64, SyntaxError> {
    if text.len() > 20 || !text.bytes().all(|c| c.is_ascii_digit()) {
        return Err(SyntaxError::Arguments);
    }
    text.parse().map_err(|_| SyntaxError::Arguments)
}

fn body_type(value: &str) -> Result<BodyType, SyntaxError> {
    match value.to_ascii_uppercase().as_str() {
        "7BIT" => Ok(BodyType::SevenBit),
        "8BITMIME" => Ok(BodyType::EightBitMime),
        "BINARYMIME" => Ok(BodyType::BinaryMime),
        _ => Err(SyntaxError::Arguments),
    }
}

fn ret(value: &str) -> Result<Return, SyntaxError> {
    match value.to_ascii_uppercase().as_str() {
        "FULL" => Ok(Return::Full),
        "HDRS" => Ok(Return::Headers),
        _ => Err(SyntaxError::Arguments),
    }
}

/// xtext of printable characters.
fn decoded(value: &str) -> Result<String, SyntaxError> {
    let octets = xtext::decode(value).ok_or(SyntaxError::Arguments)?;
    let text = String::from_utf8(octets).map_err(|_| SyntaxError::Arguments)?;
    if text.contains(|c: char| c.is_control()) { Err(SyntaxError::Arguments) } else { Ok(text) }
}

fn envelope_id(value: &str) -> Result<String, SyntaxError> {
    if value.len() > ENVELOPE_ID_OCTETS { Err(SyntaxError::Arguments) } else { decoded(value) }
}

fn notify(value: &str) -> Result<Notify, SyntaxError> {
    let mut found = Notify::default();
    if value.eq_ignore_ascii_case("NEVER") {
        return Ok(found);
    }
    for word in value.split(',') {
        let flag = match word.to_ascii_uppercase().as_str() {
            "SUCCESS" => &mut found.success,
            "FAILURE" => &mut found.failure,
            "DELAY" => &mut found.delay,
            _ => return Err(SyntaxError::Arguments),
        };
        if std::mem::replace(flag, true) {
            return Err(SyntaxError::Arguments);
        }
    }
    Ok(found)
}

/// `by-time;by-mode[by-trace]` (RFC 2852 §4). What is to be returned must have some time.
fn deliver_by(value: &str) -> Result<DeliverBy, SyntaxError> {
    let (time, mode) = value.split_once(';').ok_or(SyntaxError::Arguments)?;
    let digits = time.strip_prefix(['+', '-']).unwrap_or(time);
    if digits.len() > 9 {
        return Err(SyntaxError::Arguments);
    }
    let seconds = i64::try_from(number(digits)?).map_err(|_| SyntaxError::Arguments)?;
    let seconds = if time.starts_with('-') { -seconds } else { seconds };
    let or_return = match mode.to_ascii_uppercase().as_str() {
        "R" | "RT" if seconds > 0 => true,
        "N" | "NT" => false,
        _ => return Err(SyntaxError::Arguments),
    };
    Ok(DeliverBy { seconds, or_return })
}

/// `-9` to `9` (RFC 6710 §4.1).
fn priority(value: &str) -> Result<i8, SyntaxError> {
    let digit = value.strip_prefix('-').unwrap_or(value);
    if digit.len() != 1 || !digit.bytes().all(|c| c.is_ascii_digit()) {
        return Err(SyntaxError::Arguments);
    }
    value.parse().map_err(|_| SyntaxError::Arguments)
}

fn original_recipient(value: &str) -> Result<OriginalRecipient, SyntaxError> {
    let (address_type, address) = value.split_once(';').ok_or(SyntaxError::Arguments)?;
    let atom = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
    let valid = value.len() <= ORIGINAL_RECIPIENT_OCTETS
        && !address_type.is_empty()
        && address_type.bytes().all(atom)
        && decoded(address).is_ok_and(|address| !address.is_empty());
    if !valid {
        return Err(SyntaxError::Arguments);
    }
    Ok(OriginalRecipient { address_type: address_type.to_owned(), address: address.to_owned() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn parameters_of_mail_are_read_in_any_order_and_case() {
        let found = MailParameters::parse(
            " body=8bitmime SIZE=1000 SMTPUTF8 RET=HDRS ENVID=QQ+2B1 AUTH=bob+40a.test REQUIRETLS",
        )
        .unwrap();
        assert_eq!(found.body, Some(BodyType::EightBitMime));
        assert_eq!(found.size, Some(1000));
        assert!(found.smtputf8 && found.require_tls);
        assert_eq!(found.ret, Some(Return::Headers));
        assert_eq!(found.envelope_id.as_deref(), Some("QQ+1"));
        assert_eq!(found.auth.as_deref(), Some("bob@a.test"));
        assert_eq!(MailParameters::parse(" AUTH=<>").unwrap().auth.as_deref(), Some("<>"));
    }

    #[test]
    fn wrong_values_and_repetitions_are_errors() {
        for bad in [
            " SIZE",
            " SIZE=",
            " SIZE=-1",
            " SIZE=+1",
            " SIZE=1x",
            " SIZE=99999999999999999999",
            " SIZE=1 SIZE=2",
            " BODY=9BIT",
            " SMTPUTF8=yes",
            " RET=ALL",
            " ENVID=+",
            " REQUIRETLS=1",
            " BY=60",
            " BY=0;R",
            " BY=-1;R",
            " BY=++1;N",
            " BY=60;X",
            " BY=1234567890;N",
            " MT-PRIORITY=10",
            " MT-PRIORITY=+1",
            " MT-PRIORITY=",
            " =x",
            " -A=1",
        ] {
            assert_eq!(MailParameters::parse(bad), Err(SyntaxError::Arguments), "{bad}");
        }
        assert_eq!(MailParameters::parse(" HOLDFOR=3"), Err(SyntaxError::UnknownParameter));
        assert_eq!(MailParameters::parse(" NOTIFY=NEVER"), Err(SyntaxError::UnknownParameter));
    }

    #[test]
    fn a_message_may_be_urgent() {
        let found = MailParameters::parse(" BY=+120;rt MT-PRIORITY=-4").unwrap();
        assert_eq!(found.deliver_by, Some(DeliverBy { seconds: 120, or_return: true }));
        assert_eq!(found.priority, Some(-4));
        let found = MailParameters::parse(" BY=-30;N").unwrap();
        assert_eq!(found.deliver_by, Some(DeliverBy { seconds: -30, or_return: false }));
    }

    #[test]
    fn parameters_of_rcpt() {
        let found = RcptParameters::parse(" NOTIFY=success,DELAY ORCPT=rfc822;Bob+2BX@a.test").unwrap();
        assert_eq!(found.notify, Some(Notify { success: true, failure: false, delay: true }));
        assert_eq!(found.original_recipient.unwrap().address, "Bob+2BX@a.test");
        assert_eq!(RcptParameters::parse(" NOTIFY=NEVER").unwrap().notify, Some(Notify::default()));
        for bad in [
            " NOTIFY=NEVER,DELAY",
            " NOTIFY=DELAY,DELAY",
            " NOTIFY=",
            " ORCPT=a@b",
            " ORCPT=rfc822;",
            " ORCPT=;a",
        ] {
            assert_eq!(RcptParameters::parse(bad), Err(SyntaxError::Arguments), "{bad}");
        }
        assert_eq!(RcptParameters::parse(" SIZE=1"), Err(SyntaxError::UnknownParameter));
    }
}
