//! Names of bodies.

use std::fmt;
use std::time::Duration;

use ekitei_kv::clock::Clock;

/// The unique id of a body: 48 bits of milliseconds since the epoch, then 80 random bits, big-endian, so that bodies
/// stored at about the same time lie side by side.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct BodyId([u8; 16]);

impl BodyId {
    /// A new id, never given before.
    pub fn generate(clock: &dyn Clock) -> Self {
        let millis = u64::try_from(clock.now().as_millis()).unwrap_or(u64::MAX);
        let mut bytes: [u8; 16] = rand::random();
        bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
        Self(bytes)
    }

    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// When it was made, by the clock of who made it.
    pub fn time(&self) -> Duration {
        let mut millis = [0; 8];
        millis[2..].copy_from_slice(&self.0[..6]);
        Duration::from_millis(u64::from_be_bytes(millis))
    }

    /// The id that [`fmt::Display`] printed as `text`: 32 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 32 || !text.is_ascii() {
            return None;
        }
        let mut bytes = [0; 16];
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for BodyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BodyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The unique id of a segment, made like a [`BodyId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct SegmentId(BodyId);

impl SegmentId {
    /// What the names of all segments' objects begin with.
    pub(crate) const PREFIX: &'static str = "segments/";

    /// A new id, never given before.
    pub fn generate(clock: &dyn Clock) -> Self {
        Self(BodyId::generate(clock))
    }

    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(BodyId::from_bytes(bytes))
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// When it was made, since the epoch.
    pub(crate) fn time(&self) -> Duration {
        self.0.time()
    }

    /// The segment whose object has this name.
    pub(crate) fn of_object(name: &str) -> Option<Self> {
        name.strip_prefix(Self::PREFIX).and_then(BodyId::parse).map(Self)
    }

    /// The name of its object.
    pub fn object_name(&self) -> String {
        format!("{}{}", Self::PREFIX, self.0)
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a data key, which bodies are encrypted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct DataKeyId(u64);

impl DataKeyId {
    /// The id with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ekitei_kv::clock::SystemClock;

    #[test]
    fn an_id_is_read_back_as_it_was_printed() {
        let id = BodyId::generate(&SystemClock);
        assert_eq!(BodyId::parse(&id.to_string()), Some(id));
        let segment = SegmentId::generate(&SystemClock);
        assert_eq!(SegmentId::of_object(&segment.object_name()), Some(segment));
        assert!(SystemClock.now() - id.time() < Duration::from_secs(10));
        assert_eq!(BodyId::parse("00"), None);
        assert_eq!(BodyId::parse(&"g".repeat(32)), None);
    }
}
