"""What the chart renders: that it is refused when values are wrong, and that what it is made of fits together when they are not."""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

import yaml

import chart

FILES = {
    "values.yaml": chart.CHART / "values.yaml",
    "values-production.yaml": chart.CHART / "values-production.yaml",
    "regions": chart.ROOT / "deploy" / "regions" / "values.yaml",
    **{path.name: path for path in sorted((chart.CHART / "ci").glob("*.yaml"))},
}
CLUSTER = {
    "store": {"kind": "foundationdb", "foundationdb": {"clusterFile": {"existingSecret": "fdb"}}},
    "bodies": {"kind": "s3", "s3": {"bucket": "mail"}},
    "signing": {"existingSecret": "signing"},
}

# Values, and what the message has to say.
REFUSED = [
    ({"hostnames": "mx.example.com"}, "hostnames"),
    ({"hostname": "mx example"}, "hostname"),
    ({"store": {"kind": "fdb"}}, "store/kind|store.kind"),
    ({"pods": {"replica": 3}}, "replica"),
    ({"roles": {"mail": {}}}, "mail"),
    ({"roles": {"all": {"protocols": ["sieve"]}}}, "protocols"),
    ({"pods": {"service": {"nodePorts": {"http": 30080}}}}, "nodePorts|http"),
    ({"shutdown": {"graceSeconds": "1m"}}, "graceSeconds"),
    ({"image": {"digest": "latest"}}, "digest"),
    ({"bodies": {"s3": {"endpoint": "s3.example.net"}}}, "endpoint"),
    ({"topology": "roles"}, "needs store.kind"),
    ({"pods": {"replicas": 2}}, "an embedded store serves one pod"),
    ({"pods": {"autoscaling": {"enabled": True}}}, "an embedded store serves one pod"),
    ({**CLUSTER, "bodies": {"kind": "directory"}}, "needs bodies.kind"),
    ({**CLUSTER, "bodies": {"kind": "s3"}}, "bodies.s3.bucket"),
    ({**CLUSTER, "store": {"kind": "foundationdb"}}, "no cluster is named"),
    ({**CLUSTER, "signing": {}}, "kubectl -n mail create secret generic ekitei-signing"),
    ({"encryption": {"enabled": True}}, "kubectl -n mail create secret generic ekitei-encryption"),
    ({"proxyProtocol": {"enabled": True}}, "proxyProtocol.trustedNetworks: the addresses of the load balancers are missing"),
    ({"proxyProtocol": {"enabled": True, "trustedNetworks": ["0.0.0.0/0"]}}, "would believe everyone"),
    ({"proxyProtocol": {"enabled": True, "trustedNetworks": ["::/0"]}}, "would believe everyone"),
    ({"proxyProtocol": {"enabled": True, "trustedNetworks": ["balancers"]}}, "trustedNetworks"),
    ({"tls": {"certManager": {"enabled": True}}}, "tls.certManager.issuerRef"),
    ({"tls": {"certManager": {"enabled": True, "issuerRef": {"name": "a"}}}}, "public name"),
    ({**CLUSTER, "pods": {"autoscaling": {"enabled": True, "cpu": 0}}}, "nothing to scale by"),
    ({**CLUSTER, "pods": {"autoscaling": {"enabled": True, "minReplicas": 20}}}, "minReplicas is more"),
    ({**CLUSTER, "topology": "roles", "roles": {"worker": {"replicas": 0}}}, "without workers"),
    ({"operator": {"serviceAccount": {"create": False}}}, "operator.serviceAccount.name: name the account"),
    ({"pods": {"podDisruptionBudget": {"maxUnavailable": 0}}}, "maxUnavailable"),
    ({"pods": {"podDisruptionBudget": {"maxUnavailable": "0%"}}}, "maxUnavailable"),
    ({"regions": {"replicas": 3}}, "each MailRegion says by spec.replicas"),
    ({"regions": {"autoscaling": {"enabled": True}}}, "which autoscalers may set"),
    ({"operator": {"resync": "1d"}}, "resync"),
    ({"operator": {"acme": {"externalAccount": {"keyId": "id"}}}}, "name the Secret with the HMAC key"),
    ({"operator": {"resync": "500ms"}}, "resync"),
    ({"operator": {"dnssec": {"resolvers": ["ns1.example.net"]}}}, "resolvers"),
    ({"secretMounts": [{"name": "admin"}]}, "the chart has something else at /etc/ekitei-secrets/admin"),
    ({"secretMounts": [{"name": "tls-0"}]}, "the chart has something else"),
    ({"secretMounts": [{"name": "a"}, {"name": "a"}]}, "a is there twice"),
    ({"fullnameOverride": "1mail"}, "fullnameOverride"),
    ({"nameOverride": "mail", "release": "1"}, "cannot begin with a digit"),
]


