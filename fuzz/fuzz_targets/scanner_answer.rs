//! clamd and rspamd: any octets are an answer or refused, and only what says so is clean.
#![no_main]

use ekitei_filter::clamd::Reply;
use ekitei_filter::rspamd::answer::Answer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    match Reply::parse(input) {
        Ok(Reply::Clean) => assert!(input.trim_ascii_end().ends_with(b": OK")),
        Ok(Reply::Found(name)) => assert!(!name.is_empty() && input.trim_ascii_end().ends_with(b"FOUND")),
        Ok(Reply::TooLarge | Reply::Error(_)) | Err(_) => {}
    }
    if let Ok(answer) = Answer::parse(input, 10) {
        assert!(answer.added.len() + answer.removed.len() + answer.dkim_signatures.len() <= 10);
    }
});
