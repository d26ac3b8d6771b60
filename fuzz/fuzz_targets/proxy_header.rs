//! The PROXY header: whatever a load balancer sends, reading ends, and takes not an octet more than the header.
#![no_main]

use ekitei_net::ProxyHeader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers");
    let mut rest = input;
    if runtime.block_on(ProxyHeader::read(&mut rest)).is_ok() {
        let header = &input[..input.len() - rest.len()];
        let mut again = header;
        assert!(
            runtime.block_on(ProxyHeader::read(&mut again)).is_ok(),
            "the header is complete without what follows"
        );
    }
});
