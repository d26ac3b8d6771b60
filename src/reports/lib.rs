//! Reports: DMARC aggregate reports (RFC 9990) and TLS reports (RFC 8460), collected and sent once a day to who asks for them, and those
//! that others send, parsed and kept for `ekitei report`.
