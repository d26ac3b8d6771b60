#!/usr/bin/env python3
"""Writes the dashboards in this folder; `--check` says which of them are not what would be written.

    deploy/grafana/generate.py            after every change here
    deploy/grafana/generate.py --check    as the tests do
"""

import json
import pathlib
import sys

from panels import dashboard, number, quantiles, query, rate, series, stat, table

FOLDER = pathlib.Path(__file__).resolve().parent
RED = [("red", 1)]


def lines(names):
    """One query for each name of a series."""
    return [query(expression, legend) for legend, expression in names.items()]


def overview():
    return dashboard("overview", "Overview", "Whether mail flows, at a glance. Each part has a dashboard of its own.", [
        ("Now", [
            stat("Processes not ready", "Processes that are up and whose readiness probe fails.",
                 'count(ekitei_ready{$W} == 0) or 0 * count(ekitei_ready{$W})', thresholds=RED),
            stat("Received", "Messages a second that were taken, from other hosts and from users.",
                 'sum(rate(ekitei_smtp_messages_total{$W,outcome=~"accepted|partial"}[$__rate_interval]))', "mps", decimals=2),
            stat("Sent", "Recipients a second whose mail another host took.",
                 'sum(rate(ekitei_queue_recipients_total{$W,outcome="sent"}[$__rate_interval]))', "mps", decimals=2),
            stat("Queue", "Messages that wait to be sent, in the whole queue.", 'max(ekitei_queue_depth{$W,of="messages"})'),
            stat("Oldest in the queue", "How long the oldest message waits. Hours are normal for a host that is away; many hours for all are not.",
                 "max(ekitei_queue_oldest_seconds{$W})", "s", [("orange", 14_400), ("red", 86_400)]),
            stat("Certificate ends in", "The first certificate in force that ends.",
                 "min(ekitei_tls_certificate_expiry_timestamp_seconds{$W}) - time()", "s", [("red", None), ("orange", 604_800), ("green", 1_814_400)]),
        ]),
        ("Mail", [
            series("Messages received", "Messages that clients sent to their end, by what became of them.",
                   rate("ekitei_smtp_messages_total", "role, outcome"), "mps", stack=True),
            series("Recipients sent to", "Attempts to send, by recipient: sent, deferred (will be tried again), failed (the sender is told).",
                   rate("ekitei_queue_recipients_total", "outcome"), "mps", stack=True),
            series("Connections", "Open connections of clients, by listener.",
                   query("sum by (listener) (ekitei_connections_open{$W})", "{{listener}}"), stack=True),
        ]),
        ("Trouble", [
            series("Failed logins", "Logins that were refused, by protocol. A surge is somebody who guesses passwords, or a client with an old one.", [
                rate("ekitei_smtp_logins_total", where='outcome!="ok"', legend="submission"),
                rate("ekitei_imap_logins_total", where='result!="ok"', legend="IMAP"),
                rate("ekitei_pop3_logins_total", where='result!="ok"', legend="POP3"),
            ], "ops"),
            series("Refusals", "Replies of SMTP that refuse something, for good, by what is wrong.",
                   rate("ekitei_smtp_refusals_total", "reason", 'reply="permanent"'), "ops", stack=True),
            series("Commits of the metadata store", "Everything waits for these: mail is acknowledged when its commit is durable.",
                   quantiles("ekitei_kv_commit_seconds"), "s"),
        ]),
        ("Processes", [
            series("Processor", "Cores in use, by process.", query("rate(process_cpu_seconds_total{$W}[$__rate_interval])", "{{pod}}")),
            series("Memory", "Resident memory, by process.", query("process_resident_memory_bytes{$W}", "{{pod}}"), "bytes"),
            series("Time since start", "A line that falls is a restart.", query("time() - process_start_time_seconds{$W}", "{{pod}}"), "s"),
        ]),
    ])


