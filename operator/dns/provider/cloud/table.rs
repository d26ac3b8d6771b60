//! The providers by name: which credentials each takes, and how it is made of them.
//!
//! A field that begins with `?` may be left out. What is secret is up to who stores it; all of them come from one Secret.

use std::collections::BTreeMap;
use std::time::Duration;

use dns_update::providers::azuredns::{AzureDnsConfig, AzureEnvironment};
use dns_update::providers::bluecatv2::BluecatV2Config;
use dns_update::providers::edgedns::EdgeDnsConfig;
use dns_update::providers::google_cloud_dns::GoogleCloudDnsConfig;
use dns_update::providers::infoblox::InfobloxConfig;
use dns_update::providers::joker::JokerAuth;
use dns_update::providers::lightsail::LightsailConfig;
use dns_update::providers::oraclecloud::OracleCloudConfig;
use dns_update::providers::ovh::OvhEndpoint;
use dns_update::providers::volcengine::VolcengineConfig;
use dns_update::providers::yandexcloud::YandexCloudConfig;
use dns_update::{DnsUpdater, Result};

/// A provider of the table.
#[derive(Debug)]
pub struct Kind {
    /// What it is called in settings.
    pub name: &'static str,
    /// Its credentials; `?` before those that may be left out.
    pub fields: &'static [&'static str],
    pub(super) make: fn(&Fields<'_>) -> Result<DnsUpdater>,
}

/// Credentials that are known to have all that is needed.
#[derive(Debug)]
pub struct Fields<'a> {
    given: &'a BTreeMap<String, String>,
    timeout: Option<Duration>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(given: &'a BTreeMap<String, String>, timeout: Duration) -> Self {
        Self { given, timeout: Some(timeout) }
    }

    fn get(&self, field: &str) -> &'a str {
        self.given.get(field).map(String::as_str).unwrap_or_default()
    }

    fn own(&self, field: &str) -> String {
        self.get(field).to_owned()
    }

    fn maybe(&self, field: &str) -> Option<&'a str> {
        self.given.get(field).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn maybe_own(&self, field: &str) -> Option<String> {
        self.maybe(field).map(str::to_owned)
    }

    fn flag(&self, field: &str) -> bool {
        self.get(field).eq_ignore_ascii_case("true")
    }
}

/// A line of the table.
macro_rules! kind {
    ($name:literal, [$($field:literal),* $(,)?], |$fields:ident| $make:expr) => {
        Kind { name: $name, fields: &[$($field),*], make: |$fields| $make }
    };
}

