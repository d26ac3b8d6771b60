//! The end of a message: all that is known comes together.

use std::sync::Arc;

use bytes::Bytes;
use ekitei_directory::LocalPart;

use super::{Inner, Outcome, a_labels, policy};
use crate::auth::answers::Answers;
use crate::dnsbl::Listings;
use crate::examine::{Examination, Findings};
use crate::fields::{self, Origin};
use crate::policy::{Decision, Evidence};
use crate::results::without_forged;
use crate::scan::{Envelope, stricter};
use crate::{
    AlignedResults, Disposition, DkimIdentity, DmarcOutcome, EnvelopeChanges, EvaluatedDisposition,
    Judgement, SpfIdentity,
};

/// What the policies make of a message, before scanners saw it.
struct Ruling {
    disposition: Disposition,
    junk_for: Vec<String>,
    /// The decision of the first recipient's policy, which is what is noted and reported.
    first: Decision,
}

impl Inner {
    pub(super) async fn judge(&mut self, message: &Bytes) -> Judgement {
        let (findings, listings) = self.find_out(message).await;
        self.transaction.listings.merge(listings);
        self.shown = findings.shown(self.transaction.spf());
        let ruling = self.rule(&findings);
        let mut judgement = self.write_down(message, &findings, &ruling);
        judgement.disposition = match self.still_deferred().await {
            Some(refusal) if !matches!(ruling.disposition, Disposition::Refuse(_)) => {
                Disposition::Refuse(refusal)
            }
            _ => ruling.disposition.clone(),
        };
        if !matches!(judgement.disposition, Disposition::Refuse(_)) {
            self.scan(message, &mut judgement).await;
        }
        // What has to come again is told of when it does, or it would count twice.
        if !matches!(&judgement.disposition, Disposition::Refuse(refusal) if refusal.is_temporary()) {
            self.tell_owner(&findings, &ruling);
        }
        tracing::info!(
            transaction = %self.transaction.id,
            spf = self.transaction.spf().map(|spf| spf.result.name()),
            dkim = ?findings.dkim.iter().map(|dkim| dkim.outcome).collect::<Vec<_>>(),
            dmarc = findings.dmarc.outcome.name(),
            arc = findings.arc.outcome.name(),
            score = ruling.first.score,
            disposition = ?judgement.disposition,
            "judged"
        );
        judgement
    }

    /// Everything that has to be asked is asked at the same time, and what is asked since EHLO and MAIL may go on as long; so a message waits
    /// for DNS no longer than one check may take.
    async fn find_out(&mut self, message: &Bytes) -> (Findings, Listings) {
        if !self.authenticates() {
            return (Findings::none(), Listings::default());
        }
        let (shared, config, deadline) =
            (Arc::clone(&self.shared), Arc::clone(&self.config), self.deadline());
        let (settings, metrics) = (&config.filter.authentication, &shared.metrics);
        let examination = Examination::begin(message, settings, metrics);
        let answers = Answers::new(&shared.context.dns, deadline);
        let names = examination.names(settings, Some(self.identity()));
        let listings = async {
            match examination.author() {
                Some(author) => shared.lists.domain(author).await,
                None => Listings::default(),
            }
        };
        let ((), (), listings) = tokio::join!(self.catch_up(), answers.ask(&names), listings);
        let findings = examination.finish(&answers, self.transaction.spf(), settings, metrics).await;
        (findings, listings)
    }

    /// The domain that SPF is about.
    fn identity(&self) -> &str {
        let domain = self.transaction.reverse_path.rsplit_once('@').map(|(_, domain)| domain);
        domain.unwrap_or(&self.peer.hello)
    }

    /// What the policies of the recipients' domains say.
    fn rule(&self, findings: &Findings) -> Ruling {
        let evidence = self.evidence(findings);
        let mut domains: Vec<String> = Vec::new();
        for recipient in &self.transaction.recipients {
            let domain = recipient.rsplit_once('@').map_or_else(String::new, |(_, domain)| a_labels(domain));
            if !domains.contains(&domain) {
                domains.push(domain);
            }
        }
        let mut first = None;
        let mut decisions = Vec::new();
        for domain in domains {
            let decision = policy::decide(&self.config, policy::of_domain(&self.config, &domain), &evidence);
            decisions.push((domain, decision.disposition.clone()));
            first.get_or_insert(decision);
        }
        let (mut disposition, junk_for) = policy::together(decisions);
        if !matches!(disposition, Disposition::Refuse(_))
            && let Some(refusal) = policy::undecided(&self.config, &evidence)
        {
            disposition = Disposition::Refuse(refusal);
        }
        let first =
            first.unwrap_or_else(|| policy::decide(&self.config, &self.config.filter.policy, &evidence));
        Ruling { disposition, junk_for, first }
    }

    fn evidence<'a>(&'a self, findings: &'a Findings) -> Evidence<'a> {
        Evidence {
            iprev: self.iprev.as_ref(),
            hello: &self.hello.faults,
            spf: self.transaction.spf(),
            dkim: &findings.dkim,
            arc: &findings.arc,
            dmarc: &findings.dmarc,
            listings: &self.transaction.listings,
        }
    }