def inbound():
    return dashboard("inbound", "Inbound", "Mail that comes in, and who is kept out.", [
        ("Messages", [
            series("From other hosts", "Messages to their end, by what became of them.",
                   rate("ekitei_smtp_messages_total", "outcome", 'role="smtp"'), "mps", stack=True),
            series("From users", "Messages of submission, by what became of them.",
                   rate("ekitei_smtp_messages_total", "outcome", 'role="submission"'), "mps", stack=True),
            series("Recipients", "Recipients that clients named, by the answer.", rate("ekitei_smtp_recipients_total", "outcome"), "mps", stack=True),
            series("Time until durable", "From the end of a message to its answer, which comes after it is stored.",
                   quantiles("ekitei_smtp_delivery_seconds"), "s"),
            series("Size", "Sizes of messages that were accepted.", quantiles("ekitei_smtp_message_bytes", of=(0.5, 0.95)), "bytes"),
            series("Octets", "Octets a second of messages that were accepted.",
                   query("sum(rate(ekitei_smtp_message_bytes_sum{$W}[$__rate_interval]))", "received"), "Bps"),
        ]),
        ("What is refused", [
            series("For good", "Refusals by what is wrong: the subject of the enhanced status code, or authentication.",
                   rate("ekitei_smtp_refusals_total", "reason", 'reply="permanent"'), "ops", stack=True),
            series("For now", "Refusals that the client may try again.", rate("ekitei_smtp_refusals_total", "reason", 'reply="temporary"'), "ops", stack=True),
            series("Verdicts of the filter", "What the filter said, by step of the dialogue.", rate("ekitei_filter_verdicts_total", "step, verdict"), "ops", stack=True),
            series("Checks", "What SPF, DKIM, DMARC and the others found.", rate("ekitei_filter_checks_total", "check, result"), "ops"),
            series("Time of checks", "95 of 100 checks took less; most of it is waiting for DNS.",
                   quantiles("ekitei_filter_check_seconds", by="check", of=(0.95,)), "s"),
            series("Lookups", "Lookups in the DNS, by result. Many that failed: the resolver is away, and mail is put off.",
                   rate("ekitei_dns_lookups_total", "result"), "ops"),
        ]),
        ("Clients", [
            series("Connections let in", "Connections a second, by listener.", rate("ekitei_connections_total", "listener"), "ops"),
            series("TLS handshakes", "Handshakes on listeners with implicit TLS, by result.", rate("ekitei_tls_handshakes_total", "result"), "ops"),
            series("Logins on submission", "Logins by outcome.", rate("ekitei_smtp_logins_total", "outcome"), "ops"),
            series("What clients did wrong", "Events that count towards a ban.", rate("ekitei_limits_events_total", "event"), "ops"),
            series("Limits", "Questions whether a client may do one thing more.", rate("ekitei_limits_decisions_total", "limit, result"), "ops"),
            series("Bans", "Bans that are known.", query("max(ekitei_bans{$W})", "bans")),
        ]),
    ])


