//! DNS lists (RFC 5782): how they are asked, and how they say that they do not answer.

use std::net::{IpAddr, Ipv4Addr};

/// An address as lists have it: its octets, or for IPv6 its nibbles, from the last to the first (RFC 5782 §2.1, §2.4).
pub fn reversed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}")
        }
        IpAddr::V6(v6) => {
            let nibbles =
                v6.octets().into_iter().rev().map(|octet| format!("{:x}.{:x}", octet & 15, octet >> 4));
            nibbles.collect::<Vec<_>>().join(".")
        }
    }
}

/// Whether an answer says that the list does not serve who asks, mostly since it is asked through a public resolver: 127.255.255.0/24 (Spamhaus and
/// others), 127.0.0.1 (URIBL, SURBL), 127.0.0.255 (DNSWL). Such lists give it for whatever they are asked about.
pub fn refuses(answer: Ipv4Addr) -> bool {
    matches!(answer.octets(), [127, 255, 255, _] | [127, 0, 0, 1 | 255])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_asked_about_from_the_last_to_the_first() {
        assert_eq!(reversed([192, 0, 2, 7].into()), "7.2.0.192");
        let six: IpAddr = "2001:db8::1".parse().unwrap();
        assert_eq!(reversed(six), "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2");
    }

    #[test]
    fn lists_have_several_ways_to_say_that_they_do_not_serve_us() {
        for refusal in [[127, 255, 255, 252], [127, 255, 255, 254], [127, 0, 0, 1], [127, 0, 0, 255]] {
            assert!(refuses(refusal.into()), "{refusal:?}");
        }
        for entry in [[127, 0, 0, 2], [127, 0, 0, 11], [127, 0, 1, 255], [127, 0, 9, 1]] {
            assert!(!refuses(entry.into()), "{entry:?}");
        }
    }
}
