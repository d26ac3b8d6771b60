//! The part of a notification that people read: what happened, to whom, why, and what comes next, in plain words.

use std::fmt::Write as _;

use ekitei_relay::Failure;

use super::compose::date;
use super::{Action, Report, Told};
use crate::classify::Category;

/// Where lines of the text are broken.
const WIDTH: usize = 72;
/// Recipients of one kind that are described; the others are in the machine's part only.
const MAX_DESCRIBED: usize = 50;

/// The subject for what is told: the worst counts.
pub(super) fn subject(told: &[Told]) -> &'static str {
    match told.iter().map(|told| told.action).min() {
        Some(Action::Failed) => "Your message could not be delivered",
        Some(Action::Delayed) => "Your message is delayed",
        Some(Action::Relayed) => "Your message was sent on",
        Some(Action::Delivered | Action::Expanded) | None => "Your message was delivered",
    }
}

/// The text, CRLF line ends.
pub(super) fn text(report: &Report<'_>, subject_of_original: Option<&str>) -> String {
    let mut out = format!("This is the mail service at {}.\n\n", report.reporter.host);
    let _ = writeln!(out, "It is about the message that you sent on {}", date(report.received));
    if let Some(subject) = subject_of_original {
        let _ = writeln!(out, "with the subject: {subject}");
    }
    for action in [Action::Failed, Action::Delayed, Action::Delivered, Action::Relayed, Action::Expanded] {
        let concerned: Vec<&Told> = report.recipients.iter().filter(|told| told.action == action).collect();
        if !concerned.is_empty() {
            section(&mut out, action, &concerned);
        }
    }
    // What servers say may hold anything; terminals that show it must not obey it.
    let shown: String = out.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect();
    let lines = shown.lines().flat_map(|line| wrap(line, WIDTH));
    lines.fold(String::new(), |text, line| text + &line + "\r\n")
}

/// What is said of all recipients with the same fate.
fn section(out: &mut String, action: Action, concerned: &[&Told]) {
    let heading = match action {
        Action::Failed => "The message could NOT be delivered to:",
        Action::Delayed => "The message could not be delivered YET to:",
        Action::Delivered => "The message was delivered to:",
        Action::Relayed => {
            "The message was handed to another mail service, which may not tell you whether it was delivered, for:"
        }
        Action::Expanded => "The message was sent on to the addresses behind:",
    };
    let _ = write!(out, "\n{heading}\n");
    for told in concerned.iter().take(MAX_DESCRIBED) {
        let _ = write!(out, "\n  {}\n", told.recipient.address);
        if let Some(failure) = &told.failure {
            reason(out, told, failure);
        } else if let Some(remote) = &told.remote {
            let _ = writeln!(out, "    It was taken by {remote}.");
        }
    }
    if concerned.len() > MAX_DESCRIBED {
        let _ = write!(out, "\n  and {} more.\n", concerned.len() - MAX_DESCRIBED);
    }
    match action {
        Action::Failed => out.push_str("\nThis is final: the message is not tried again.\n"),
        Action::Delayed => {
            let until = concerned.iter().filter_map(|told| told.will_retry_until).max();
            let until = until.map(|until| format!(" until {}", date(until))).unwrap_or_default();
            let _ = write!(out, "\nYou need not do anything: it is tried again{until}.\n");
        }
        Action::Delivered | Action::Relayed | Action::Expanded => {}
    }
}

/// Why one recipient did not get it.
fn reason(out: &mut String, told: &Told, failure: &Failure) {
    // 4.4.7 and 5.4.7 are ours: time is over, and the failure says why it took so long.
    let expired = told.action == Action::Failed && (told.status.1, told.status.2) == (4, 7);
    if expired {
        let _ = writeln!(out, "    {} The last attempt ended like this:", Category::Expired.sentence());
    }
    if !(expired && Category::of(failure) == Category::Expired) {
        let _ = writeln!(out, "    {}", Category::of(failure).sentence());
    }
    let text = if failure.text.is_empty() { "nothing more is known" } else { &failure.text };
    let _ = match (&failure.remote, failure.code) {
        (Some(remote), Some(_)) => writeln!(out, "    {remote} said: {}", reply_text(failure)),
        (Some(remote), None) => writeln!(out, "    With {remote}: {text}"),
        (None, _) => writeln!(out, "    In technical terms: {text}"),
    };
}

/// The reply of a server with its codes, each once, however much of them the text has already.
pub(super) fn reply_text(failure: &Failure) -> String {
    let mut text = String::new();
    let said = failure.text.trim();
    let status = failure.status.to_string();
    if let Some(code) =
        failure.code.map(|code| code.to_string()).filter(|code| !said.starts_with(code.as_str()))
    {
        text = format!("{code} ");
        if !said.starts_with(&status) && !status.ends_with(".0.0") {
            text.push_str(&status);
            text.push(' ');
        }
    }
    text.push_str(said);
    text
}

/// Breaks a line at spaces; what follows keeps its indentation.
fn wrap(line: &str, width: usize) -> Vec<String> {
    let indent: String = line.chars().take_while(|&c| c == ' ').collect();
    let mut lines = Vec::new();
    let mut current = indent.clone();
    for word in line.split_whitespace() {
        let is_first = current.len() == indent.len();
        if !is_first && current.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::replace(&mut current, indent.clone()));
        } else if !is_first {
            current.push(' ');
        }
        current.push_str(word);
    }
    lines.push(if line.trim().is_empty() { String::new() } else { current });
    lines
}
