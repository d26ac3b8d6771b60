//! The zone of the test server: what it answers, and the proofs of what is not there.

use std::collections::BTreeMap;

use hickory_resolver::proto::dnssec::rdata::NSEC;
use hickory_resolver::proto::op::{Message, Query, ResponseCode};
use hickory_resolver::proto::rr::rdata::SOA;
use hickory_resolver::proto::rr::{LowerName, Name, RData, Record, RecordSet, RecordType};
use hickory_resolver::proto::serialize::txt::Parser;

use super::Behaviour;
use super::sign::Signer;

/// More links of a CNAME chain than anyone follows.
const CHAIN: usize = 20;

/// All records, by name in the canonical order (RFC 4034 §6.1) and by type.
pub(super) struct Zone {
    names: BTreeMap<LowerName, BTreeMap<RecordType, RecordSet>>,
}

/// A name under the root.
pub(super) fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).expect("a test names names");
    name.set_fqdn(true);
    name
}

/// A name in lower case without the last dot.
pub(super) fn text(name: &Name) -> String {
    name.to_lowercase().to_ascii().trim_end_matches('.').to_owned()
}

impl Zone {
    /// Reads a zone text; the root gets the SOA and the key that answers need.
    pub(super) fn parse(text: &str, signer: Option<&Signer>) -> Self {
        let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
        let text = format!("$TTL 0\n{}\n", lines.join("\n"));
        let (_, sets) = Parser::new(text, None, Some(Name::root()))
            .parse()
            .unwrap_or_else(|error| panic!("the zone: {error}"));
        let mut names: BTreeMap<LowerName, BTreeMap<RecordType, RecordSet>> = BTreeMap::new();
        for (key, set) in sets {
            names.entry(key.name().clone()).or_default().insert(key.record_type, set);
        }
        let root = names.entry(LowerName::new(&Name::root())).or_default();
        root.entry(RecordType::SOA).or_insert_with(|| RecordSet::from(soa(Name::root())));
        if let Some(signer) = signer {
            root.insert(RecordType::DNSKEY, RecordSet::from(signer.dnskey()));
        }
        Self { names }
    }

    /// Answers a question, following CNAME.
    pub(super) fn answer(
        &self,
        question: &Query,
        behaviour: Behaviour,
        signer: Option<&Signer>,
        message: &mut Message,
    ) {
        let signing = signer.map(|signer| (signer, behaviour));
        let mut owner = question.name().to_lowercase();
        if behaviour == Behaviour::OtherName {
            owner = owner.prepend_label("other").expect("the name is short");
            let records = self.find(question.name(), question.query_type());
            message.add_answers(records.into_iter().flat_map(|set| renamed(set, &owner)));
            return;
        }
        for _ in 0..CHAIN {
            let found = self.find(&owner, question.query_type());
            if let Some(set) = found {
                self.add(message, set, &owner, signing);
                return;
            }
            let Some(alias) = self.find(&owner, RecordType::CNAME) else { break };
            self.add(message, alias, &owner, signing);
            let Some(RData::CNAME(target)) = alias.record().map(|record| &record.data) else { break };
            owner = target.0.to_lowercase();
        }
        self.deny(message, &owner, signing);
    }

    /// The records of a name, or those of the wildcard that stands for it.
    fn find(&self, owner: &Name, record_type: RecordType) -> Option<&RecordSet> {
        if let Some(sets) = self.names.get(&LowerName::new(owner)) {
            return sets.get(&record_type);
        }
        let wildcard = LowerName::new(&owner.clone().into_wildcard());
        self.names.get(&wildcard).and_then(|sets| sets.get(&record_type))
    }

    fn add(
        &self,
        message: &mut Message,
        set: &RecordSet,
        owner: &Name,
        signing: Option<(&Signer, Behaviour)>,
    ) {
        let records: Vec<Record> = renamed(set, owner).collect();
        if let Some((signer, behaviour)) = signing
            && behaviour != Behaviour::NoSignature
            && self.cut(owner, set.record_type()).is_none()
        {
            message.add_answer(signer.sign(owner, set, behaviour == Behaviour::BadSignature));
        }
        message.add_answers(records);
    }

