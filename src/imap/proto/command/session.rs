//! Commands about the session: who speaks, and what is spoken.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Command, Secret};
use crate::proto::error::{CommandError, Result};
use crate::proto::lexer::Lexer;

/// `mechanism [SP initial-response]` (RFC 4959)
pub(super) fn authenticate(lexer: &mut Lexer<'_>) -> Result<Command> {
    let mechanism = lexer.keyword("a SASL mechanism")?;
    let initial_response = if lexer.eat(b' ') { Some(initial_response(lexer)?) } else { None };
    Ok(Command::Authenticate { mechanism, initial_response })
}

fn initial_response(lexer: &mut Lexer<'_>) -> Result<Secret> {
    let start = lexer.position();
    let text = lexer.take_while(|b| b.is_ascii_graphic(), "an initial response")?;
    if &text[..] == b"=" {
        return Ok(Secret::new(bytes::Bytes::new()));
    }
    match STANDARD.decode(&text) {
        Ok(octets) => Ok(Secret::new(octets.into())),
        Err(_) => lexer.refuse_at(start, "an initial response in base64"),
    }
}

/// `userid SP password`
pub(super) fn login(lexer: &mut Lexer<'_>) -> Result<Command> {
    let username = lexer.astring("a user name")?;
    lexer.space()?;
    let password = Secret::new(lexer.astring("a password")?);
    Ok(Command::Login { username, password })
}

/// `NIL` or `(field SP value ...)` (RFC 2971)
pub(super) fn id(lexer: &mut Lexer<'_>) -> Result<Command> {
    if lexer.eat_word("NIL") {
        return Ok(Command::Id(Vec::new()));
    }
    let fields = lexer.list0("a list of ID fields or NIL", |lexer| {
        let field = lexer.string("an ID field")?;
        lexer.space()?;
        Ok((field, lexer.nstring("the value of an ID field")?))
    })?;
    Ok(Command::Id(fields))
}

/// `capability *(SP capability)`
pub(super) fn enable(lexer: &mut Lexer<'_>) -> Result<Command> {
    let mut capabilities = vec![lexer.keyword("a capability")?];
    while lexer.eat(b' ') {
        if capabilities.len() >= lexer.limits.list_items {
            return Err(CommandError::TooMany("capabilities"));
        }
        capabilities.push(lexer.keyword("a capability")?);
    }
    Ok(Command::Enable(capabilities))
}
