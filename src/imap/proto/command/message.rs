//! Commands about messages in the selected mailbox: STORE, COPY, MOVE.

use super::arguments::without_repetition;
use super::{Store, StoreAction, Transfer};
use crate::proto::error::{CommandError, Result};
use crate::proto::lexer::Lexer;

/// `set [SP (modifiers)] SP action SP flags` (RFC 9051 §6.4.6, RFC 7162 §3.1.3)
pub(super) fn store(lexer: &mut Lexer<'_>, uid: bool) -> Result<Store> {
    let set = lexer.sequence_set()?;
    lexer.space()?;
    let mut unchanged_since = None;
    if lexer.eat(b'(') {
        if !lexer.eat_word("UNCHANGEDSINCE ") {
            return lexer.expected("UNCHANGEDSINCE");
        }
        unchanged_since = Some(lexer.number64("a mod-sequence")?);
        lexer.expect(b')', ")")?;
        lexer.space()?;
    }
    let action = if lexer.eat(b'+') {
        StoreAction::Add
    } else if lexer.eat(b'-') {
        StoreAction::Remove
    } else {
        StoreAction::Replace
    };
    if !lexer.eat_word("FLAGS") {
        return lexer.expected("FLAGS, +FLAGS or -FLAGS");
    }
    let silent = lexer.eat_word(".SILENT");
    lexer.space()?;
    let flags = if lexer.peek() == Some(b'(') { lexer.flag_list()? } else { bare_flags(lexer)? };
    Ok(Store { uid, set, unchanged_since, action, silent, flags })
}

/// `flag *(SP flag)`
fn bare_flags(lexer: &mut Lexer<'_>) -> Result<Vec<crate::proto::flag::Flag>> {
    let mut flags = vec![lexer.flag()?];
    while lexer.eat(b' ') {
        if flags.len() >= lexer.limits.list_items {
            return Err(CommandError::TooMany("flags"));
        }
        flags.push(lexer.flag()?);
    }
    Ok(without_repetition(flags))
}

/// `set SP mailbox`
pub(super) fn transfer(lexer: &mut Lexer<'_>, uid: bool) -> Result<Transfer> {
    let set = lexer.sequence_set()?;
    lexer.space()?;
    Ok(Transfer { uid, set, mailbox: lexer.mailbox()? })
}
