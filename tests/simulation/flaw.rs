//! Deliberate bugs, switched on to see that the simulation finds them: each is in a part that the simulation itself puts together, as a service that is put together
//! wrongly would have it.

/// What is wrong with the processes of a run, or with those who look after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A process of the release before uses the store without a beat, so that nobody waits for it with what it does not understand.
    OldReleaseUnseen,
    /// Work under a lease is written without asking whose the lease is.
    WorkWithoutCheck,
    /// The clocks that tell who has died stand still.
    NobodyDies,
    /// One process believes that it is an hour later, and so that locks have ended.
    WrongTimeForLocks,
    /// What stores a body does not ask whether its key is being destroyed.
    KeysUnconfirmed,
    /// Bodies are stored as they are.
    PlainBodies,
    /// Keys are destroyed without a look at who needs them.
    DestroyUnasked,
    /// The old master key is given up before the data keys are wrapped by the new one.
    NoRewrap,
    /// A process has two caches of objects in place of one.
    TwoCaches,
    /// A cache keeps what turned out to be spoiled.
    SpoiledIsKept,
    /// Nobody runs the scrubber.
    NobodyScrubs,
}

impl Flaw {
    /// All of them, each with how many seeds it may take until it is found.
    pub const ALL: [(Self, u64); 11] = [
        (Self::OldReleaseUnseen, 1),
        (Self::WorkWithoutCheck, 100),
        (Self::NobodyDies, 3),
        (Self::WrongTimeForLocks, 3),
        (Self::KeysUnconfirmed, 40),
        (Self::PlainBodies, 1),
        (Self::DestroyUnasked, 3),
        (Self::NoRewrap, 1),
        (Self::TwoCaches, 5),
        (Self::SpoiledIsKept, 5),
        (Self::NobodyScrubs, 1),
    ];
}
