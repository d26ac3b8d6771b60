"""Prints a DMARC aggregate report (RFC 9990) about example.test as its sender would mail it: XML, gzipped, attached."""

import email.message
import email.policy
import gzip
import sys

XML = """<?xml version="1.0" encoding="UTF-8"?>
<feedback>
  <version>1.0</version>
  <report_metadata>
    <org_name>Elsewhere Mail</org_name>
    <email>dmarc@elsewhere.test</email>
    <report_id>2026-07-06.1</report_id>
    <date_range><begin>1783296000</begin><end>1783382399</end></date_range>
  </report_metadata>
  <policy_published>
    <domain>example.test</domain><adkim>r</adkim><aspf>r</aspf><p>quarantine</p><sp>quarantine</sp><pct>100</pct>
  </policy_published>
  <record>
    <row>
      <source_ip>192.0.2.1</source_ip><count>17</count>
      <policy_evaluated><disposition>none</disposition><dkim>pass</dkim><spf>pass</spf></policy_evaluated>
    </row>
    <identifiers><header_from>example.test</header_from></identifiers>
    <auth_results>
      <dkim><domain>example.test</domain><selector>s1</selector><result>pass</result></dkim>
      <spf><domain>example.test</domain><result>pass</result></spf>
    </auth_results>
  </record>
  <record>
    <row>
      <source_ip>198.51.100.7</source_ip><count>3</count>
      <policy_evaluated><disposition>quarantine</disposition><dkim>fail</dkim><spf>fail</spf></policy_evaluated>
    </row>
    <identifiers><header_from>example.test</header_from></identifiers>
    <auth_results><spf><domain>forged.test</domain><result>fail</result></spf></auth_results>
  </record>
</feedback>
"""

message = email.message.EmailMessage(policy=email.policy.SMTP)
message["From"] = "dmarc@elsewhere.test"
message["To"] = "dmarc-reports@example.test"
message["Subject"] = "Report Domain: example.test Submitter: elsewhere.test Report-ID: <2026-07-06.1>"
message["Date"] = "Tue, 07 Jul 2026 01:00:00 +0000"
message["Message-ID"] = "<2026-07-06.1@elsewhere.test>"
message.set_content("This is an aggregate report.")
message.add_attachment(
    gzip.compress(XML.encode(), mtime=0),
    maintype="application",
    subtype="gzip",
    filename="elsewhere.test!example.test!1783296000!1783382399.xml.gz",
)
sys.stdout.buffer.write(message.as_bytes())
