"""What the chart renders, against the schemas that the API server publishes, by kubeconform; and that regions and alerts are told what the values say."""

import json
import pathlib
import subprocess
import tempfile
import unittest

import yaml

import chart
from apiserver import ApiServer
from test_chart import CLUSTER, FILES

RUNBOOKS = "https://github.com/ekitei/ekitei/blob/main/docs/runbooks/"


def strict(schema):
    """A schema that takes no fields but those it names, as a JSON schema: OpenAPI writes what may be null in words of its own."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items() if not (key == "nullable" and isinstance(value, bool))}
    if isinstance(made.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    if schema.get("nullable") is True and isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
    return made


class Schemas(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = ApiServer()
        cls.addClassCleanup(cls.server.close)
        cls.rendered = {name: chart.render(path) for name, path in FILES.items()}
        definitions = [each for each in cls.rendered["values.yaml"] if each["kind"] == "CustomResourceDefinition"]
        cls.server.kubectl("apply", "--server-side", "-f", "-", text=yaml.safe_dump_all(definitions))
        cls.server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        cls.directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.directory.cleanup)
        cls.written = set()

    def write(self, group_version):
        """Writes the schemas of a group and version, each with all that it refers to. Those of others, which this server does not know, are not there."""
        if group_version in self.written:
            return
        self.written.add(group_version)
        path = f"apis/{group_version}" if "/" in group_version else f"api/{group_version}"
        paths = json.loads(self.server.kubectl("get", "--raw", "/openapi/v3"))["paths"]
        if path not in paths:
            return
        components = json.loads(self.server.kubectl("get", "--raw", paths[path]["serverRelativeURL"]))["components"]
        schemas = strict(components["schemas"])
        for name, schema in schemas.items():
            for kind in schema.get("x-kubernetes-group-version-kind", []):
                suffix = "-".join(part for part in (kind["group"].split(".")[0], kind["version"]) if part)
                file = pathlib.Path(self.directory.name, f"{kind['kind'].lower()}-{suffix}.json")
                file.write_text(json.dumps({"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}))

    def conform(self, objects):
        """What kubeconform finds: `{status: [object and message]}`."""
        for each in objects:
            self.write(each["apiVersion"])
        location = f"{self.directory.name}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
        done = subprocess.run(
            [chart.tool("kubeconform"), "-strict", "-verbose", "-ignore-missing-schemas", "-output", "json", "-schema-location", location],
            input=yaml.safe_dump_all(objects), capture_output=True, text=True, timeout=120,
        )
        found = {}
        for each in json.loads(done.stdout)["resources"]:
            found.setdefault(each["status"], []).append(f"{each['kind']} {each['name']}: {each.get('msg', '')}")
        return found

    def test_every_object_conforms(self):
        files = {path.name: list(yaml.safe_load_all(path.read_text())) for path in (chart.ROOT / "deploy" / "regions").glob("*.yaml")}
        regions = {name: objects for name, objects in files.items() if all("kind" in each for each in objects)}
        for name, objects in {**self.rendered, **regions}.items():
            with self.subTest(name):
                found = self.conform(objects)
                skipped = [each for each in found.pop("statusSkipped", [])]
                # Objects of other projects, whose definitions are not here.
                self.assertLessEqual({each.split()[0] for each in skipped}, {"ServiceMonitor", "PrometheusRule", "Certificate", "FoundationDBCluster"})
                self.assertEqual(set(found), {"statusValid"}, found)
                self.assertEqual(len(found["statusValid"]) + len(skipped), len(objects))

    def test_what_does_not_conform_is_found(self):
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": 25}]}}
        self.assertEqual(set(self.conform([service])), {"statusValid"})
        for wrong in {"ports": [{"port": "25"}]}, {"ports": [{"port": 25, "prot": "TCP"}]}:
            self.assertEqual(set(self.conform([{**service, "spec": wrong}])), {"statusInvalid"}, wrong)


class Values(unittest.TestCase):
    def test_pods_of_regions_are_as_open_as_those_of_the_chart(self):
        for values in {}, {"proxyProtocol": {"enabled": True, "trustedNetworks": ["10.0.0.0/16"]}}:
            objects = chart.render(**CLUSTER, **values)
            of_regions = yaml.safe_load(chart.find(objects, "ConfigMap", "ekitei-region")["data"]["networkpolicy.yaml"])["spec"]
            here = chart.find(objects, "NetworkPolicy", "ekitei")["spec"]
            self.assertEqual(of_regions, {"policyTypes": here["policyTypes"], "ingress": here["ingress"]})
        closed = chart.render(**CLUSTER, networkPolicy={"enabled": False})
        self.assertNotIn("networkpolicy.yaml", chart.find(closed, "ConfigMap", "ekitei-region")["data"])

    def test_the_operator_may_make_in_another_cluster_what_it_makes_in_its_own(self):
        def rights(role):
            return {resource: set(rule["verbs"]) for rule in role["rules"] for resource in rule["resources"]}

        here = rights(chart.find(chart.render(), "Role", "ekitei-operator"))
        file = chart.ROOT / "deploy" / "regions" / "us-cluster.yaml"
        there = rights(chart.find(list(yaml.safe_load_all(file.read_text())), "Role", "ekitei-operator"))
        for resource in set(here) - {"leases", "endpointslices"}:
            self.assertEqual(there.get(resource), {"get", "create", "patch", "delete"}, resource)
            self.assertLessEqual(there[resource], here[resource])

    def test_alerts_lead_to_runbooks_where_they_are(self):
        def urls(**rule):
            objects = chart.render(metrics={"prometheusRule": {"enabled": True, **rule}})
            groups = chart.find(objects, "PrometheusRule", "ekitei")["spec"]["groups"]
            return [each["annotations"]["runbook_url"] for group in groups for each in group["rules"] if "alert" in each]

        files = {f"{path.stem}.md" for path in (chart.ROOT / "docs" / "runbooks").glob("*.md")}
        for base, made in (RUNBOOKS, urls()), ("https://wiki.example.com/mail/", urls(runbookUrl="https://wiki.example.com/mail")):
            for url in made:
                self.assertTrue(url.startswith(base), url)
                self.assertIn(url.removeprefix(base), files)


if __name__ == "__main__":
    chart.scratch()
    unittest.main(verbosity=2)