def outbound():
    return dashboard("outbound-queue", "Outbound queue", "Mail that leaves, and mail that waits.", [
        ("The queue", [
            stat("Messages", "Messages in the whole queue.", 'max(ekitei_queue_depth{$W,of="messages"})', width=4),
            stat("Octets", "Their size.", 'max(ekitei_queue_depth{$W,of="octets"})', "bytes", width=4),
            stat("Oldest", "How long the oldest waits.", "max(ekitei_queue_oldest_seconds{$W})", "s", [("orange", 14_400), ("red", 86_400)], width=4),
            stat("Delivered", "Recipients that were sent to, of those whose fate was decided.",
                 'sum(rate(ekitei_queue_recipients_total{$W,outcome="sent"}[$__rate_interval]))'
                 ' / sum(rate(ekitei_queue_recipients_total{$W,outcome=~"sent|failed"}[$__rate_interval]))',
                 "percentunit", [("red", None), ("orange", 0.8), ("green", 0.95)], max=1, min=0, width=4),
            stat("Left alone", "Destinations that cannot be reached, and are not tried for a while.",
                 'sum(ekitei_queue_destinations{$W,state="left-alone"})', width=4),
            stat("Parts worked on", "Parts of the queue that some process has the lease of: all of them, or mail lies.",
                 "sum(ekitei_queue_shards{$W})", width=4),
            series("Depth", "Messages in the whole queue.", query('max(ekitei_queue_depth{$W,of="messages"})', "messages"), width=12),
            series("Age of the oldest", "How long the oldest message waits.", query("max(ekitei_queue_oldest_seconds{$W})", "oldest"), "s", width=12),
        ]),
        ("Attempts", [
            series("Outcomes", "Recipients of attempts to send.", rate("ekitei_queue_recipients_total", "outcome"), "mps", stack=True),
            series("Why mail fails", "Recipients whose mail was given up, by category.",
                   rate("ekitei_queue_recipients_total", "category", 'outcome="failed"'), "mps", stack=True),
            series("Why mail waits", "Recipients that are tried again, by category.",
                   rate("ekitei_queue_recipients_total", "category", 'outcome="deferred"'), "mps", stack=True),
            series("Time in the queue", "From the acceptance of a message to its sending.", quantiles("ekitei_queue_seconds"), "s"),
            series("Work in memory", "Messages on their way, and entries that wait for their turn.", [
                query("sum(ekitei_queue_active{$W})", "on their way"), query("sum(ekitei_queue_backlog{$W})", "waiting"),
            ]),
            series("Notifications", "Delivery status notifications to senders.", rate("ekitei_queue_notifications_total", "action"), "mps"),
        ]),
        ("Other hosts", [
            series("Connections", "Connections for messages: new, reused, stale, failed.", rate("ekitei_relay_connections_total", "result"), "ops"),
            series("TLS", "Handshakes with other hosts, by version or failed.", rate("ekitei_relay_tls_handshakes_total", "version"), "ops"),
            series("Times", "95 of 100 took less.", [
                *[{**one, "legendFormat": "connect"} for one in quantiles("ekitei_relay_connect_seconds", of=(0.95,))],
                *[{**one, "legendFormat": "TLS"} for one in quantiles("ekitei_relay_tls_seconds", of=(0.95,))],
                *[{**one, "legendFormat": "dialogue"} for one in quantiles("ekitei_relay_dialogue_seconds", of=(0.95,))],
            ], "s"),
        ]),
        ("Signatures", [
            series("Signatures", "DKIM signatures and ARC seals made.", rate("ekitei_signing_signatures_total", "kind, algorithm"), "ops"),
            series("Keys", "DKIM keys of all domains, by stage.", query("max by (stage) (ekitei_signing_keys{$W})", "{{stage}}")),
            series("Oldest key", "How long the key that is longest in its stage is in it.",
                   query("max by (stage) (ekitei_signing_oldest_key_seconds{$W})", "{{stage}}"), "s"),
        ]),
    ])


def imap():
    return dashboard("imap", "IMAP and POP3", "How users read their mail.", [
        ("Sessions", [
            series("Sessions", "IMAP sessions by state.", query("sum by (state) (ekitei_imap_sessions{$W})", "{{state}}"), stack=True),
            series("Waiting for mail", "Sessions in IDLE, and how they are woken: by a watch on the store, or by polling for want of one.", lines({
                "in IDLE": "sum(ekitei_imap_idle_sessions{$W})", "watches": "sum(ekitei_mailstore_watches{$W})",
                "polled accounts": "sum(ekitei_mailstore_polled_accounts{$W})",
            })),
            series("Logins", "Logins by protocol and result.", [
                rate("ekitei_imap_logins_total", "result", legend="IMAP {{result}}"), rate("ekitei_pop3_logins_total", "result", legend="POP3 {{result}}"),
            ], "ops"),
        ]),
        ("Commands", [
            series("Commands", "IMAP commands by name.", rate("ekitei_imap_commands_total", "command"), "ops", stack=True),
            series("Commands that failed", "Commands answered with NO or BAD, by name.",
                   rate("ekitei_imap_commands_total", "command, result", 'result!="OK"'), "ops"),
            series("Time", "95 of 100 commands took less, by name. IDLE ends when the client likes.",
                   query('histogram_quantile(0.95, sum by (le, command) (rate(ekitei_imap_command_seconds_bucket{$W,command!="IDLE"}[$__rate_interval])))',
                         "{{command}}"), "s"),
            series("Octets", "Octets exchanged with IMAP clients.", rate("ekitei_imap_bytes_total", "direction"), "Bps"),
            series("Messages", "Messages that were fetched, added by clients, or read over POP3.", [
                rate("ekitei_imap_messages_fetched_total", legend="fetched"), rate("ekitei_imap_messages_appended_total", legend="appended"),
                rate("ekitei_pop3_retrieved_messages_total", legend="POP3"),
            ], "ops"),
            series("POP3 commands", "POP3 commands by result.", rate("ekitei_pop3_commands_total", "command, result"), "ops"),
        ]),
    ])


