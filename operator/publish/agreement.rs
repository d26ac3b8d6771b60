//! Records by which other domains agree to take DMARC reports about one (RFC 9990 §4): only they can publish them, and in their own words.

use ekitei_operator_dns::desired::Purpose;
use ekitei_operator_dns::verify::View;
use ekitei_operator_dns::{Desired, Name, RecordState, State};

/// Whether a record says that somebody takes DMARC reports about the domain.
pub(super) fn is_agreement(desired: &Desired) -> bool {
    desired.purpose == Purpose::DmarcReports
}

/// How somebody else words an agreement is theirs: any text of the kind is one.
pub(super) fn agree(view: &mut View, desired: &Desired) {
    if let View::Other(set) = view
        && !desired.family.select(&set.values, |_| false).is_empty()
    {
        *view = View::Shown { ttl: set.ttl.unwrap_or_default() };
    }
}

/// Agreements that only others could publish keep nobody from being ready. What is missing is told with the DMARC record that needs it.
pub(super) fn tell(records: &mut Vec<RecordState>, zone: &Name) {
    let is_missing = |record: &RecordState| {
        let (desired, by_hand) = (&record.desired, record.state == State::Manual);
        by_hand && is_agreement(desired) && !desired.set.name.is_within(zone)
    };
    let (missing, mut counted): (Vec<_>, Vec<_>) = std::mem::take(records).into_iter().partition(is_missing);
    if let Some(dmarc) = counted.iter_mut().find(|record| record.desired.purpose == Purpose::Dmarc) {
        for record in missing {
            let separator = if dmarc.message.is_empty() { "" } else { "; " };
            let lines = record.desired.set.lines().join("; ");
            dmarc.message +=
                &format!("{separator}reports go nowhere unless who takes them publishes: {lines}");
        }
    }
    *records = counted;
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ekitei_operator_dns::{Family, RecordSet, Value};

    use super::*;

    #[test]
    fn agreements_that_only_others_can_publish_are_told_and_not_waited_for() {
        let record = |name: &str, purpose, state| {
            let set = RecordSet::new(name.parse().unwrap(), 300, [Value::txt("v=DMARC1;")]).unwrap();
            let family = Family::Tagged("v=DMARC1".to_owned());
            RecordState { desired: Desired { set, family, purpose }, state, message: String::new() }
        };
        let agreement = |name: &str| record(name, Purpose::DmarcReports, State::Manual);
        let mut records = vec![
            agreement("example.org._report._dmarc.reports.test"),
            agreement("example.org._report._dmarc.sub.example.org"),
            record("_dmarc.example.org", Purpose::Dmarc, State::Verified),
        ];
        tell(&mut records, &"example.org".parse().unwrap());
        let names: Vec<&str> = records.iter().map(|record| record.desired.set.name.as_str()).collect();
        assert_eq!(names, ["example.org._report._dmarc.sub.example.org", "_dmarc.example.org"]);
        let told = "example.org._report._dmarc.reports.test. 300 IN TXT \"v=DMARC1;\"";
        assert!(records[1].message.ends_with(told), "{}", records[1].message);

        let desired = &records[0].desired;
        let text = |text| RecordSet::new(desired.set.name.clone(), 60, [Value::txt(text)]).unwrap();
        let mut view = View::Other(text("v=DMARC1"));
        agree(&mut view, desired);
        assert_eq!(view, View::Shown { ttl: 60 });
        let mut view = View::Other(text("v=spf1 -all"));
        agree(&mut view, desired);
        assert!(matches!(view, View::Other(_)));
    }
}
