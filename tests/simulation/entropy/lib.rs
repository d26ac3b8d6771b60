//! Chance that a seed decides, for everything that runs on a thread: ids, jitter, and the order in which a `HashMap` is walked.
//!
//! The standard library and the `rand` crate both ask the C library's `getrandom`. A program that contains this crate has its own: on threads
//! that called [`seed_thread`] it gives numbers that follow from the seed, on all others those of the system. So nothing in the code under test
//! has to know of the simulation, and what somebody writes tomorrow repeats itself, too.

use std::cell::Cell;
use std::fs::File;
use std::io::Read;
use std::mem::MaybeUninit;

thread_local! {
    /// The state of the generator, on threads that have one.
    static STATE: Cell<Option<u64>> = const { Cell::new(None) };
}

/// From now on all chance on this thread follows from `seed`. Call it first of all on a new thread: what has drawn its seed already, keeps it.
pub fn seed_thread(seed: u64) {
    // Mentioned, so that the linker takes ours and not the C library's.
    std::hint::black_box(getrandom as unsafe extern "C" fn(*mut MaybeUninit<u8>, usize, u32) -> isize);
    STATE.set(Some(seed));
}

/// `getrandom(2)`.
///
/// # Safety
/// `buffer` points to `length` octets that may be written.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut MaybeUninit<u8>, length: usize, _flags: u32) -> isize {
    if length == 0 {
        return 0;
    }
    // SAFETY: the caller's promise, which is that of the C function; uninitialised octets are only written.
    let out = unsafe { std::slice::from_raw_parts_mut(buffer, length) };
    if !fill_from_seed(out) && !fill_from_system(out) {
        return -1;
    }
    isize::try_from(length).unwrap_or(isize::MAX)
}

/// Whether the thread has a seed, and `out` its next numbers.
fn fill_from_seed(out: &mut [MaybeUninit<u8>]) -> bool {
    // A thread that ends has no thread-locals any more.
    let Ok(Some(mut state)) = STATE.try_with(Cell::get) else { return false };
    for piece in out.chunks_mut(8) {
        for (to, from) in piece.iter_mut().zip(next(&mut state).to_le_bytes()) {
            to.write(from);
        }
    }
    STATE.set(Some(state));
    true
}

fn fill_from_system(out: &mut [MaybeUninit<u8>]) -> bool {
    let mut octets = vec![0; out.len()];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut octets));
    for (to, from) in out.iter_mut().zip(octets) {
        to.write(from);
    }
    read.is_ok()
}

/// SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::thread;

    /// What chance decides on a thread: the order of a map, and the numbers of `rand`.
    fn drawn(seed: Option<u64>) -> (Vec<u32>, u128) {
        let draw = move || {
            seed.into_iter().for_each(seed_thread);
            let map: HashMap<u32, u32> = (0..50).map(|n| (n, n)).collect();
            (map.into_keys().collect(), rand::random())
        };
        thread::spawn(draw).join().unwrap_or_default()
    }

    #[test]
    fn a_seed_decides_all_chance_of_its_thread() {
        assert_eq!(drawn(Some(1)), drawn(Some(1)));
        assert_ne!(drawn(Some(1)).0, drawn(Some(2)).0);
        assert_ne!(drawn(Some(1)).1, drawn(Some(2)).1);
    }

    #[test]
    fn other_threads_have_the_system_s() {
        assert_ne!(drawn(None), drawn(None));
    }
}