/// All of them, by name.
pub static KINDS: &[Kind] = &[
    kind!("alidns", ["accessKey", "secretKey", "?region", "?securityToken", "?line"], |f| {
        let (key, secret) = (f.get("accessKey"), f.get("secretKey"));
        let (region, token, line) = (f.maybe("region"), f.maybe("securityToken"), f.maybe("line"));
        DnsUpdater::new_alidns(key, secret, region, token, line, f.timeout)
    }),
    kind!("arvancloud", ["apiKey"], |f| DnsUpdater::new_arvancloud(f.get("apiKey"), f.timeout)),
    kind!("autodns", ["username", "password", "?context"], |f| {
        let context = f.maybe("context").and_then(|context| context.parse().ok());
        DnsUpdater::new_autodns(f.get("username"), f.get("password"), context, f.timeout)
    }),
    kind!(
        "azuredns",
        ["tenantId", "clientId", "clientSecret", "subscriptionId", "resourceGroup", "?environment"],
        |f| DnsUpdater::new_azuredns(AzureDnsConfig {
            tenant_id: f.own("tenantId"),
            client_id: f.own("clientId"),
            client_secret: f.own("clientSecret"),
            subscription_id: f.own("subscriptionId"),
            resource_group: f.own("resourceGroup"),
            environment: AzureEnvironment::from_str_lossy(f.get("environment")),
            request_timeout: f.timeout,
        })
    ),
    kind!("baiducloud", ["accessKey", "secretKey"], |f| {
        DnsUpdater::new_baiducloud(f.get("accessKey"), f.get("secretKey"), f.timeout)
    }),
    kind!("bluecatv2", ["serverUrl", "username", "password", "configName", "viewName", "?skipDeploy"], |f| {
        DnsUpdater::new_bluecatv2(BluecatV2Config {
            server_url: f.own("serverUrl"),
            username: f.own("username"),
            password: f.own("password"),
            config_name: f.own("configName"),
            view_name: f.own("viewName"),
            skip_deploy: f.flag("skipDeploy"),
            request_timeout: f.timeout,
        })
    }),
    kind!("bunny", ["apiKey"], |f| DnsUpdater::new_bunny(f.get("apiKey"), f.timeout)),
    kind!("cloudflare", ["apiToken"], |f| DnsUpdater::new_cloudflare(f.get("apiToken"), f.timeout)),
    kind!("cloudns", ["authPassword", "?authId", "?subAuthId"], |f| {
        let (id, sub) = (f.maybe("authId"), f.maybe("subAuthId"));
        DnsUpdater::new_cloudns(id, sub, f.get("authPassword"), f.timeout)
    }),
    kind!("constellix", ["apiKey", "secretKey"], |f| {
        DnsUpdater::new_constellix(f.get("apiKey"), f.get("secretKey"), f.timeout)
    }),
    kind!("cpanel", ["baseUrl", "username", "token"], |f| {
        DnsUpdater::new_cpanel(f.get("baseUrl"), f.get("username"), f.get("token"), f.timeout)
    }),
    kind!("ddnss", ["key"], |f| DnsUpdater::new_ddnss(f.get("key"), f.timeout)),
    kind!("desec", ["authToken"], |f| DnsUpdater::new_desec(f.get("authToken"), f.timeout)),
    kind!("digitalocean", ["authToken"], |f| DnsUpdater::new_digitalocean(f.get("authToken"), f.timeout)),
    kind!("dnsimple", ["authToken", "accountId"], |f| {
        DnsUpdater::new_dnsimple(f.get("authToken"), f.get("accountId"), f.timeout)
    }),
    kind!("dnsmadeeasy", ["apiKey", "apiSecret"], |f| {
        DnsUpdater::new_dnsmadeeasy(f.get("apiKey"), f.get("apiSecret"), f.timeout)
    }),
    kind!("domeneshop", ["apiToken", "apiSecret"], |f| {
        DnsUpdater::new_domeneshop(f.get("apiToken"), f.get("apiSecret"), f.timeout)
    }),
    kind!("dreamhost", ["apiKey"], |f| DnsUpdater::new_dreamhost(f.get("apiKey"), f.timeout)),
    kind!("duckdns", ["token"], |f| DnsUpdater::new_duckdns(f.get("token"), f.timeout)),
    kind!("dynu", ["apiKey"], |f| DnsUpdater::new_dynu(f.get("apiKey"), f.timeout)),
    kind!("easydns", ["token", "key"], |f| DnsUpdater::new_easydns(f.get("token"), f.get("key"), f.timeout)),
    kind!("edgedns", ["host", "clientToken", "clientSecret", "accessToken", "?accountSwitchKey"], |f| {
        DnsUpdater::new_edgedns(EdgeDnsConfig {
            host: f.own("host"),
            client_token: f.own("clientToken"),
            client_secret: f.own("clientSecret"),
            access_token: f.own("accessToken"),
            account_switch_key: f.maybe_own("accountSwitchKey"),
            request_timeout: f.timeout,
        })
    }),
    kind!("exoscale", ["apiKey", "apiSecret"], |f| {
        DnsUpdater::new_exoscale(f.get("apiKey"), f.get("apiSecret"), f.timeout)
    }),
    kind!("freemyip", ["token"], |f| DnsUpdater::new_freemyip(f.get("token"), f.timeout)),
    kind!("gandiv5", ["personalAccessToken"], |f| {
        DnsUpdater::new_gandiv5(f.get("personalAccessToken"), f.timeout)
    }),
    kind!("gcore", ["apiToken"], |f| DnsUpdater::new_gcore(f.get("apiToken"), f.timeout)),
    kind!("glesys", ["apiUser", "apiKey"], |f| {
        DnsUpdater::new_glesys(f.get("apiUser"), f.get("apiKey"), f.timeout)
    }),
    kind!("godaddy", ["apiKey", "apiSecret"], |f| {
        DnsUpdater::new_godaddy(f.get("apiKey"), f.get("apiSecret"), f.timeout)
    }),
    kind!(
        "googleclouddns",
        ["serviceAccountJson", "projectId", "?managedZone", "?privateZone", "?impersonateServiceAccount"],
        |f| DnsUpdater::new_google_cloud_dns(GoogleCloudDnsConfig {
            service_account_json: f.own("serviceAccountJson"),
            project_id: f.own("projectId"),
            managed_zone: f.maybe_own("managedZone"),
            private_zone: f.flag("privateZone"),
            impersonate_service_account: f.maybe_own("impersonateServiceAccount"),
            request_timeout: f.timeout,
        })
    ),
    kind!("hetzner", ["apiToken"], |f| DnsUpdater::new_hetzner(f.get("apiToken"), f.timeout)),
    kind!("hostingde", ["apiKey"], |f| DnsUpdater::new_hostingde(f.get("apiKey"), f.timeout)),
    kind!("hostinger", ["apiToken"], |f| DnsUpdater::new_hostinger(f.get("apiToken"), f.timeout)),
    kind!("huaweicloud", ["accessKey", "secretKey", "region"], |f| {
        DnsUpdater::new_huaweicloud(f.get("accessKey"), f.get("secretKey"), f.get("region"), f.timeout)
    }),
    // A password for each name, by the name: so there is nothing that must be there.
    kind!("hurricane", [], |f| {
        let passwords = f.given.iter().map(|(name, password)| (name.clone(), password.clone()));
        DnsUpdater::new_hurricane(passwords.collect(), f.timeout)
    }),
    kind!("ibmcloud", ["username", "apiKey"], |f| {
        DnsUpdater::new_ibmcloud(f.get("username"), f.get("apiKey"), f.timeout)
    }),
    kind!("infoblox", ["host", "username", "password", "?port", "?wapiVersion", "?dnsView"], |f| {
        DnsUpdater::new_infoblox(InfobloxConfig {
            host: f.own("host"),
            port: f.maybe_own("port"),
            username: f.own("username"),
            password: f.own("password"),
            wapi_version: f.maybe_own("wapiVersion"),
            dns_view: f.maybe_own("dnsView"),
            request_timeout: f.timeout,
        })
    }),
    kind!("infomaniak", ["accessToken"], |f| DnsUpdater::new_infomaniak(f.get("accessToken"), f.timeout)),
    kind!("inwx", ["username", "password", "?sandbox"], |f| {
        DnsUpdater::new_inwx(f.get("username"), f.get("password"), f.flag("sandbox"), f.timeout)
    }),
    kind!("ionos", ["apiKey"], |f| DnsUpdater::new_ionos(f.get("apiKey"), f.timeout)),
    kind!("ipv64", ["apiKey"], |f| DnsUpdater::new_ipv64(f.get("apiKey"), f.timeout)),
    kind!("joker", ["?apiKey", "?username", "?password"], |f| {
        let auth = match f.maybe("apiKey") {
            Some(key) => JokerAuth::api_key(key),
            None => JokerAuth::username_password(f.get("username"), f.get("password")),
        };
        DnsUpdater::new_joker(auth, f.timeout)
    }),
    kind!("lightsail", ["accessKeyId", "secretAccessKey", "?sessionToken", "?region", "?domain"], |f| {
        DnsUpdater::new_lightsail(LightsailConfig {
            access_key_id: f.own("accessKeyId"),
            secret_access_key: f.own("secretAccessKey"),
            session_token: f.maybe_own("sessionToken"),
            region: f.maybe_own("region"),
            domain: f.maybe_own("domain"),
            request_timeout: f.timeout,
        })
    }),
    kind!("linode", ["authToken"], |f| DnsUpdater::new_linode(f.get("authToken"), f.timeout)),
    kind!("luadns", ["apiUsername", "apiToken"], |f| {
        DnsUpdater::new_luadns(f.get("apiUsername"), f.get("apiToken"), f.timeout)
    }),
    kind!("mythicbeasts", ["username", "password"], |f| {
        DnsUpdater::new_mythicbeasts(f.get("username"), f.get("password"), f.timeout)
    }),
    kind!("namecheap", ["apiUser", "apiKey", "clientIp", "?username"], |f| {
        let (user, key, ip) = (f.get("apiUser"), f.get("apiKey"), f.get("clientIp"));
        DnsUpdater::new_namecheap(user, key, ip, f.maybe("username"), f.timeout)
    }),
    kind!("namedotcom", ["username", "apiToken"], |f| {
        DnsUpdater::new_namedotcom(f.get("username"), f.get("apiToken"), f.timeout)
    }),
    kind!("namesilo", ["apiKey"], |f| DnsUpdater::new_namesilo(f.get("apiKey"), f.timeout)),
    kind!("netcup", ["customerNumber", "apiKey", "apiPassword"], |f| {
        DnsUpdater::new_netcup(f.get("customerNumber"), f.get("apiKey"), f.get("apiPassword"), f.timeout)
    }),
    kind!("netlify", ["accessToken"], |f| DnsUpdater::new_netlify(f.get("accessToken"), f.timeout)),
    kind!("nifcloud", ["accessKey", "secretKey"], |f| {
        DnsUpdater::new_nifcloud(f.get("accessKey"), f.get("secretKey"), f.timeout)
    }),
    kind!("ns1", ["apiKey"], |f| DnsUpdater::new_ns1(f.get("apiKey"), f.timeout)),
    kind!(
        "oraclecloud",
        [
            "tenancyOcid",
            "userOcid",
            "fingerprint",
            "privateKeyPem",
            "region",
            "compartmentOcid",
            "?privateKeyPassword"
        ],
        |f| DnsUpdater::new_oraclecloud(OracleCloudConfig {
            tenancy_ocid: f.own("tenancyOcid"),
            user_ocid: f.own("userOcid"),
            fingerprint: f.own("fingerprint"),
            private_key_pem: f.own("privateKeyPem"),
            private_key_password: f.maybe_own("privateKeyPassword"),
            region: f.own("region"),
            compartment_ocid: f.own("compartmentOcid"),
            request_timeout: f.timeout,
        })
    ),
    kind!("ovh", ["applicationKey", "applicationSecret", "consumerKey", "endpoint"], |f| {
        let endpoint: OvhEndpoint = f.get("endpoint").parse()?;
        let (key, secret) = (f.get("applicationKey"), f.get("applicationSecret"));
        DnsUpdater::new_ovh(key, secret, f.get("consumerKey"), endpoint, f.timeout)
    }),
    kind!("pdns", ["apiKey", "?endpoint", "?serverName"], |f| {
        DnsUpdater::new_pdns(f.get("apiKey"), f.maybe("endpoint"), f.maybe("serverName"), f.timeout)
    }),
    kind!("plesk", ["baseUrl", "apiKey"], |f| {
        DnsUpdater::new_plesk(f.get("baseUrl"), f.get("apiKey"), f.timeout)
    }),
    kind!("porkbun", ["apiKey", "secretApiKey"], |f| {
        DnsUpdater::new_porkbun(f.get("apiKey"), f.get("secretApiKey"), f.timeout)
    }),
    kind!("safedns", ["authToken"], |f| DnsUpdater::new_safedns(f.get("authToken"), f.timeout)),
    kind!("scaleway", ["apiToken"], |f| DnsUpdater::new_scaleway(f.get("apiToken"), f.timeout)),
    kind!("selectel", ["username", "password", "accountId", "projectId"], |f| {
        let (account, project) = (f.get("accountId"), f.get("projectId"));
        DnsUpdater::new_selectel(f.get("username"), f.get("password"), account, project, f.timeout)
    }),
    kind!("simplycom", ["accountName", "apiKey"], |f| {
        DnsUpdater::new_simplycom(f.get("accountName"), f.get("apiKey"), f.timeout)
    }),
    kind!("spaceship", ["apiKey", "apiSecret"], |f| {
        DnsUpdater::new_spaceship(f.get("apiKey"), f.get("apiSecret"), f.timeout)
    }),
    kind!("tencentcloud", ["secretId", "secretKey", "?region", "?sessionToken"], |f| {
        let (region, token) = (f.maybe("region"), f.maybe("sessionToken"));
        DnsUpdater::new_tencentcloud(f.get("secretId"), f.get("secretKey"), region, token, f.timeout)
    }),
    kind!("transip", ["login", "privateKeyPem", "?globalKey"], |f| {
        DnsUpdater::new_transip(f.get("login"), f.get("privateKeyPem"), f.flag("globalKey"), f.timeout)
    }),
    kind!("ultradns", ["username", "password", "?endpoint"], |f| {
        DnsUpdater::new_ultradns(f.get("username"), f.get("password"), f.maybe_own("endpoint"), f.timeout)
    }),
    kind!("vercel", ["authToken", "?teamId"], |f| {
        DnsUpdater::new_vercel(f.get("authToken"), f.maybe("teamId"), f.timeout)
    }),
    kind!("volcengine", ["accessKey", "secretKey", "?region", "?host", "?scheme"], |f| {
        DnsUpdater::new_volcengine(VolcengineConfig {
            access_key: f.own("accessKey"),
            secret_key: f.own("secretKey"),
            region: f.maybe_own("region"),
            host: f.maybe_own("host"),
            scheme: f.maybe_own("scheme"),
            request_timeout: f.timeout,
        })
    }),
    kind!("vultr", ["apiKey"], |f| DnsUpdater::new_vultr(f.get("apiKey"), f.timeout)),
    kind!("websupport", ["apiKey", "secret"], |f| {
        DnsUpdater::new_websupport(f.get("apiKey"), f.get("secret"), f.timeout)
    }),
    kind!("yandexcloud", ["iamTokenB64", "folderId"], |f| {
        DnsUpdater::new_yandexcloud(YandexCloudConfig {
            iam_token_b64: f.own("iamTokenB64"),
            folder_id: f.own("folderId"),
            request_timeout: f.timeout,
        })
    }),
    kind!("zoneeu", ["username", "apiKey"], |f| {
        DnsUpdater::new_zoneeu(f.get("username"), f.get("apiKey"), f.timeout)
    }),
];
