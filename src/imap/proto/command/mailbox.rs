//! Commands about mailboxes as wholes.

use super::arguments::without_repetition;
use super::{Command, List, ListReturn, ListSelection, Parameter, ParameterValue, Select, StatusItem};
use crate::proto::error::{CommandError, Result};
use crate::proto::lexer::{Lexer, is_list_char};
use crate::proto::mailbox_name::{DELIMITER, ListPattern, MailboxName, decode_text};
use crate::proto::special_use::SpecialUse;

/// `mailbox [SP (parameters)]` (RFC 4466)
pub(super) fn select(lexer: &mut Lexer<'_>) -> Result<Select> {
    let mailbox = lexer.mailbox()?;
    let parameters = if lexer.eat(b' ') { lexer.list("parameters", parameter)? } else { Vec::new() };
    Ok(Select { mailbox, parameters })
}

/// A name, and a value if what follows can only be one: names start with a letter, values outside
/// parentheses with a digit, `*` or `$`.
fn parameter(lexer: &mut Lexer<'_>) -> Result<Parameter> {
    let name = lexer.keyword("the name of a parameter")?;
    let after_name = lexer.position();
    if lexer.eat(b' ') && matches!(lexer.peek(), Some(b'(' | b'0'..=b'9' | b'*' | b'$')) {
        return Ok(Parameter { name, value: Some(parameter_value(lexer)?) });
    }
    lexer.rewind(after_name);
    Ok(Parameter { name, value: None })
}

fn parameter_value(lexer: &mut Lexer<'_>) -> Result<ParameterValue> {
    match lexer.peek() {
        Some(b'(') => {
            lexer.enter()?;
            let values = lexer.list0("a list of values", parameter_value)?;
            lexer.leave();
            Ok(ParameterValue::List(values))
        }
        Some(b'"' | b'{') => lexer.string("a value").map(ParameterValue::Text),
        _ => lexer.take_while(is_list_char, "a value").map(ParameterValue::Text),
    }
}

/// `mailbox [SP (USE (attributes))]` (RFC 6154)
pub(super) fn create(lexer: &mut Lexer<'_>) -> Result<Command> {
    let start = lexer.position();
    let octets = lexer.mailbox_octets("a mailbox name")?;
    let name = decode_text(&octets, lexer.encoding)
        .and_then(|name| MailboxName::new(name.strip_suffix(DELIMITER).unwrap_or(&name)));
    let Some(mailbox) = name else { return lexer.refuse_at(start, "a well-formed mailbox name") };
    let mut special_use = Vec::new();
    if lexer.eat(b' ') {
        if !lexer.eat_word("(USE ") {
            return lexer.expected("the parameter USE");
        }
        special_use = without_repetition(lexer.list0("a list of special uses", special_use_attribute)?);
        lexer.expect(b')', ")")?;
    }
    Ok(Command::Create { mailbox, special_use })
}

fn special_use_attribute(lexer: &mut Lexer<'_>) -> Result<SpecialUse> {
    lexer.expect(b'\\', "a special use")?;
    let name = lexer.atom("a special use")?;
    SpecialUse::new(&format!("\\{}", String::from_utf8_lossy(&name))).ok_or(CommandError::UnknownSpecialUse)
}

/// `mailbox SP mailbox`
pub(super) fn rename(lexer: &mut Lexer<'_>) -> Result<Command> {
    let from = lexer.mailbox()?;
    lexer.space()?;
    Ok(Command::Rename { from, to: lexer.mailbox()? })
}

