"""The chart against a real API server: every object is taken, upgrades keep what was generated, and uninstalling keeps what must stay."""

import base64
import json
import re
import unittest

import yaml

import chart
from apiserver import ApiServer, Failed
from test_chart import FILES

# Definitions of others' objects that the chart can make, as little of them as an API server needs to take any object.
OTHERS = {
    "servicemonitors": ("monitoring.coreos.com", "v1", "ServiceMonitor"),
    "prometheusrules": ("monitoring.coreos.com", "v1", "PrometheusRule"),
    "certificates": ("cert-manager.io", "v1", "Certificate"),
    "foundationdbclusters": ("apps.foundationdb.org", "v1beta2", "FoundationDBCluster"),
}


def definition(plural, group, version, kind):
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group, "scope": "Namespaced", "names": {"plural": plural, "kind": kind},
            "versions": [{"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": anything}}],
        },
    }


class AgainstAnApiServer(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = ApiServer()
        cls.addClassCleanup(cls.server.close)
        others = [definition(plural, *names) for plural, names in OTHERS.items()]
        cls.server.kubectl("apply", "-f", "-", text=yaml.safe_dump_all(others))
        for namespace in ("mail", "other", "one", "two", "mail-customers"):
            # Refused, and not only warned of: whatever does not keep to the restricted standard.
            labels = {"pod-security.kubernetes.io/enforce": "restricted"}
            made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}
            cls.server.kubectl("apply", "-f", "-", text=yaml.safe_dump(made))
        cls.server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")

    def test_every_object_of_every_values_file_is_taken(self):
        for name, path in FILES.items():
            with self.subTest(name):
                objects = chart.render(path)
                # Pods that templates make are not seen by the admission of the templates: they are shown to it as pods.
                for each, template in list(chart.pod_templates(objects)):
                    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "mail", "name": f"as-pod-{each}"}, "spec": template["spec"]}
                    pod["spec"] = self.with_claims(pod["spec"])
                    objects.append(pod)
                self.dry_run(objects)

    @staticmethod
    def with_claims(spec):
        """A pod of a StatefulSet as its controller makes it."""
        volumes = {volume["name"] for volume in spec.get("volumes", [])}
        mounted = {mount["name"] for mount in spec["containers"][0]["volumeMounts"]}
        claims = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in mounted - volumes]
        return {**spec, "volumes": spec.get("volumes", []) + claims}

    def dry_run(self, objects):
        try:
            said = self.server.kubectl(
                "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-", text=yaml.safe_dump_all(objects)
            )
        except Failed as error:
            self.fail(str(error))
        self.assertEqual(said.count("serverside-applied"), len(objects))

    def test_objects_of_the_regions_are_valid(self):
        definitions = [each for each in chart.render() if each["kind"] == "CustomResourceDefinition"]
        if not definitions:
            self.skipTest("the chart has no definitions yet")
        text = yaml.safe_dump_all(definitions)
        self.server.kubectl("apply", "--server-side", "-f", "-", text=text)
        # Helm takes over nothing that it has not made.
        self.addCleanup(self.server.kubectl, "delete", "-f", "-", text=text)
        self.server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        for path in sorted((chart.ROOT / "deploy" / "regions").glob("*.yaml")):
            objects = list(yaml.safe_load_all(path.read_text()))
            if all("kind" in each for each in objects):
                with self.subTest(path.name):
                    self.dry_run(objects)

    def test_what_was_generated_survives_upgrades_and_what_must_stay_survives_uninstalling(self):
        helm = ["--namespace", "other"]
        self.server.run("helm", "install", "post", chart.CHART, *helm)
        secrets = self.secrets()
        self.assertEqual(set(secrets), {"post-ekitei-admin", "post-ekitei-self-signed"})
        self.assertGreaterEqual(len(base64.b64decode(secrets["post-ekitei-admin"]["token"])), 32)
        self.server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        notes = self.server.run("helm", "get", "notes", "post", *helm)
        (objects,) = re.findall(r"^kubectl apply -f - <<EOF\n(.*?)^EOF$", notes, re.DOTALL | re.MULTILINE)
        self.dry_run(list(yaml.safe_load_all(objects)))

        self.server.run("helm", "upgrade", "post", chart.CHART, *helm, "--set", "log.level=debug")

        self.assertEqual(self.secrets(), secrets)
        config = json.loads(self.server.kubectl("get", "configmap", "post-ekitei-all", *helm, "-o", "json"))
        self.assertIn("level: debug", config["data"]["ekitei.yaml"])
        before = self.definitions()

        self.server.run("helm", "uninstall", "post", *helm)

        self.assertEqual(self.definitions(), before)
        self.assertEqual(self.secrets(), {})

    def test_autoscaling_keeps_the_pods_that_there_are(self):
        helm = [
            chart.CHART, "--namespace", "other", "--set", "store.kind=foundationdb,store.foundationdb.clusterFile.existingSecret=fdb",
            "--set", "bodies.kind=s3,bodies.s3.bucket=mail,signing.existingSecret=signing,crds.enabled=false",
        ]
        self.addCleanup(self.server.run, "helm", "uninstall", "scaled", "--namespace", "other")
        self.server.run("helm", "install", "scaled", *helm, "--set", "pods.replicas=5")
        scaled = [*helm, "--set", "pods.replicas=5,pods.autoscaling.enabled=true"]
        self.server.run("helm", "upgrade", "scaled", *scaled)
        self.assertEqual(self.replicas("scaled-ekitei-all"), 5)

        # As an autoscaler does.
        self.server.kubectl("scale", "deployment/scaled-ekitei-all", "--namespace", "other", "--replicas=8")
        self.server.run("helm", "upgrade", "scaled", *scaled, "--set", "log.level=debug")

        self.assertEqual(self.replicas("scaled-ekitei-all"), 8)

    def replicas(self, deployment):
        return json.loads(self.server.kubectl("get", "deployment", deployment, "--namespace", "other", "-o", "json"))["spec"]["replicas"]

    def definitions(self):
        return self.server.kubectl("get", "crd", "-o", "name")

    def secrets(self):
        found = json.loads(self.server.kubectl("get", "secrets", "--namespace", "other", "-o", "json"))["items"]
        return {each["metadata"]["name"]: each["data"] for each in found if each["type"] != "helm.sh/release.v1"}

    def test_the_operator_may_do_what_it_does_and_no_more(self):
        self.server.run("helm", "install", "rights", chart.CHART, "--namespace", "mail", "--set", "operator.secretNamespaces={one}", "--set", "crds.enabled=false")
        self.addCleanup(self.server.run, "helm", "uninstall", "rights", "--namespace", "mail")
        for may, verb, what, namespace in [
            ("yes", "list", "maildomains.ekitei.dev", "two"),
            ("yes", "patch", "mailregions.ekitei.dev/status", "mail"),
            ("yes", "get", "secrets", "one"),
            ("yes", "create", "secrets", "mail"),
            ("no", "get", "secrets", "two"),
            ("yes", "patch", "deployments.apps", "mail"),
            ("no", "patch", "deployments.apps", "two"),
            ("no", "create", "pods", "mail"),
            ("no", "create", "pods/exec", "mail"),
            ("yes", "update", "leases.coordination.k8s.io", "mail"),
            ("yes", "create", "events.events.k8s.io", "two"),
            ("no", "update", "maildomains.ekitei.dev", "two"),
            ("no", "update", "deployments.apps", "mail"),
            ("no", "list", "networkpolicies.networking.k8s.io", "mail"),
            ("no", "list", "customresourcedefinitions.apiextensions.k8s.io", ""),
            ("no", "delete", "certificates.cert-manager.io", "two"),
            ("no", "delete", "namespaces", ""),
            ("no", "create", "clusterroles.rbac.authorization.k8s.io", ""),
            ("no", "delete", "maildomains.ekitei.dev", "two"),
        ]:
            with self.subTest(f"{verb} {what} in {namespace}"):
                self.assertEqual(self.may("rights-ekitei-operator", verb, what, namespace), may)
        self.assertEqual(self.may("rights-ekitei", "get", "secrets", "mail"), "no")

    def may(self, account, verb, what, namespace):
        resource, _, subresource = what.partition("/")
        name, _, group = resource.partition(".")
        asked = {"verb": verb, "resource": name, "group": group, "subresource": subresource, "namespace": namespace}
        review = {
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {"user": f"system:serviceaccount:mail:{account}", "resourceAttributes": asked},
        }
        said = json.loads(self.server.kubectl("create", "-f", "-", "-o", "json", text=json.dumps(review)))
        return "yes" if said["status"]["allowed"] else "no"


if __name__ == "__main__":
    chart.scratch()
    unittest.main(verbosity=2)
