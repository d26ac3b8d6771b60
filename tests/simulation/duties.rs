//! Work that processes share by leases: duties, whose results name the token that they were done under, and jobs.
//!
//! A duty is the work of somebody who has to be alone: each round is a row, in the order of the commits. Of a job only that it is done.

use std::sync::Arc;
use std::time::Duration;

use ekitei_cluster::{Jobs, Outcome};
use ekitei_kv::lease::{Lease, LeaseSet, Leases};
use ekitei_kv::{Database, Error, KeyValue, Transaction, keys, prefix_end};
use tokio::time::sleep;

use crate::flaw::Flaw;
use crate::wire::Wire;
use crate::world::World;

/// The group of the leases of duties.
pub const GROUP: &str = "duties";
/// The duties.
pub const DUTIES: [&str; 3] = ["north", "east", "south"];
/// The jobs whose rounds are noted.
pub const JOBS: [&str; 2] = ["first", "second"];
/// Between two rounds of either.
const INTERVAL: Duration = Duration::from_secs(4);
/// By then another process has taken up what one that died has left, and has done a round of it.
pub const TAKEN_UP: Duration = Duration::from_secs(40);
/// A subspace that nothing else uses.
const SUBSPACE: u32 = 200;
/// Octets of a versionstamp.
const STAMP: usize = 10;

/// A round of a duty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// The token of the lease that it was done under.
    pub token: u64,
    /// When it was begun, since the beginning of the run.
    pub at: Duration,
    /// Who did it.
    pub who: String,
}

impl Round {
    fn encode(&self) -> Vec<u8> {
        let millis = u64::try_from(self.at.as_millis()).unwrap_or(u64::MAX);
        [&self.token.to_be_bytes(), &millis.to_be_bytes(), self.who.as_bytes()].concat()
    }

    fn decode(row: &KeyValue) -> Option<Self> {
        let (token, rest) = row.value.split_first_chunk()?;
        let (millis, who) = rest.split_first_chunk()?;
        let at = Duration::from_millis(u64::from_be_bytes(*millis));
        Some(Self { token: u64::from_be_bytes(*token), at, who: String::from_utf8_lossy(who).into_owned() })
    }
}

/// The rounds of a duty in the order of their commits.
pub async fn rounds(world: &World, duty: &str) -> Vec<Round> {
    let prefix = keys::key(&(SUBSPACE, duty));
    let end = prefix_end(&prefix).unwrap_or_default();
    let mut rounds = Vec::new();
    let scanned = world.database.scan(prefix..end, |page| {
        rounds.extend(page.iter().filter_map(Round::decode));
        Ok::<_, Error>(())
    });
    if let Err(error) = scanned.await {
        world.ledger().accuse(format!("the rounds of {duty} cannot be read: {error}"));
    }
    rounds
}

/// A process at its duties.
pub struct Server {
    pub world: Arc<World>,
    pub wire: Arc<Wire>,
    pub database: Database,
    pub leases: Leases,
}

impl Server {
    /// Does the duties whose leases are held, until it is dropped.
    pub async fn run(self, mut held: LeaseSet) {
        loop {
            tokio::select! {
                biased;
                () = sleep(INTERVAL) => {}
                () = held.changed() => {}
            }
            for lease in held.held() {
                if lease.is_wanted_back() {
                    // Others take it when it ends.
                    let _ = self.leases.release(&lease).await;
                } else if lease.holds() {
                    // The next round tries again.
                    let _ = self.round(&lease).await;
                }
            }
        }
    }

    async fn round(&self, lease: &Lease) -> Result<(), Error> {
        let (token, at) = (lease.token(), self.world.elapsed());
        let round = &Round { token, at, who: self.wire.name().to_owned() };
        let prefix = keys::key(&(SUBSPACE, lease.name()));
        let key = &[&prefix[..], &[0; STAMP]].concat();
        let checks = self.world.plan.flaw != Some(Flaw::WorkWithoutCheck);
        self.database
            .transact(|transaction: Transaction| async move {
                if checks {
                    lease.check(&transaction).await?;
                }
                transaction.set_versionstamped_key(key, key.len() - STAMP, &round.encode());
                Ok(())
            })
            .await
    }
}

/// Does the jobs whose rounds are noted, until it is dropped.
pub async fn do_job(world: Arc<World>, wire: Arc<Wire>, jobs: Jobs, job: &'static str) {
    let work = || {
        let (world, wire) = (Arc::clone(&world), Arc::clone(&wire));
        async move {
            wire.running().await;
            let at = world.elapsed();
            world.ledger().rounds.push((job, at, wire.name().to_owned()));
            Outcome::Ok(())
        }
    };
    jobs.run(job, || INTERVAL, work).await;
}