/// `[(selection) SP] reference SP patterns [SP RETURN (options)]` (RFC 5258)
pub(super) fn list(lexer: &mut Lexer<'_>) -> Result<Command> {
    let mut extended = false;
    let mut selection = ListSelection::default();
    if lexer.peek() == Some(b'(') {
        extended = true;
        selection = list_selection(lexer)?;
        lexer.space()?;
    }
    let reference = lexer.reference()?;
    lexer.space()?;
    let patterns = if lexer.peek() == Some(b'(') {
        extended = true;
        list_patterns(lexer)?
    } else {
        vec![lexer.list_pattern()?]
    };
    let mut returns = ListReturn::default();
    if lexer.eat(b' ') {
        extended = true;
        if !lexer.eat_word("RETURN ") {
            return lexer.expected("RETURN");
        }
        lexer.list0("return options", |lexer| list_return_option(lexer, &mut returns))?;
    }
    Ok(Command::List(List { selection, reference, patterns, returns, extended }))
}

fn list_patterns(lexer: &mut Lexer<'_>) -> Result<Vec<ListPattern>> {
    let mut count = 0;
    lexer.list("mailbox patterns", |lexer| {
        count += 1;
        if count > lexer.limits.list_patterns {
            return Err(CommandError::TooMany("mailbox patterns"));
        }
        lexer.list_pattern()
    })
}

fn list_selection(lexer: &mut Lexer<'_>) -> Result<ListSelection> {
    let start = lexer.position();
    let mut selection = ListSelection::default();
    lexer.list0("selection options", |lexer| {
        let start = lexer.position();
        match lexer.keyword("a selection option")?.as_str() {
            "SUBSCRIBED" => selection.subscribed = true,
            "REMOTE" => selection.remote = true,
            "RECURSIVEMATCH" => selection.recursive_match = true,
            "SPECIAL-USE" => selection.special_use = true,
            _ => return lexer.refuse_at(start, "a known selection option"),
        }
        Ok(())
    })?;
    if selection.recursive_match && !(selection.subscribed || selection.special_use) {
        return lexer.refuse_at(start, "a selection option with RECURSIVEMATCH");
    }
    Ok(selection)
}

fn list_return_option(lexer: &mut Lexer<'_>, returns: &mut ListReturn) -> Result<()> {
    let start = lexer.position();
    match lexer.keyword("a return option")?.as_str() {
        "SUBSCRIBED" => returns.subscribed = true,
        "CHILDREN" => returns.children = true,
        "SPECIAL-USE" => returns.special_use = true,
        "STATUS" => {
            lexer.space()?;
            returns.status = status_items(lexer)?;
        }
        _ => return lexer.refuse_at(start, "a known return option"),
    }
    Ok(())
}

/// `reference SP pattern` (RFC 3501)
pub(super) fn lsub(lexer: &mut Lexer<'_>) -> Result<Command> {
    let reference = lexer.reference()?;
    lexer.space()?;
    Ok(Command::Lsub { reference, pattern: lexer.list_pattern()? })
}

/// `mailbox SP (items)`
pub(super) fn status(lexer: &mut Lexer<'_>) -> Result<Command> {
    let mailbox = lexer.mailbox()?;
    lexer.space()?;
    Ok(Command::Status { mailbox, items: status_items(lexer)? })
}

fn status_items(lexer: &mut Lexer<'_>) -> Result<Vec<StatusItem>> {
    let items = lexer.list("a list of status items", |lexer| {
        let start = lexer.position();
        let name = lexer.keyword("a status item")?;
        match StatusItem::ALL.into_iter().find(|item| item.as_str() == name) {
            Some(item) => Ok(item),
            None => lexer.refuse_at(start, "a known status item"),
        }
    })?;
    Ok(without_repetition(items))
}

/// `root SP (resource SP limit ...)` (RFC 9208)
pub(super) fn set_quota(lexer: &mut Lexer<'_>) -> Result<Command> {
    let root = lexer.astring("a quota root")?;
    lexer.space()?;
    let limits = lexer.list0("a list of quota limits", |lexer| {
        let resource = lexer.keyword("a quota resource")?;
        lexer.space()?;
        Ok((resource, lexer.number64("a quota limit")?))
    })?;
    Ok(Command::SetQuota { root, limits })
}