    /// Says that there is nothing, and proves it.
    fn deny(&self, message: &mut Message, owner: &Name, signing: Option<(&Signer, Behaviour)>) {
        if !self.exists(owner) {
            message.metadata.response_code = ResponseCode::NXDomain;
        }
        let Some((signer, behaviour)) = signing else {
            message.add_authority(self.soa());
            return;
        };
        if let Some(cut) = self.cut(owner, message.queries[0].query_type()) {
            message.add_authority(soa(cut));
            return;
        }
        let mut proofs = vec![self.soa(), self.nsec(owner)];
        if message.metadata.response_code == ResponseCode::NXDomain {
            let mut encloser = owner.base_name();
            while !self.exists(&encloser) {
                encloser = encloser.base_name();
            }
            let wildcard = self.nsec(&encloser.prepend_label("*").expect("the name is short"));
            if !proofs.contains(&wildcard) {
                proofs.push(wildcard);
            }
        }
        for record in proofs {
            let set = RecordSet::from(record.clone());
            if behaviour != Behaviour::NoSignature {
                message.add_authority(signer.sign(&record.name, &set, behaviour == Behaviour::BadSignature));
            }
            message.add_authority(record);
        }
    }

    /// The SOA record of the root, whose TTL is that of absence.
    fn soa(&self) -> Record {
        let root = LowerName::new(&Name::root());
        let own =
            self.names.get(&root).and_then(|sets| sets.get(&RecordType::SOA)).and_then(RecordSet::record);
        own.cloned().unwrap_or_else(|| soa(Name::root()))
    }

    /// Whether a name has records or is above one that has.
    fn exists(&self, name: &Name) -> bool {
        self.names.keys().any(|owner| name.zone_of(&owner.clone().into()))
            || self.names.contains_key(&LowerName::new(&name.clone().into_wildcard()))
    }

    /// The unsigned zone that a name is in. The cut itself belongs to the parent only for DS (RFC 4035 §3.1.4.1).
    fn cut(&self, name: &Name, record_type: RecordType) -> Option<Name> {
        self.names.iter().find_map(|(owner, sets)| {
            let owner: Name = owner.clone().into();
            let is_cut = sets.contains_key(&RecordType::NS) && !owner.is_root() && owner.zone_of(name);
            let of_parent = record_type == RecordType::DS && owner == *name;
            (is_cut && !of_parent).then_some(owner)
        })
    }

    /// The NSEC record at a name, or of the gap that it would be in.
    fn nsec(&self, name: &Name) -> Record {
        let signed: Vec<(Name, &BTreeMap<RecordType, RecordSet>)> = self
            .names
            .iter()
            .map(|(owner, sets)| (Name::from(owner.clone()), sets))
            .filter(|(owner, _)| self.cut(owner, RecordType::DS).is_none())
            .collect();
        let at = signed.iter().rposition(|(owner, _)| owner <= name).unwrap_or_default();
        let (owner, sets) = &signed[at];
        let next = signed.get(at + 1).map_or_else(Name::root, |(next, _)| next.clone());
        let is_cut = sets.contains_key(&RecordType::NS) && !owner.is_root();
        let types: Vec<RecordType> =
            if is_cut { vec![RecordType::NS] } else { sets.keys().copied().collect() };
        Record::from_rdata(owner.clone(), 0, NSEC::new_cover_self(next, types)).into_record_of_rdata()
    }
}

fn renamed(set: &RecordSet, owner: &Name) -> impl Iterator<Item = Record> {
    set.records_without_rrsigs().cloned().map(|mut record| {
        record.name = owner.clone();
        record
    })
}

/// Absence is kept as long as anything else here: not at all.
fn soa(zone: Name) -> Record {
    let data = SOA::new(name("ns.test"), name("hostmaster.test"), 1, 3600, 600, 86_400, 0);
    Record::from_rdata(zone, 0, RData::SOA(data))
}