    /// The fields of a message, and the message without those that only we may write.
    fn write_down(&self, message: &Bytes, findings: &Findings, ruling: &Ruling) -> Judgement {
        let id = self.config.authserv_id();
        let origin = self.origin();
        let results = fields::results(id, &origin, findings, ruling.first.dmarc);
        let mut header = String::new();
        if self.authenticates() {
            header.push_str(&results.field());
            if let Some(spf) = self.transaction.spf()
                && self.config.filter.authentication.received_spf
            {
                header.push_str(&fields::received_spf(&self.config.hostname, &origin, spf));
            }
        }
        if !ruling.first.notes.is_empty() {
            header.push_str(&fields::notes(&ruling.first.notes, ruling.first.score));
        }
        Judgement {
            junk_for: ruling.junk_for.clone(),
            message: without_forged(message, id).map(Bytes::from),
            header: header.into_bytes(),
            results: if results.is_empty() { String::new() } else { results.value() },
            ..Judgement::accept()
        }
    }

    fn origin(&self) -> Origin<'_> {
        Origin {
            client: self.client(),
            helo: &self.peer.hello,
            reverse_path: &self.transaction.reverse_path,
            iprev: self.iprev.as_ref(),
            spf_helo: self.transaction.spf_helo.as_ref(),
            spf_mail: self.transaction.spf_mail.as_ref(),
        }
    }

    /// What greylisting put off, unless the message is of a domain that is known.
    async fn still_deferred(&self) -> Option<crate::Refusal> {
        let refusal = self.transaction.deferred.as_ref()?;
        for domain in &self.shown {
            if self.shared.greylist.known_sender(domain).await {
                return None;
            }
        }
        Some(refusal.clone())
    }

    /// Asks milters and scanners, each of what the one before it left.
    async fn scan(&mut self, message: &Bytes, judgement: &mut Judgement) {
        if !self.milters.is_empty() {
            let current = judgement.message.as_ref().unwrap_or(message).clone();
            let milled = self.milters.message(&current).await;
            judgement.disposition = stricter(judgement.disposition.clone(), milled.disposition);
            judgement.message = milled.message.or(judgement.message.take());
            judgement.envelope =
                EnvelopeChanges { sender: milled.sender, added: milled.added, removed: milled.removed };
        }
        if matches!(judgement.disposition, Disposition::Refuse(_) | Disposition::Discard) {
            return;
        }
        let envelope = Envelope {
            id: self.transaction.id.clone(),
            sender: self.transaction.reverse_path.clone(),
            recipients: self.transaction.recipients.clone(),
        };
        let current = judgement.message.as_ref().unwrap_or(message).clone();
        let scanned = self.shared.scanners.scan(&self.peer, &envelope, &current).await;
        judgement.disposition = stricter(judgement.disposition.clone(), scanned.disposition);
        judgement.message = scanned.message.or(judgement.message.take());
    }

    /// Hands the outcome of DMARC to the part that reports, if the owner wants reports.
    fn tell_owner(&self, findings: &Findings, ruling: &Ruling) {
        let Some(reporter) = &self.shared.reporter else { return };
        // A report about mail that brings reports would be answered by another one, for ever.
        let is_for_reports = |path: &String| {
            let local = path.rsplit_once('@').and_then(|(local, _)| LocalPart::parse(local).ok());
            local.is_some_and(|local| local.is_for_reports())
        };
        if self.transaction.recipients.iter().all(is_for_reports) {
            return;
        }
        let found = &findings.dmarc;
        let Some(published) = found.published.as_ref().filter(|policy| !policy.rua.is_empty()) else {
            return;
        };
        let published = published.clone();
        let evidence = self.evidence(findings);
        let domain_of = |path: &str| path.rsplit_once('@').map(|(_, domain)| a_labels(domain));
        let spf = self.transaction.spf();
        reporter.report(DmarcOutcome {
            time: self.shared.context.clock.now(),
            source: self.client(),
            header_from: found.domain.clone(),
            envelope_from: domain_of(&self.transaction.reverse_path),
            envelope_to: self.transaction.recipients.first().and_then(|path| domain_of(path)),
            policy: published,
            disposition: match found.outcome {
                Outcome::Pass => EvaluatedDisposition::Pass,
                _ => ruling.first.dmarc,
            },
            aligned: AlignedResults { dkim: found.dkim_aligned, spf: found.spf_aligned },
            reasons: policy::overrides(&evidence, ruling.first.dmarc),
            dkim: findings
                .dkim
                .iter()
                .filter(|dkim| !dkim.domain.is_empty())
                .map(|dkim| DkimIdentity {
                    domain: dkim.domain.clone(),
                    selector: dkim.selector.clone(),
                    result: dkim.outcome.name(),
                })
                .collect(),
            spf: spf.map(|spf| SpfIdentity {
                domain: spf.domain.clone(),
                scope: spf.scope,
                result: spf.result.name(),
            }),
        });
    }
}
