//! The steps of a region, from its pods to its names.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ekitei_operator_api::{ConditionStatus, Conditions as _, Draft, RegionClients};
use ekitei_operator_dns::verify::Settings;
use ekitei_operator_dns::{Name, Verifier};
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt as _;

use crate::error::{Error, Result};
use crate::region::addresses::{self, Ingress, Sorted};
use crate::region::certificate::Names;
use crate::region::cluster::{self, Cluster};
use crate::region::pods::{self, Pods};
use crate::region::publication::Addresses;
use crate::region::{OTHER_CLUSTER, SOON, Work, objects, render, reverse};

impl Work<'_> {
    /// All steps. What fails is remembered.
    pub(super) async fn steps(&mut self) {
        match self.cluster().await {
            Ok(addresses) => Box::pin(self.names(Some(&addresses))).await,
            Err(error) => {
                self.failed(&["PodsReady", "AddressesReady"], error);
                Box::pin(self.names(None)).await;
            }
        }
        self.reverse_names().await;
    }

    /// What is in the region's cluster: its pods, and its addresses.
    async fn cluster(&mut self) -> Result<Addresses> {
        let cluster = cluster::of(self.context, self.region).await?;
        if cluster.is_other {
            self.wake_in(OTHER_CLUSTER);
        }
        let result = self.inside(&cluster).await;
        let away = matches!(&result, Err(Error::Kubernetes(error)) if !matches!(error.as_ref(), kube::Error::Api(_)));
        let name = self.region.name_any();
        let reachable = [([name.as_str()], i64::from(!away))];
        self.context.metrics.region_reachable.show(&self.object(), reachable);
        match result {
            Err(error) if away && cluster.is_other => Err(Error::outside(
                "ClusterUnreachable",
                format!("the cluster of the region cannot be reached: {error}"),
            )),
            result => result,
        }
    }

    async fn inside(&mut self, cluster: &Cluster) -> Result<Addresses> {
        let service = match &self.region.spec.placement.existing_service {
            Some(existing) => {
                // Those that were made before someone else did it.
                if self.status.selector.take().is_some() {
                    objects::remove(self.context, self.region, cluster).await?;
                }
                let service = objects::service(cluster, &existing.name).await?;
                self.pods(objects::pods_behind(cluster, &existing.name).await?, None);
                service
            }
            None => {
                let (deployment, service) = objects::write(self.context, self.region, cluster).await?;
                self.status.selector = Some(render::selector_text(&self.region.name_any()));
                self.pods(Pods::of(&deployment), pods::trouble(&deployment));
                service
            }
        };
        self.addresses(cluster, service).await
    }

    fn pods(&mut self, pods: Pods, trouble: Option<String>) {
        self.status.replicas = pods.there;
        self.status.ready_replicas = pods.ready;
        self.condition(pods.condition(trouble));
    }

    /// The addresses of the MX host and of the host of users' programs.
    async fn addresses(&mut self, cluster: &Cluster, service: Service) -> Result<Addresses> {
        let spec = &self.region.spec;
        let name = service.name_any();
        let found = self.of_service(&spec.addresses, service).await;
        let draft = addresses::condition(&found, &name);
        if draft.status != ConditionStatus::True {
            self.wake_in(SOON);
        }
        self.condition(draft);
        let found = found.unwrap_or_default();
        self.warn_of_private(&spec.host, &found).await;
        self.note_addresses(&found);
        let host = found.named;
        self.status.client_host =
            Some(spec.clients.as_ref().map_or(&spec.host, |clients| &clients.host).clone());
        let clients = match &spec.clients {
            Some(clients) => self.client_addresses(cluster, clients, &host).await?,
            None => Some(BTreeSet::new()),
        };
        Ok(Addresses { host, clients })
    }

    /// Notes the addresses of the region, which other records name. Those that are known stay while there are none; private ones that are not meant do not.
    fn note_addresses(&mut self, found: &Sorted) {
        let spec = &self.region.spec;
        if found.named.is_empty() {
            let left_out = addresses::texts(&found.left_out);
            self.status.addresses.retain(|known| !left_out.contains(known));
        } else {
            self.status.addresses = addresses::texts(&found.named);
        }
        self.status.egress_addresses = match spec.egress_addresses.as_slice() {
            [] => self.status.addresses.clone(),
            egress => egress.to_vec(),
        };
    }

    /// Says that addresses of a host are private ones, if that is not meant.
    async fn warn_of_private(&self, host: &str, found: &Sorted) {
        if let Some(warning) = found.warning(host) {
            self.context.events.warning(self.region, "PrivateAddresses", &warning).await;
        }
    }

    /// The addresses that a person wrote, else those of a Service.
    async fn of_service(&self, written: &[String], service: Service) -> Result<Sorted, String> {
        let allowed = self.region.spec.allow_private_addresses;
        let found = if written.is_empty() {
            addresses::resolve(Ingress::of(&service), addresses::lookup).await?
        } else {
            addresses::written(written)
        };
        Ok(Sorted::new(found, !written.is_empty(), allowed))
    }

    /// The addresses of the host of users' programs; `None` if they are to have no records, since nobody outside would reach them.
    async fn client_addresses(
        &mut self,
        cluster: &Cluster,
        clients: &RegionClients,
        host: &BTreeSet<IpAddr>,
    ) -> Result<Option<BTreeSet<IpAddr>>> {
        let service = match &clients.service_ref {
            Some(reference) => objects::service(cluster, &reference.name).await?,
            None if clients.addresses.is_empty() => return Ok(Some(host.clone())),
            None => Service::default(),
        };
        let found = self.of_service(&clients.addresses, service).await;
        let found = found.map_err(|reason| Error::outside("NameNotResolved", reason))?;
        self.warn_of_private(&clients.host, &found).await;
        Ok(if found.named.is_empty() && !found.left_out.is_empty() { None } else { Some(found.named) })
    }

    /// The names of the region: their certificate, and their records in DNS. While the addresses cannot be asked for, records stay as they are; certificates do not
    /// wait, for the pods may serve all the same.
    async fn names(&mut self, addresses: Option<&Addresses>) {
        let Some(dns) = &self.region.spec.dns else {
            self.certificate(Names::Foreign).await;
            return self.published(
                ConditionStatus::True,
                "NotManaged",
                "spec.dns is not given, so someone else publishes the records",
            );
        };
        let zone = match self.zone(dns).await {
            Ok(zone) => zone,
            Err(error) => {
                // What of a certificate needs no records goes on.
                let why = error.to_string();
                self.failed(&["DNSPublished", "DNSVerified"], error);
                self.certificate(Names::Away(&why)).await;
                return;
            }
        };
        let keys = self.certificate(Names::Zone(&zone)).await;
        let Some(addresses) = addresses else { return };
        let wants_clients = self.region.spec.clients.is_some();
        let no_clients = addresses.clients.as_ref().is_some_and(BTreeSet::is_empty);
        if addresses.host.is_empty() || (wants_clients && no_clients) {
            // Records that are there stay: a load balancer that is made anew often gets its old address.
            let nothing_yet = self.status.inventory.is_empty();
            let status = if nothing_yet { ConditionStatus::False } else { ConditionStatus::Unknown };
            let message = "there are no addresses yet that records could lead to";
            return self.published(status, "WaitingForAddress", message);
        }
        let keys: Vec<[u8; 32]> = keys.iter().map(|key| *key.as_bytes()).collect();
        if let Err(error) = self.publish(dns, zone, addresses, &keys).await {
            self.failed(&["DNSPublished", "DNSVerified"], error);
        }
        if !self.status.conditions.holds("DNSVerified") {
            self.wake_in(SOON);
        }
    }

    fn published(&mut self, status: ConditionStatus, reason: &'static str, message: &str) {
        self.condition(Draft { type_: "DNSPublished", status, reason, message: message.to_owned() });
    }

    /// Looks where the addresses that mail comes from lead.
    async fn reverse_names(&mut self) {
        let Ok(host) = self.region.spec.host.parse::<Name>() else { return };
        let addresses = addresses::written(&self.status.egress_addresses);
        if addresses.is_empty() {
            return;
        }
        let resolvers = self.context.options.resolvers.clone();
        let verifier = Verifier::new(Settings { resolvers, ..Settings::default() });
        let mut found = Vec::new();
        let own = addresses::written(&self.status.addresses);
        let is_published = self.region.spec.dns.is_some();
        for (host, addresses) in reverse::expected(&host, &own, &addresses, is_published) {
            found.extend(reverse::look(&verifier, &host, &addresses).await);
        }
        self.status.reverse_dns = reverse::instructions(&found);
        self.condition(reverse::condition(&found));
    }
}
