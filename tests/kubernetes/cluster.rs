//! A Kubernetes API server with its etcd and, where it was built, the controller manager; no nodes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, ResourceExt as _};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_RSA_SHA256};
use serde_json::json;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::process::{Process, free_port, installed, tool, wait_until};
use crate::scratch::Scratch;

const TOKEN: &str = "administrator-of-the-tests";
const START: Duration = Duration::from_secs(120);

/// A running API server.
pub struct Cluster {
    url: String,
    // In the order in which they are stopped.
    controllers: Option<Process>,
    _api_server: Process,
    _etcd: Process,
    dir: Scratch,
}

/// An API server for one test, without objects of tests before. The next test has it when it is dropped.
pub struct Lease {
    cluster: Option<Cluster>,
    _place: Option<SemaphorePermit<'static>>,
}

/// How many tests may have an API server at a time. Operators watch all namespaces, so tests cannot share one; but they mostly wait.
static PLACES: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(thread::available_parallelism().map_or(1, usize::from).min(4)));
/// API servers that no test has now.
static IDLE: Mutex<Vec<Cluster>> = Mutex::new(Vec::new());

impl std::ops::Deref for Lease {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        self.cluster.as_ref().unwrap()
    }
}

impl Lease {
    async fn new(place: Option<SemaphorePermit<'static>>) -> Self {
        let idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let cluster = match idle {
            Some(cluster) => cluster,
            None => {
                let new = Cluster::start();
                new.install_definitions().await;
                new
            }
        };
        cluster.remove_objects().await;
        Self { cluster: Some(cluster), _place: place }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(cluster) = self.cluster.take() {
            cluster.dir.keep_logs_of_failure();
            IDLE.lock().unwrap_or_else(PoisonError::into_inner).push(cluster);
        }
    }
}

impl Cluster {
    /// One of the API servers that the tests of this process share, one after the other, with our definitions installed; `None`, and the test
    /// reported as skipped, where there are no programs for it.
    pub async fn lease() -> Option<Lease> {
        if !installed(&["etcd", "kube-apiserver", "kubectl"]) {
            return None;
        }
        let place = PLACES.acquire().await.unwrap();
        Some(Lease::new(Some(place)).await)
    }

    /// Another API server for a test that has one.
    pub async fn another() -> Lease {
        Lease::new(None).await
    }

    fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let dir = Scratch::new("cluster");
        let at = |name: &str| dir.path().join(name).display().to_string();
        write_certificates(dir.path());
        let (client, peer, secure) = (free_port(), free_port(), free_port());
        let etcd = Process::start("etcd", dir.path(), &tool("etcd").unwrap(), |command| {
            command.args([
                format!("--data-dir={}", at("etcd")),
                format!("--listen-client-urls=http://127.0.0.1:{client}"),
                format!("--advertise-client-urls=http://127.0.0.1:{client}"),
                format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
                "--unsafe-no-fsync".to_owned(),
                "--log-level=warn".to_owned(),
            ]);
        });
        fs::write(dir.path().join("tokens.csv"), format!("{TOKEN},admin,admin,system:masters\n")).unwrap();
        let api_server =
            Process::start("kube-apiserver", dir.path(), &tool("kube-apiserver").unwrap(), |command| {
                command.args([
                    format!("--etcd-servers=http://127.0.0.1:{client}"),
                    "--bind-address=127.0.0.1".to_owned(),
                    "--advertise-address=127.0.0.1".to_owned(),
                    format!("--secure-port={secure}"),
                    format!("--tls-cert-file={}", at("server.pem")),
                    format!("--tls-private-key-file={}", at("server.key")),
                    format!("--token-auth-file={}", at("tokens.csv")),
                    "--authorization-mode=RBAC".to_owned(),
                    "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
                    "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
                    format!("--service-account-key-file={}", at("accounts.key")),
                    format!("--service-account-signing-key-file={}", at("accounts.key")),
                    "--profiling=false".to_owned(),
                ]);
            });
        let url = format!("https://127.0.0.1:{secure}");
        let mut cluster = Self { url, controllers: None, _api_server: api_server, _etcd: etcd, dir };
        fs::write(cluster.kubeconfig(), cluster.kubeconfig_for(TOKEN)).unwrap();
        wait_until("the API server", START, || cluster.kubectl(&["get", "--raw", "/readyz"]).is_ok());
        cluster.controllers = tool("kube-controller-manager").map(|program| {
            let (kubeconfig, key) = (cluster.kubeconfig(), cluster.dir.path().join("accounts.key"));
            Process::start("kube-controller-manager", cluster.dir.path(), &program, |command| {
                command.args([
                    format!("--kubeconfig={}", kubeconfig.display()),
                    format!("--service-account-private-key-file={}", key.display()),
                    "--leader-elect=false".to_owned(),
                    "--bind-address=127.0.0.1".to_owned(),
                    format!("--secure-port={}", free_port()),
                    format!("--cert-dir={}", cluster.dir.path().join("controllers").display()),
                    "--controllers=deployment-controller,replicaset-controller,garbage-collector-controller,namespace-controller,\
                     disruption-controller,serviceaccount-controller,endpointslice-controller"
                        .to_owned(),
                ]);
            })
        });
        cluster
    }

    /// Whether Deployments become pods, and owned objects go with their owners.
    pub fn has_controllers(&self) -> bool {
        self.controllers.is_some()
    }

    /// The kubeconfig of an administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("kubeconfig")
    }

    /// A kubeconfig for who has a token, such as one of `kubectl create token`.
    pub fn kubeconfig_for(&self, token: &str) -> String {
        let ca = self.dir.path().join("ca.pem");
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.url, "certificate-authority": ca}}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        });
        serde_yaml::to_string(&config).unwrap()
    }

    /// A client of an administrator, for the running test's runtime.
    pub async fn client(&self) -> Client {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig()).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        Client::try_from(config).unwrap()
    }

    /// Makes a namespace with a new name that begins like this.
    pub async fn namespace(&self, prefix: &str) -> String {
        let name = format!("{prefix}-{:06x}", rand::random::<u32>() & 0xff_ffff);
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        Api::<Namespace>::all(self.client().await).create(&PostParams::default(), &namespace).await.unwrap();
        name
    }

    /// Makes a Secret.
    pub async fn secret(&self, namespace: &str, name: &str, data: &[(&str, &str)]) {
        let data: BTreeMap<_, _> = data.iter().copied().collect();
        let secret: Secret = serde_json::from_value(
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}),
        )
        .unwrap();
        let secrets: Api<Secret> = Api::namespaced(self.client().await, namespace);
        secrets.patch(name, &PatchParams::apply("tests").force(), &Patch::Apply(&secret)).await.unwrap();
    }

    /// Runs kubectl as an administrator: what it printed, or what it complained of.
    ///
    /// # Errors
    /// Its standard error, if it fails.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new(tool("kubectl").unwrap())
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .args(arguments)
            .env("HOME", self.dir.path())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Applies objects in YAML with kubectl.
    ///
    /// # Errors
    /// As [`Self::kubectl`].
    pub fn apply(&self, yaml: &str) -> Result<String, String> {
        let file = tempfile::NamedTempFile::new_in(self.dir.path()).unwrap();
        fs::write(file.path(), yaml).unwrap();
        self.kubectl(&["apply", "--server-side", "-f", &file.path().display().to_string()])
    }

    async fn install_definitions(&self) {
        let definitions: Api<CustomResourceDefinition> = Api::all(self.client().await);
        let how = PatchParams::apply("tests").force();
        for crd in ekitei_operator_api::crds() {
            definitions.patch(&crd.name_any(), &how, &Patch::Apply(&crd)).await.unwrap();
        }
        for crd in ekitei_operator_api::crds() {
            let name = format!("crd/{}", crd.name_any());
            self.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", &name]).unwrap();
        }
    }

    /// Removes what tests before have left of our kinds.
    async fn remove_objects(&self) {
        let client = self.client().await;
        for crd in ekitei_operator_api::crds() {
            let version = &crd.spec.versions[0].name;
            let resource = ApiResource {
                group: crd.spec.group.clone(),
                version: version.clone(),
                api_version: format!("{}/{version}", crd.spec.group),
                kind: crd.spec.names.kind.clone(),
                plural: crd.spec.names.plural.clone(),
            };
            let all: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
            for object in all.list(&ListParams::default()).await.unwrap() {
                let (name, namespace) = (object.name_any(), object.namespace().unwrap());
                let here: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource);
                let _ = here.delete(&name, &kube::api::DeleteParams::default()).await;
                let freed = json!({"metadata": {"finalizers": null}});
                let _ = here.patch(&name, &PatchParams::default(), &Patch::Merge(&freed)).await;
            }
        }
    }
}

/// An authority, a certificate of the API server, and the key of service accounts.
fn write_certificates(dir: &Path) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    let server = server.signed_by(&key, &authority).unwrap();
    let accounts = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
    fs::write(dir.join("ca.pem"), authority.pem()).unwrap();
    fs::write(dir.join("server.pem"), server.pem()).unwrap();
    fs::write(dir.join("server.key"), key.serialize_pem()).unwrap();
    fs::write(dir.join("accounts.key"), accounts.serialize_pem()).unwrap();
}