# Prices of Amazon S3 in us-east-1, in dollars: a thousand writes or lists, a thousand reads, a gigabyte for a month.
PRICES = [
    number("write_price", "Price of 1,000 writes", "0.005"), number("read_price", "Price of 1,000 reads", "0.0004"),
    number("storage_price", "Price of a GB-month", "0.023"),
]
MONTH = 30 * 24 * 3600


def monthly(operations, price):
    return f'sum(rate(ekitei_blob_object_requests_total{{$W,operation=~"{operations}"}}[1h])) * {MONTH} / 1000 * ${price}'


def storage():
    return dashboard("storage-and-cost", "Storage and cost", "The stores of metadata and of bodies, and what the object store costs.", [
        ("Now", [
            stat("Hot tier", "Bodies that wait in the metadata store, of `blobs.hotLimit`. At 100 % new mail is written as single objects, which costs more.",
                 "max(ekitei_blob_hot_bytes{$W}) / max(ekitei_blob_hot_limit_bytes{$W})", "percentunit", [("orange", 0.5), ("red", 0.8)], max=1, min=0),
            stat("Object store away", "1 while some process gets no answer from it.", "max(ekitei_blob_object_store_away{$W})", thresholds=RED),
            stat("Damage found", "Bodies damaged or missing, by the last check.", 'max(sum by (namespace, pod) (ekitei_blob_scrub_findings{$W}))', thresholds=RED),
            stat("Disk", "The fullest disk of an embedded store.",
                 "max(1 - ekitei_disk_free_bytes{$W} / ekitei_disk_size_bytes{$W})", "percentunit", [("orange", 0.8), ("red", 0.9)], max=1, min=0),
            stat("Backup", "How much would be lost with the store now; -1 for everything.", "max(ekitei_backup_age_seconds{$W})", "s"),
            stat("Writes a message", "Requests to write objects for each message that came in: far below 1 when packing works.",
                 'sum(rate(ekitei_blob_object_requests_total{$W,operation="put"}[1h])) / sum(rate(ekitei_smtp_messages_total{$W,outcome=~"accepted|partial"}[1h]))',
                 decimals=3),
        ]),
        ("Metadata store", [
            series("Commits", "Time of commits that wrote something.", quantiles("ekitei_kv_commit_seconds"), "s"),
            series("Operations", "Commits, conflicts (repeated at once) and reads.", [
                rate("ekitei_kv_commits_total", legend="commits"), rate("ekitei_kv_conflicts_total", legend="conflicts"),
                rate("ekitei_kv_reads_total", legend="reads"), rate("ekitei_kv_fsyncs_total", legend="fsyncs"),
            ], "ops"),
            series("Written", "Octets of keys and values committed.", rate("ekitei_kv_written_bytes_total", legend="committed"), "Bps"),
        ]),
        ("Bodies", [
            series("Hot tier", "Bodies in the metadata store that wait to be packed, and their limit.", lines({
                "hot": "max(ekitei_blob_hot_bytes{$W})", "limit": "max(ekitei_blob_hot_limit_bytes{$W})",
            }), "bytes"),
            series("Oldest hot body", "Far above `blobs.packing.maxAge`: nobody packs.", query("max(ekitei_blob_hot_oldest_seconds{$W})", "oldest"), "s"),
            series("Segments", "Octets of segments, and of what is needed in them. Compaction gives back the difference.", lines({
                "all": "max(ekitei_blob_segment_bytes{$W})", "needed": "max(ekitei_blob_segment_live_bytes{$W})",
            }), "bytes"),
            series("Packing", "Octets packed, rewritten by compaction, and read again to check them.", [
                rate("ekitei_blob_packed_bytes_total", legend="packed"), rate("ekitei_blob_compacted_bytes_total", legend="compacted"),
                rate("ekitei_blob_scrubbed_bytes_total", legend="checked"),
            ], "Bps"),
            series("Waits for the collector", "What is to be removed.", query("max by (kind) (ekitei_blob_collector_backlog{$W})", "{{kind}}")),
            series("Cache of objects", "Pages that were wanted, by where they were.", rate("ekitei_blob_cache_pages_total", "from"), "ops", stack=True),
        ]),
        ("Object store", [
            series("Requests", "Requests by operation and outcome, retries too.", rate("ekitei_blob_object_requests_total", "operation, outcome"), "reqps"),
            series("Time of requests", "99 of 100 took less.", quantiles("ekitei_blob_object_request_seconds", by="operation", of=(0.99,)), "s"),
            series("Octets", "Octets written and read.", [
                rate("ekitei_blob_object_written_bytes_total", legend="written"), rate("ekitei_blob_object_read_bytes_total", legend="read"),
            ], "Bps"),
        ]),
        ("Cost", [
            stat("Writes, a month", "Requests that write or list, at the rate of the last hour. The prices are variables of this dashboard.",
                 monthly("put|list", "write_price"), "currencyUSD", width=6, decimals=2),
            stat("Reads, a month", "Requests that read, at the rate of the last hour. Deleting is free.",
                 monthly("get|head", "read_price"), "currencyUSD", width=6, decimals=2),
            stat("Segments, a month", "Storage of segments as they are now. Bodies that are objects of their own come on top.",
                 "max(ekitei_blob_segment_bytes{$W}) / 1e9 * $storage_price", "currencyUSD", width=6, decimals=2),
            stat("Background jobs that fail", "Rounds a second of background jobs that were interrupted; they go on in their next round.",
                 'sum(rate(ekitei_job_rounds_total{$W,outcome="failed"}[$__rate_interval])) or 0 * sum(rate(ekitei_job_rounds_total{$W}[$__rate_interval]))',
                 "ops", width=6),
        ]),
    ], extra=PRICES)