def rendered():
    return {name: chart.render(path) for name, path in FILES.items()}


class Values(unittest.TestCase):
    def test_lint_finds_nothing(self):
        for name, path in FILES.items():
            with self.subTest(name):
                self.assertIn("0 chart(s) failed", chart.helm("lint", "--strict", str(chart.CHART), "--values", str(path)))

    def test_wrong_values_are_refused_with_what_to_do(self):
        for values, message in REFUSED:
            with self.subTest(values):
                with self.assertRaises(chart.Refused) as refused:
                    chart.render(**values)
                self.assertRegex(str(refused.exception), message)

    def test_the_schema_knows_each_value_and_no_other(self):
        schema = json.loads((chart.CHART / "values.schema.json").read_text())

        def compare(path, schema, values):
            if "$ref" in schema:
                schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
            if "properties" not in schema or not isinstance(values, dict) or path.endswith("issuerRef"):
                return
            known = set(schema["properties"]) - {"global", "claims"}
            # What holds for the pods of all roles is written once.
            if path.startswith(("roles.", "regions")) or path == "pods":
                known &= set(values)
            self.assertEqual(known, set(values), path)
            for key, value in values.items():
                if path != "regions":
                    compare(f"{path}.{key}" if path else key, schema["properties"][key], value)

        root = schema
        compare("", schema, yaml.safe_load((chart.CHART / "values.yaml").read_text()))

    def test_every_value_is_described(self):
        text = (chart.CHART / "values.yaml").read_text().splitlines()
        for before, line in zip(text, text[1:]):
            # A key with a value: those that begin a section have theirs below them.
            if re.match(r" *\w+: +\S", line) and not re.match(r" {6,}(requests|limits|matchLabels)", line):
                if not re.match(r" +(requests|limits|matchLabels):", line):
                    self.assertRegex(before, r"# -- .*[.:]", line)

    def test_a_role_may_turn_off_what_holds_for_all(self):
        objects = chart.render(
            **CLUSTER, topology="roles", pods={"replicas": 2},
            roles={"imap": {"podDisruptionBudget": {"enabled": False}, "replicas": 0}},
        )
        budgets = {each["metadata"]["name"] for each in objects if each["kind"] == "PodDisruptionBudget"}
        self.assertEqual(budgets, {"ekitei-mx", "ekitei-submission", "ekitei-worker"})
        self.assertEqual(chart.find(objects, "Deployment", "ekitei-imap")["spec"]["replicas"], 0)

    def test_a_role_without_pods_has_no_load_balancer_and_is_not_tried(self):
        objects = chart.render(
            **CLUSTER, topology="roles", pods={"service": {"type": "LoadBalancer"}}, roles={"mx": {"replicas": 0}}
        )
        services = {each["metadata"]["name"] for each in objects if each["kind"] == "Service"}
        self.assertEqual(services & {"ekitei-mx", "ekitei-submission", "ekitei-imap"}, {"ekitei-submission", "ekitei-imap"})
        tried = chart.find(objects, "Pod", "ekitei-test")["spec"]["containers"][0]["args"]
        self.assertNotIn("--smtp", " ".join(tried))
        self.assertIn("--submissions=ekitei-submission:465", tried)

    def test_a_role_that_is_scaled_begins_with_the_fewest_pods(self):
        objects = chart.render(**CLUSTER, pods={"replicas": 7, "autoscaling": {"enabled": True, "minReplicas": 3}})
        self.assertEqual(chart.find(objects, "Deployment", "ekitei-all")["spec"]["replicas"], 3)

    def test_whoever_may_send_mail_the_test_of_the_installation_may(self):
        peer = {"ipBlock": {"cidr": "192.0.2.0/24"}}
        objects = chart.render(networkPolicy={"mailFrom": [peer]})
        policy = chart.find(objects, "NetworkPolicy", "ekitei")
        (rule,) = [each for each in policy["spec"]["ingress"] if 2525 in [port["port"] for port in each["ports"]]]
        labels = chart.find(objects, "Pod", "ekitei-test")["metadata"]["labels"].items()
        self.assertEqual(rule["from"][0], peer)
        self.assertTrue(any(each.get("podSelector", {}).get("matchLabels", {"": ""}).items() <= labels for each in rule["from"]), rule)

    def test_the_operator_is_told_whom_to_ask_and_to_trust_about_dnssec(self):
        dnssec = {"resolvers": ["192.0.2.53:53", "[2001:db8::1]:53"], "trustAnchorsConfigMap": "anchors", "trustAnchorsKey": "root.key"}
        objects = chart.render(operator={"dnssec": dnssec, "concurrency": 9})
        pod = chart.find(objects, "Deployment", "ekitei-operator")["spec"]["template"]["spec"]
        arguments = pod["containers"][0]["args"]
        for argument in "--resolvers=192.0.2.53:53,[2001:db8::1]:53", "--concurrency=9", "--dnssec-trust-anchors=/etc/ekitei-trust-anchors/root.key":
            self.assertIn(argument, arguments)
        mounts = {each["name"]: each["mountPath"] for each in pod["containers"][0]["volumeMounts"]}
        self.assertEqual(mounts["trust-anchors"], "/etc/ekitei-trust-anchors")
        self.assertIn({"name": "trust-anchors", "configMap": {"name": "anchors"}}, pod["volumes"])

    def test_prometheus_has_the_token_where_metrics_need_it(self):
        def authorizations(**values):
            objects = chart.render(metrics={"serviceMonitor": {"enabled": True}}, **values)
            monitors = [each for each in objects if each["kind"] == "ServiceMonitor"]
            return {each["metadata"]["name"]: each["spec"]["endpoints"][0].get("authorization") for each in monitors}

        self.assertEqual(authorizations(), {"ekitei": None, "ekitei-operator": None})
        protected = authorizations(config={"admin": {"protectMetrics": True}}, admin={"existingSecret": "tokens", "existingSecretKey": "admin"})
        self.assertEqual(protected, {"ekitei": {"credentials": {"name": "tokens", "key": "admin"}}, "ekitei-operator": None})

    def test_the_operator_knows_all_of_its_arguments(self):
        binary = chart.binary("ekitei-operator")
        if binary is None:
            self.skipTest("needs target/debug/ekitei-operator")
        known = set(re.findall(r"--[a-z-]+", subprocess.run([binary, "run", "--help"], capture_output=True, text=True).stdout))
        acme = {
            "directory": "https://a.example/", "contacts": ["mailto:a@example.com"], "termsOfServiceAgreed": True, "caSecret": "ca",
            "externalAccount": {"keyId": "id", "existingSecret": "account"},
        }
        dnssec = {"resolvers": ["192.0.2.53:53"], "trustAnchorsConfigMap": "anchors"}
        objects = chart.render(**CLUSTER, operator={"acme": acme, "dnssec": dnssec, "secretNamespaces": ["a"]})
        arguments = chart.find(objects, "Deployment", "ekitei-operator")["spec"]["template"]["spec"]["containers"][0]["args"]
        self.assertLessEqual({each.split("=")[0] for each in arguments} - {"run"}, known)

    def test_secrets_may_have_names_that_no_volume_can_have(self):
        objects = chart.render(secretMounts=[{"name": "backup.key"}])
        (pod,) = [pod for name, pod in chart.pod_templates(objects) if name == "ekitei-all"]
        (volume,) = [each for each in pod["spec"]["volumes"] if each.get("secret", {}).get("secretName") == "backup.key"]
        self.assertEqual(volume["name"], "mount-0")
        mounts = {each["name"]: each["mountPath"] for each in pod["spec"]["containers"][0]["volumeMounts"]}
        self.assertEqual(mounts["mount-0"], "/etc/ekitei-secrets/backup.key")

    def test_copies_and_the_readme_are_up_to_date(self):
        done = subprocess.run([sys.executable, chart.ROOT / "scripts" / "chart-files", "--check"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)


class Objects(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.all = rendered()

    def each(self):
        for name, objects in self.all.items():
            with self.subTest(name):
                yield objects

    def test_a_rendering_changes_in_nothing_but_generated_secrets(self):
        def but_secrets(objects):
            return [{**each, "data": None} if each["kind"] == "Secret" else each for each in objects]

        for name, path in FILES.items():
            with self.subTest(name):
                self.assertEqual(but_secrets(self.all[name]), but_secrets(chart.render(path)))

    def test_pods_keep_to_the_restricted_standard(self):
        for objects in self.each():
            for name, pod in chart.pod_templates(objects):
                spec = pod["spec"]
                self.assertIs(spec["securityContext"]["runAsNonRoot"], True, name)
                self.assertEqual(spec["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"}, name)
                self.assertFalse({"hostNetwork", "hostPID", "hostIPC"} & set(spec), name)
                for volume in spec.get("volumes", []):
                    self.assertNotIn("hostPath", volume, name)
                for container in spec["containers"]:
                    context = container["securityContext"]
                    self.assertIs(context["allowPrivilegeEscalation"], False, name)
                    self.assertIs(context["readOnlyRootFilesystem"], True, name)
                    self.assertEqual(context["capabilities"], {"drop": ["ALL"]}, name)
                    self.assertTrue({"requests", "limits"} <= set(container["resources"]), name)
                    for port in container.get("ports", []):
                        self.assertGreater(port["containerPort"], 1023, name)
                        self.assertLessEqual(len(port["name"]), 15, name)

    def test_only_the_operator_may_ask_the_api_server(self):
        for objects in self.each():
            for name, pod in chart.pod_templates(objects):
                if pod["metadata"].get("labels", {}).get("app.kubernetes.io/component") != "operator":
                    self.assertIs(pod["spec"]["automountServiceAccountToken"], False, name)

    def test_the_grace_of_pods_is_longer_than_that_of_the_service(self):
        for objects in self.each():
            for name, pod, config in configurations(objects):
                grace = int(config["shutdown"]["grace"].removesuffix("s"))
                pre_stop = pod["spec"]["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
                self.assertGreater(pod["spec"]["terminationGracePeriodSeconds"], grace + pre_stop, name)

    def test_what_is_mounted_is_there_and_what_the_configuration_names_is_mounted(self):
        for objects in self.each():
            made = {(each["kind"], each["metadata"]["name"]) for each in objects}
            for name, pod in chart.pod_templates(objects):
                volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
                for mount in pod["spec"]["containers"][0]["volumeMounts"]:
                    self.assertIn(mount["name"], set(volumes) | {"data"}, name)
                for volume in volumes.values():
                    if "configMap" in volume and not volume["configMap"]["name"].endswith(("fdb-config", "anchors")):
                        self.assertIn(("ConfigMap", volume["configMap"]["name"]), made, name)
            for name, pod, config in configurations(objects):
                mounted = [pathlib.PurePosixPath(mount["mountPath"]) for mount in pod["spec"]["containers"][0]["volumeMounts"]]
                for path in re.findall(r"(?:file:)?(/(?:etc|var)/[^\s'\"]+)", yaml.safe_dump(config)):
                    self.assertTrue(any(pathlib.PurePosixPath(path).is_relative_to(mount) for mount in mounted), f"{name}: {path}")

    def test_services_lead_to_ports_of_pods_that_serve_them(self):
        for objects in self.each():
            pods = [(pod["metadata"].get("labels", {}), pod) for _, pod in chart.pod_templates(objects)]
            for service in (each for each in objects if each["kind"] == "Service"):
                selected = [pod for labels, pod in pods if service["spec"]["selector"].items() <= labels.items()]
                self.assertTrue(selected, service["metadata"]["name"])
                for port in service["spec"]["ports"]:
                    for pod in selected:
                        ports = {each["name"] for each in pod["spec"]["containers"][0]["ports"]}
                        self.assertIn(port["targetPort"], ports, service["metadata"]["name"])

    def test_pods_listen_on_each_port_that_they_declare(self):
        for objects in self.each():
            for name, pod, config in configurations(objects):
                declared = {port["containerPort"] for port in pod["spec"]["containers"][0]["ports"]}
                self.assertEqual(declared, {int(each["address"].rsplit(":", 1)[1]) for each in config["listeners"]}, name)

    def test_one_load_balancer_has_all_that_mail_programs_are_told_of(self):
        for name in "values-production.yaml", "regions":
            with self.subTest(name):
                objects = self.all[name]
                services = [each["spec"] for each in objects if each["kind"] == "Service" and each["spec"]["type"] == "LoadBalancer"]
                ((_, _, config),) = [each for each in configurations(objects) if each[0] == "ekitei-imap"]
                told = {each["port"] for each in config["web"]["clientServices"]}
                self.assertTrue({465, 587, 993} <= told, told)
                serving = [each for each in services if told & {port["port"] for port in each["ports"]}]
                self.assertEqual(len(serving), 1, "the host of mail programs has the addresses of one")
                self.assertLessEqual(told | {443}, {port["port"] for port in serving[0]["ports"]})

    def test_no_pod_has_two_budgets_and_no_two_workloads_select_one_another(self):
        for objects in self.each():
            pods = list(chart.pod_templates(objects))
            for kind in ("PodDisruptionBudget", "Deployment", "StatefulSet"):
                for name, pod in pods:
                    labels = pod["metadata"].get("labels", {}).items()
                    selecting = [
                        each["metadata"]["name"]
                        for each in objects
                        if each["kind"] == kind and each["spec"]["selector"]["matchLabels"].items() <= labels
                    ]
                    self.assertLessEqual(len(selecting), 1, f"{kind} for {name}: {selecting}")

    def test_the_admin_port_is_for_the_operator_and_the_monitoring(self):
        objects = self.all["values-production.yaml"]
        (policy,) = [each for each in objects if each["kind"] == "NetworkPolicy" and each["metadata"]["name"] == "ekitei"]
        (rule,) = [each for each in policy["spec"]["ingress"] if each["ports"][0]["port"] == "http"]
        self.assertEqual(len(rule["from"]), 3)
        for other in policy["spec"]["ingress"]:
            if other is not rule:
                self.assertNotIn(8080, [port["port"] for port in other["ports"]])
        selected = policy["spec"]["podSelector"]["matchLabels"].items()
        for name, pod in chart.pod_templates(objects):
            component = pod["metadata"]["labels"]["app.kubernetes.io/component"]
            self.assertEqual(selected <= pod["metadata"]["labels"].items(), component not in ("operator", "test"), name)

    def test_the_operator_cannot_read_secrets_of_namespaces_that_are_not_listed(self):
        everywhere = chart.find(self.all["values.yaml"], "ClusterRole", "mail-ekitei-operator")
        self.assertIn("secrets", [resource for rule in everywhere["rules"] for resource in rule["resources"]])
        listed = self.all["openshift-values.yaml"]
        role = chart.find(listed, "ClusterRole", "mail-ekitei-operator")
        self.assertNotIn("secrets", [resource for rule in role["rules"] for resource in rule["resources"]])
        namespaces = {
            each["metadata"]["namespace"]
            for each in listed
            if each["kind"] == "Role" and any("secrets" in rule["resources"] for rule in each["rules"])
        }
        self.assertEqual(namespaces, {"mail", "one", "two"})
        # It is to watch no others: one watch that is refused holds up all of its controller.
        operator = chart.find(listed, "Deployment", "ekitei-operator")["spec"]["template"]["spec"]["containers"][0]
        self.assertIn("--secret-namespaces=one,two", operator["args"])

    def test_the_region_template_has_what_the_operator_needs(self):
        template = chart.find(self.all["regions"], "ConfigMap", "ekitei-region")["data"]
        self.assertEqual(set(template), {"pod.yaml", "ekitei.yaml", "service.yaml", "networkpolicy.yaml"})
        pod = yaml.safe_load(template["pod.yaml"])
        (container,) = pod["spec"]["containers"]
        self.assertEqual(container["name"], "ekitei")
        self.assertIn({"name": "config", "mountPath": "/etc/ekitei", "readOnly": True}, container["volumeMounts"])
        self.assertNotIn("nodeSelector", pod["spec"])
        service = yaml.safe_load(template["service.yaml"])
        self.assertEqual((service["spec"]["type"], service["spec"]["externalTrafficPolicy"]), ("LoadBalancer", "Local"))
        operator = chart.find(self.all["regions"], "Deployment", "ekitei-operator")
        arguments = operator["spec"]["template"]["spec"]["containers"][0]["args"]
        self.assertIn("--region-template=ekitei-region", arguments)

    def test_pods_of_regions_are_those_of_their_region_alone(self):
        for objects in self.each():
            templates = [pod for _, pod in chart.pod_templates([each for each in objects if each["kind"] == "ConfigMap"])]
            for template in templates:
                # As the operator writes them.
                labels = template["metadata"]["labels"] | {"app.kubernetes.io/component": "region", "ekitei.dev/region": "tokyo"}
                selecting = set()
                for each in objects:
                    selector = each.get("spec", {}).get("selector")
                    if each["kind"] in ("Deployment", "StatefulSet", "PodDisruptionBudget"):
                        selector = selector["matchLabels"]
                    elif each["kind"] != "Service":
                        continue
                    if selector.items() <= labels.items():
                        selecting.add((each["kind"], each["metadata"]["name"]))
                self.assertEqual(selecting, {("Service", "ekitei-admin"), ("Service", "ekitei-metrics")})
                # With a store of its own the operator takes this label away.
                del labels["ekitei.dev/admin"]
                admin = chart.find(objects, "Service", "ekitei-admin")["spec"]["selector"]
                self.assertFalse(admin.items() <= labels.items())

    def test_the_region_template_refers_to_nothing_that_is_made_in_one_cluster_only(self):
        made = {"ekitei-self-signed", "ekitei-tls"}
        for values in {}, {"hostname": "mx.example.com", "tls": {"certManager": {"enabled": True, "issuerRef": {"name": "a"}}}}:
            objects = chart.render(**CLUSTER, **values, pods={"service": {"type": "NodePort", "nodePorts": {"smtp": 30025}}})
            template = chart.find(objects, "ConfigMap", "ekitei-region")["data"]
            volumes = yaml.safe_load(template["pod.yaml"])["spec"]["volumes"]
            self.assertFalse(made & {each.get("secret", {}).get("secretName") for each in volumes})
            self.assertEqual(yaml.safe_load(template["ekitei.yaml"])["tls"]["certificates"], [])
            # A port of the nodes is for one Service, and regions are many.
            self.assertNotIn("nodePort", template["service.yaml"])

    def test_dashboards_and_alerts_are_found_by_grafana_and_prometheus(self):
        objects = self.all["values-production.yaml"]
        dashboards = [each for each in objects if each["metadata"].get("labels", {}).get("grafana_dashboard") == "1"]
        self.assertEqual(len(dashboards), len(list((chart.ROOT / "deploy" / "grafana").glob("*.json"))))
        for each in dashboards:
            ((_, text),) = each["data"].items()
            self.assertIn("panels", json.loads(text))
        rule = chart.find(objects, "PrometheusRule", "ekitei")
        alerts = yaml.safe_load((chart.ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text())
        self.assertEqual(rule["spec"], alerts)

    def test_definitions_stay_when_the_chart_goes_unless_told_otherwise(self):
        for values, keep in ({}, "keep"), ({"crds": {"keep": False}}, None):
            definitions = [each for each in chart.render(**values) if each["kind"] == "CustomResourceDefinition"]
            files = list((chart.CHART / "files" / "crds").glob("*.yaml"))
            self.assertEqual(len(definitions), len(files))
            for each in definitions:
                self.assertEqual(each["metadata"].get("annotations", {}).get("helm.sh/resource-policy"), keep)


class Configurations(unittest.TestCase):
    def test_the_service_accepts_each_configuration(self):
        binary = chart.binary("ekitei")
        if binary is None:
            self.skipTest("needs target/debug/ekitei")
        for name, objects in rendered().items():
            for part, _, config in configurations(objects):
                with self.subTest(f"{name} {part}"), tempfile.TemporaryDirectory() as directory:
                    text = yaml.safe_dump(config).replace("/etc/ekitei-secrets", directory)
                    for path in re.findall(rf"file:({re.escape(directory)}\S+)", text):
                        os.makedirs(os.path.dirname(path), exist_ok=True)
                        # As long as a key in base64 has to be.
                        pathlib.Path(path).write_text("A" * 43 + "=")
                    file = pathlib.Path(directory, "ekitei.yaml")
                    file.write_text(text)
                    done = subprocess.run([binary, "config", "check", str(file)], capture_output=True, text=True)
                    self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


def configurations(objects):
    """`(name, pod template, configuration)` of everything that runs the service."""
    for name, pod in chart.pod_templates(objects):
        for volume in pod["spec"].get("volumes", []):
            if volume["name"] == "config":
                config = chart.find(objects, "ConfigMap", volume["configMap"]["name"])["data"]["ekitei.yaml"]
                yield name, pod, yaml.safe_load(config)


if __name__ == "__main__":
    unittest.main(verbosity=2)
