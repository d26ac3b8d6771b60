//! Modified UTF-7: the mapping to Unicode is one to one.
#![no_main]

use ekitei_imap::proto::mutf7;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Some(name) = mutf7::decode(input) {
        assert_eq!(mutf7::encode(&name).as_bytes(), input);
    }
    if let Ok(name) = std::str::from_utf8(input) {
        let text = mutf7::encode(name);
        assert!(text.bytes().all(|b| (0x20..0x7f).contains(&b)));
        assert_eq!(mutf7::decode(text.as_bytes()).as_deref(), Some(name));
    }
});