def regions():
    return dashboard("regions", "Regions", "The regions side by side.", [
        ("Processes", [
            series("Ready", "Processes that can take mail and logins, by region.", query("sum by (region) (ekitei_ready{$W})", "{{region}}")),
            table("Versions", "Processes by region and version.", "count by (region, version, store) (ekitei_build_info{$W})", width=8),
            series("Processor", "Cores in use, by region.", query("sum by (region) (rate(process_cpu_seconds_total{$W}[$__rate_interval]))", "{{region}}")),
        ]),
        ("Mail", [
            series("Received", "Messages that were taken, by region.", rate("ekitei_smtp_messages_total", "region", 'outcome=~"accepted|partial"'), "mps", stack=True),
            series("Sent", "Recipients sent to, by the region that sent.", rate("ekitei_queue_recipients_total", "region", 'outcome="sent"'), "mps", stack=True),
            series("Connections", "Open connections, by region.", query("sum by (region) (ekitei_connections_open{$W})", "{{region}}"), stack=True),
            series("Refused", "Refusals for good, by region.", rate("ekitei_smtp_refusals_total", "region", 'reply="permanent"'), "ops"),
            series("Parts of the queue", "Parts of the queue that processes of a region work on.", query("sum by (region) (ekitei_queue_shards{$W})", "{{region}}")),
            series("Memory", "Resident memory, by region.", query("sum by (region) (process_resident_memory_bytes{$W})", "{{region}}"), "bytes"),
        ]),
        ("The store, as regions see it", [
            series("Commits", "99 of 100 commits took less. A region that is far from the store's leader waits for it.",
                   quantiles("ekitei_kv_commit_seconds", by="region", of=(0.99,)), "s"),
            series("Time until durable", "95 of 100 messages were stored in less.", quantiles("ekitei_smtp_delivery_seconds", by="region", of=(0.95,)), "s"),
            series("Processes alive", "Processes that use the store, as each region sees them.",
                   query('max by (region) (ekitei_cluster_nodes{$W,state="alive"})', "{{region}}")),
        ]),
    ])


OPERATOR = 'namespace=~"$namespace"'


