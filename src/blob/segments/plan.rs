//! What is packed next: pure decisions over the oldest bodies of a group.

use std::time::Duration;

use super::Packing;
use crate::hot::HotBody;
use crate::owner::Group;

/// What is known when a round begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Situation {
    pub(super) group: Group,
    pub(super) now: Duration,
    /// Too much is hot: nothing is too young, and nothing waits for others.
    pub(super) pressed: bool,
}

impl Packing {
    /// Octets that are worth a segment.
    pub(super) fn enough(&self) -> u64 {
        self.segment_size / 4 * 3
    }
}

impl Situation {
    /// Whether a body waits no longer for others.
    pub(super) fn is_overdue(&self, packing: &Packing, body: &HotBody) -> bool {
        self.pressed || self.age(body) >= packing.max_age
    }

    /// Whether a body is left alone.
    fn is_young(&self, packing: &Packing, body: &HotBody) -> bool {
        let age = if self.group == Group::TRANSIT { packing.max_age } else { packing.min_age };
        !self.pressed && self.age(body) < age
    }

    fn age(&self, body: &HotBody) -> Duration {
        self.now.saturating_sub(body.body.time())
    }
}

/// The segments to be made of the oldest bodies of a group, which are in the order of their age. None if that should wait.
pub(super) fn choose(mut oldest: Vec<HotBody>, situation: Situation, packing: &Packing) -> Vec<Vec<HotBody>> {
    oldest.retain(|body| !situation.is_young(packing, body));
    let octets = |bodies: &[HotBody]| bodies.iter().map(|body| body.entry.octets).sum::<u64>();
    let total = octets(&oldest);
    if total < packing.enough() {
        let overdue = oldest.iter().any(|body| situation.is_overdue(packing, body));
        return if overdue { vec![ordered(oldest)] } else { Vec::new() };
    }
    // By age, so that nobody waits for long; as much as fills whole segments.
    let wanted = (total / packing.segment_size).max(1) * packing.segment_size;
    let mut sum = 0;
    let count = oldest.iter().take_while(|body| {
        let octets = body.entry.octets;
        let fits = sum == 0 || sum + octets <= wanted || octets > packing.segment_size;
        sum += octets;
        fits
    });
    let count = count.count();
    oldest.truncate(count);
    cut(ordered(oldest), packing.segment_size)
}

/// What belongs together side by side.
fn ordered(mut bodies: Vec<HotBody>) -> Vec<HotBody> {
    bodies.sort_unstable_by_key(|body| (body.entry.owner, body.body));
    bodies
}

/// Cuts bodies into segments of about the same size, none larger than `size` but that of a single body.
fn cut(bodies: Vec<HotBody>, size: u64) -> Vec<Vec<HotBody>> {
    let total = bodies.iter().map(|body| body.entry.octets).sum::<u64>();
    let even = total.div_ceil(total.div_ceil(size.max(1)).max(1));
    let mut segments: Vec<Vec<HotBody>> = Vec::new();
    let mut filled = 0;
    for body in bodies {
        let octets = body.entry.octets;
        match segments.last_mut() {
            Some(segment) if filled < even && filled + octets <= size => {
                segment.push(body);
                filled += octets;
            }
            _ => {
                segments.push(vec![body]);
                filled = octets;
            }
        }
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BodyId;
    use crate::hot::HotEntry;
    use crate::owner::Owner;

    const NOW: Duration = Duration::from_secs(1_000_000);

    fn packing() -> Packing {
        Packing { segment_size: 1000, ..Packing::default() }
    }

    fn situation() -> Situation {
        Situation { group: Group::of(Owner::Account(1)), now: NOW, pressed: false }
    }

    /// A body of an account that is so many seconds old.
    fn body(age: u64, account: u64, octets: u64) -> HotBody {
        let millis = NOW.as_secs().saturating_sub(age) * 1000;
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
        bytes[15] = account.to_le_bytes()[0];
        let entry = HotEntry { owner: Owner::Account(account), octets };
        HotBody { body: BodyId::from_bytes(bytes), entry }
    }

    fn octets(segments: &[Vec<HotBody>]) -> Vec<u64> {
        segments.iter().map(|segment| segment.iter().map(|body| body.entry.octets).sum()).collect()
    }

    #[test]
    fn bodies_wait_until_they_fill_a_segment_or_are_old() {
        let few = |age| vec![body(age, 1, 100), body(400, 2, 100)];
        assert!(choose(few(500), situation(), &packing()).is_empty());
        assert_eq!(octets(&choose(few(100_000), situation(), &packing())), [200], "one is older than a day");
        let pressed = Situation { pressed: true, ..situation() };
        assert_eq!(octets(&choose(few(500), pressed, &packing())), [200], "too much is hot");
        let many: Vec<_> = (0..8).map(|n| body(1000 - n, n, 100)).collect();
        assert_eq!(octets(&choose(many, situation(), &packing())), [800]);
    }

    #[test]
    fn the_young_are_left_alone_and_what_is_in_transit_for_a_day() {
        let young: Vec<_> = (0..10).map(|n| body(299, n, 100)).collect();
        assert!(choose(young, situation(), &packing()).is_empty());
        let transit = Situation { group: Group::TRANSIT, ..situation() };
        let waiting: Vec<_> = (0..10).map(|n| body(80_000, n, 100)).collect();
        assert!(choose(waiting, transit, &packing()).is_empty());
        assert_eq!(octets(&choose(vec![body(90_000, 1, 100)], transit, &packing())), [100]);
    }

    #[test]
    fn the_oldest_go_first_and_each_account_lies_together() {
        let bodies: Vec<_> = (0..25).map(|n| body(5000 - n, n % 3, 100)).collect();
        let segments = choose(bodies, situation(), &packing());
        assert_eq!(octets(&segments), [1000, 1000], "whole segments; the youngest five wait");
        let accounts: Vec<_> = segments.concat().iter().map(|body| body.entry.owner).collect();
        assert!(accounts.is_sorted());
        assert!(segments.concat().iter().all(|hot| NOW - hot.body.time() > Duration::from_secs(4980)));
    }

    #[test]
    fn segments_are_even_and_a_large_body_is_one_alone() {
        let bodies = vec![body(1000, 1, 700), body(999, 1, 700), body(998, 1, 5000), body(997, 1, 500)];
        let segments = choose(bodies, situation(), &packing());
        assert_eq!(octets(&segments), [700, 700, 5000]);
    }
}
