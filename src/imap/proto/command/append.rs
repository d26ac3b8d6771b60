//! APPEND up to each of its message literals (RFC 9051 §6.3.12, RFC 3502, RFC 3516, RFC 6855).

use bytes::Bytes;

use super::{AppendForm, AppendMessage, parse};
use crate::proto::error::{CommandError, Result};
use crate::proto::lexer::Lexer;
use crate::proto::limits::Limits;
use crate::proto::mailbox_name::{Encoding, MailboxName};
use crate::proto::tag::Tag;

/// An APPEND of which at least one message has been announced.
#[derive(Debug)]
pub(in crate::proto) struct Append {
    /// Its tag.
    pub(in crate::proto) tag: Tag,
    mailbox: MailboxName,
    messages: usize,
    form: AppendForm,
}

/// The command's name, for text that starts with a tag.
pub(in crate::proto) fn name_of(text: &[u8]) -> &[u8] {
    text.splitn(3, |b| *b == b' ').nth(1).unwrap_or_default()
}

/// Whether what a literal after `text` announces is the mailbox name: nothing but `tag APPEND ` is before it.
pub(in crate::proto) fn wants_mailbox(text: &[u8]) -> bool {
    text.ends_with(b" ") && text.iter().filter(|b| **b == b' ').count() == 2
}

impl Append {
    /// Reads the text of an APPEND up to the `{` of its first message.
    pub(in crate::proto) fn first(
        text: Bytes,
        limits: &Limits,
        encoding: Encoding,
    ) -> Result<(Append, AppendMessage)> {
        let mut lexer = Lexer::new(text, limits, encoding);
        let tag = parse::tag(&mut lexer)?;
        lexer.keyword("a command")?;
        lexer.space()?;
        let mailbox = lexer.mailbox()?;
        let mut append = Append { tag, mailbox, messages: 0, form: AppendForm::Literal };
        let message = append.message(&mut lexer)?;
        Ok((append, message))
    }

    /// Reads what is between the octets of one message and the `{` of the next.
    pub(in crate::proto) fn next(
        &mut self,
        text: Bytes,
        limits: &Limits,
        encoding: Encoding,
    ) -> Result<AppendMessage> {
        let mut lexer = Lexer::new(text, limits, encoding);
        self.close(&mut lexer)?;
        if self.messages >= limits.append_messages {
            return Err(CommandError::TooMany("messages in an APPEND"));
        }
        self.message(&mut lexer)
    }

    /// Reads what is between the octets of the last message and the line end.
    pub(in crate::proto) fn finish(&self, text: Bytes, limits: &Limits, encoding: Encoding) -> Result<()> {
        let mut lexer = Lexer::new(text, limits, encoding);
        self.close(&mut lexer)?;
        lexer.end()
    }

    /// The `)` after `UTF8 (~{n}...`.
    fn close(&self, lexer: &mut Lexer<'_>) -> Result<()> {
        match self.form {
            AppendForm::Utf8 => lexer.expect(b')', ") after the UTF8 message"),
            _ => Ok(()),
        }
    }

    /// `SP [flags SP] [date SP] [UTF8 SP (] [~]`
    fn message(&mut self, lexer: &mut Lexer<'_>) -> Result<AppendMessage> {
        lexer.space()?;
        let mut flags = Vec::new();
        if lexer.peek() == Some(b'(') {
            flags = lexer.flag_list()?;
            lexer.space()?;
        }
        let mut date = None;
        if lexer.peek() == Some(b'"') {
            date = Some(lexer.date_time()?);
            lexer.space()?;
        }
        self.form = if lexer.eat_word("UTF8 (~") {
            AppendForm::Utf8
        } else if lexer.eat(b'~') {
            AppendForm::Literal8
        } else {
            AppendForm::Literal
        };
        if !lexer.at_end() {
            return lexer.expected("a message literal");
        }
        let index = self.messages;
        self.messages += 1;
        Ok(AppendMessage { mailbox: self.mailbox.clone(), flags, date, form: self.form, index })
    }
}