def operator():
    def by(metric, label, where=""):
        return query(f"sum by ({label}) (rate({metric}{{{OPERATOR}{where}}}[$__rate_interval]))", f"{{{{{label}}}}}")

    return dashboard("operator", "Operator", "What the operator does, and what it found.", [
        ("Now", [
            stat("Leaders", "Operators that hold the lease: one.", f"sum(ekitei_operator_is_leader{{{OPERATOR}}})", thresholds=[("red", None), ("green", 1)]),
            stat("Objects not ready", "Objects whose condition Ready is not true.",
                 f'sum(ekitei_operator_objects{{{OPERATOR},ready="false"}}) or 0 * sum(ekitei_operator_objects{{{OPERATOR}}})', thresholds=RED),
            stat("Regions away", "Regions whose cluster does not answer.",
                 f"count(ekitei_operator_region_reachable{{{OPERATOR}}} == 0) or 0 * count(ekitei_operator_region_reachable{{{OPERATOR}}})", thresholds=RED),
            stat("Certificate ends in", "The first certificate that ends.",
                 f"min(ekitei_operator_certificate_expiry_timestamp_seconds{{{OPERATOR}}}) - time()", "s", [("red", None), ("orange", 604_800), ("green", 1_814_400)]),
            stat("Oldest DKIM key", "Of all keys that the operator knows.", f"max(ekitei_operator_dkim_key_age_seconds{{{OPERATOR}}})", "s"),
            stat("Records not right", "DNS records that are not as they should be.",
                 f'sum(ekitei_operator_dns_records{{{OPERATOR},state!~"Verified|Manual"}}) or 0 * sum(ekitei_operator_dns_records{{{OPERATOR}}})', thresholds=RED),
        ]),
        ("Reconciliation", [
            series("Time", "95 of 100 rounds took less, by kind.", query(
                f"histogram_quantile(0.95, sum by (le, kind) (rate(ekitei_operator_reconcile_seconds_bucket{{{OPERATOR}}}[$__rate_interval])))", "{{kind}}"), "s"),
            series("Rounds", "Rounds a second, by kind.", by("ekitei_operator_reconcile_seconds_count", "kind"), "ops"),
            series("Failures", "Rounds that failed, by reason; each is tried again with backoff.", by("ekitei_operator_reconcile_failures_total", "kind, reason"), "ops"),
            series("Waiting", "Objects that wait for their turn.", query(f"sum by (kind) (ekitei_operator_queue_depth{{{OPERATOR}}})", "{{kind}}")),
            series("Objects", "Objects by kind and readiness.", query(f"sum by (kind, ready) (ekitei_operator_objects{{{OPERATOR}}})", "{{kind}} ready={{ready}}")),
            series("Drift corrected", "Changes of others that were undone.", by("ekitei_operator_drift_corrected_total", "kind"), "ops"),
        ]),
        ("What it looks after", [
            series("DNS records", "Records by state.", query(f"sum by (state) (ekitei_operator_dns_records{{{OPERATOR}}})", "{{state}}")),
            series("Regions", "1 if the cluster of a region answers.", query(f"min by (region) (ekitei_operator_region_reachable{{{OPERATOR}}})", "{{region}}"), max=1),
            series("MX replicas", "Replicas of regions, by state.",
                   query(f"max by (region, state) (ekitei_operator_mx_replicas{{{OPERATOR}}})", "{{region}} {{state}}")),
            table("Certificates", "Seconds until they end.",
                  f"min by (name) (ekitei_operator_certificate_expiry_timestamp_seconds{{{OPERATOR}}}) - time()", unit="s"),
            table("DKIM keys", "Their age.", f"max by (domain, selector) (ekitei_operator_dkim_key_age_seconds{{{OPERATOR}}})", unit="s"),
            table("DKIM keys to be replaced", "When each is due: less than nothing is overdue.", f"min by (domain, selector) (ekitei_operator_dkim_rotation_timestamp_seconds{{{OPERATOR}}}) - time()", unit="s"),
            table("Certificates to be renewed", "When each is due: less than nothing is overdue.",
                  f"min by (name) (ekitei_operator_certificate_renewal_timestamp_seconds{{{OPERATOR}}}) - time()", unit="s"),
        ]),
    ], metric="ekitei_operator_is_leader", labels=("namespace",))


DASHBOARDS = {
    "overview": overview, "inbound": inbound, "outbound-queue": outbound, "imap": imap, "storage-and-cost": storage, "regions": regions,
    "operator": operator,
}


def main():
    stale = []
    for name, make in DASHBOARDS.items():
        path, text = FOLDER / f"{name}.json", json.dumps(make(), indent=2, ensure_ascii=False) + "\n"
        if "--check" not in sys.argv:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(path.name)
    stale += [path.name for path in FOLDER.glob("*.json") if path.stem not in DASHBOARDS]
    if stale:
        sys.exit(f"not what deploy/grafana/generate.py writes: {', '.join(stale)}")


if __name__ == "__main__":
    main()
