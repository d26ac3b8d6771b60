//! The filter as a whole: what all sessions share.

use std::sync::Arc;

use bytes::Bytes;

use crate::dnsbl::DnsLists;
use crate::greylist::Greylist;
use crate::learn::Learner;
use crate::metrics::Metrics;
use crate::results::{Results, without_forged};
use crate::scan::{Envelope, Peer, Scanners};
use crate::session::Session;
use crate::{Client, DmarcReporter, EnvelopeChanges, FilterContext, Judgement};

/// The filter: cheap to clone, one for the whole process.
#[derive(Clone)]
pub struct Filter {
    /// `None` judges nothing.
    shared: Option<Arc<Shared>>,
}

/// What all sessions work with.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) context: FilterContext,
    pub(crate) scanners: Scanners,
    pub(crate) lists: DnsLists,
    pub(crate) greylist: Greylist,
    pub(crate) metrics: Metrics,
    pub(crate) reporter: Option<Arc<dyn DmarcReporter>>,
}

impl Filter {
    /// A filter as configured; changes of the configuration take effect with the next connection.
    pub fn new(mut context: FilterContext) -> Self {
        // No trust rests on what is asked here: who can lie about a record of SPF can lie about its zone.
        context.dns = context.dns.without_validation();
        let FilterContext { live, dns, registry, .. } = &context;
        let shared = Shared {
            scanners: Scanners::new(live.clone(), registry),
            lists: DnsLists::new(live.clone(), dns, registry),
            greylist: context.greylist.clone(),
            metrics: Metrics::new(registry),
            reporter: None,
            context,
        };
        Self { shared: Some(Arc::new(shared)) }
    }

    /// A filter that takes everything as it comes.
    pub fn none() -> Self {
        Self { shared: None }
    }

    /// The same filter, which tells `reporter` of each outcome of DMARC.
    #[must_use]
    pub fn with_reporter(self, reporter: Arc<dyn DmarcReporter>) -> Self {
        let with = |shared: Arc<Shared>| {
            let mut shared = Arc::unwrap_or_clone(shared);
            shared.reporter = Some(reporter);
            Arc::new(shared)
        };
        Self { shared: self.shared.map(with) }
    }

    /// Starts what teaches rspamd what users say of their mail. To be called once, within the runtime; `None` for a filter that judges nothing.
    pub fn learner(&self) -> Option<Learner> {
        self.shared.as_ref().map(|shared| shared.scanners.learner())
    }

    /// The filter's side of a connection. Clients that are trusted or logged in are not judged.
    pub fn session(&self, client: Client, port: u16) -> Session {
        match &self.shared {
            Some(shared) if !client.trusted && !client.authenticated => {
                Session::new(Arc::clone(shared), shared.context.live.load(), client, port)
            }
            _ => Session::none(),
        }
    }

    /// What a message that a user submits gets: nobody's results in our name, what scanners say of it, and, if so configured, who logged in.
    pub async fn submitted(&self, peer: &Peer, envelope: &Envelope, message: &Bytes) -> Judgement {
        let Some(shared) = &self.shared else { return Judgement::accept() };
        let config = shared.context.live.load();
        let id = config.authserv_id();
        let own = without_forged(message, id).map(Bytes::from);
        let milled = shared.scanners.submission(peer, envelope, own.as_ref().unwrap_or(message)).await;
        let mut judgement = Judgement {
            disposition: milled.disposition,
            message: milled.message.or(own),
            envelope: EnvelopeChanges { sender: milled.sender, added: milled.added, removed: milled.removed },
            ..Judgement::accept()
        };
        if config.filter.authentication.name_login {
            let mut results = Results::new(id);
            let login = peer.login.as_ref().map_or("", |login| &login.name);
            results.add("auth", "pass", "", &[("smtp.auth", login)]);
            judgement.header = results.field().into_bytes();
            judgement.results = results.value();
        }
        judgement
    }
}
