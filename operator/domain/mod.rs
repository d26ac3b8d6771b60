//! `MailDomain`: from an object to a domain that receives and sends mail.

use std::sync::Arc;

use ekitei_operator_api::MailDomain;
use kube::api::Api;
use kube::runtime::{Controller, watcher};

use crate::context::Context;
use crate::controller::{Outcome, Reconciler};
use crate::error::Result;

/// The reconciler of MailDomains.
pub struct Domains;

impl Reconciler for Domains {
    type Object = MailDomain;
    const KIND: &'static str = "MailDomain";

    async fn controller(context: &Arc<Context>) -> Controller<MailDomain> {
        Controller::new(Api::all(context.client.clone()), watcher::Config::default())
    }

    async fn reconcile(_: Arc<MailDomain>, _: Arc<Context>) -> Result<Outcome> {
        Ok(Outcome::default())
    }
}
