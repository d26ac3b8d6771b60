//! Messages that dkimpy 1.1.8 signed, with keys that were thrown away.

use crate::support::{World, message, outcome, results};

const KEYS: &str = r#"
_dmarc.author.test TXT "v=DMARC1; p=reject"
rsa._domainkey.author.test TXT "v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAoFKiI69lq1rRpL43F7LzM9HqHPElkHYw5cNPjsLRsPhi2XBd+W+dN7V1Ug7N1d74s1+lUOvmRgJyy4UrMaQRbd9rIB53MA/wPVrn+u1n8dQxYuoEyvZkref65Y0QQpdOpTACeNdFvd" "x8opD4s55kXRZ1CDGADo+6yAwgaqz4L8tGWaYdGfTW6EoZNC2+DjOFv0IuI+Kni50DNO50BRatRBuJVeGsZTZ8y5mPuKFHzGIvm8B7XpEHEQzChgMhTD6hhKzXOfcgeJmV3gbCKoMS/Ig97y3eCQRWd0JmmghtSsBN2MxSugvifEid36Y5wGaQIfA+zi9hjdkaBeB2uQ" "MmYwIDAQAB"
ed._domainkey.author.test TXT "v=DKIM1; k=ed25519; p=wMFEV2BBWXUslCHItVNVNHaXpBMnFC/oy/V+xvFqEXE="
weak._domainkey.author.test TXT "v=DKIM1; k=rsa; p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAKbQTkva4CyssaBZwdhdl9RP35Xc4Wy+Qypp26otjVacwBU38M2snX7A/dQHWn6pL3ZrTu/0KyQZAadO8s5N1YcCAwEAAQ=="
"#;

/// 2048 bits, simple/simple, From signed twice.
const RSA: &str = "DKIM-Signature: v=1; a=rsa-sha256; c=simple/simple; d=author.test;\r\n\
    \x20i=@author.test; q=dns/txt; s=rsa; t=1795348609; h=from : from : to :\r\n\
    \x20subject; bh=yZQq1c8wjBl0fZ4Wc/oraMCAG1mZJv5v/hlvyFy+t6A=;\r\n\
    \x20b=fWbfEKv42xLzXKfNe0wZpkr8fVFD3gj60jmqRfVEY6yHdUGj23XuZE7G83m6ZyYtHEz+z\r\n\
    \x20Am2WBRwaf8U3X2D+nBF/6vN9MIxaTNNJJOKmwGJOxRCGngiTgoTGdJx/YyEGbBHEqz2NRkg\r\n\
    \x20OJ2nzBqCsQu0/CZmZmTyaPleknBFCpICGAFPFg0Cc+Frejx57e9mzRQRwUuYm04qmIz+Q2G\r\n\
    \x20E9Ke5XBpmxcvE14r805d0y3ABHKl+6EXuUHaEclAK6hThWDCBR/mvIJlfyESNd0LoX649QQ\r\n\
    \x20Z0ejfx4XwoP5rjI/MkvOz0Lm4pnoQdHbBR61s1aeT7mtMy1VZrEyWSxQRYQQ==\r\n";
/// relaxed/simple.
const ED25519: &str = "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/simple; d=author.test;\r\n\
    \x20i=@author.test; q=dns/txt; s=ed; t=1795348609; h=from : to : subject;\r\n\
    \x20bh=yZQq1c8wjBl0fZ4Wc/oraMCAG1mZJv5v/hlvyFy+t6A=;\r\n\
    \x20b=itBsAOn//xYYGDPsjnToczW1aK2cWw2S2ezqwf9cZrvAcOrYP2fmWhSI3DLA34S/gFlQG\r\n\
    \x20cspbd6RkJmmzPbBCg==\r\n";
/// 512 bits.
const WEAK: &str = "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=author.test;\r\n\
    \x20i=@author.test; q=dns/txt; s=weak; t=1795348577; h=from : to :\r\n\
    \x20subject; bh=yZQq1c8wjBl0fZ4Wc/oraMCAG1mZJv5v/hlvyFy+t6A=;\r\n\
    \x20b=H6pEgtesyUq0yGKJmoDPUQTywo0OAIR32qhzhYcXWlfo6UbZ1JZu3IPPsqOr8K4u5v6yV\r\n\
    \x20dHcH3BxAmnbjf733w==\r\n";

async fn judged(signatures: &str) -> (Vec<String>, String) {
    let world = World::new(KEYS);
    let signed = [signatures.as_bytes(), &message("a@author.test")].concat();
    let judgement = world.judge("x@sender.test", signed).await;
    let found = results(&judgement, "dkim").into_iter().map(str::to_owned).collect();
    (found, outcome(&judgement).to_owned())
}

#[tokio::test]
async fn both_algorithms_are_good() {
    for signatures in [RSA.to_owned(), ED25519.to_owned()] {
        assert_eq!(judged(&signatures).await, (vec!["pass".to_owned()], "accept".to_owned()), "{signatures}");
    }
    let (found, outcome) = judged(&format!("{ED25519}{RSA}")).await;
    assert_eq!((found, outcome.as_str()), (vec!["pass".to_owned(); 2], "accept"));
}

#[tokio::test]
async fn a_key_that_anyone_can_factor_proves_nothing() {
    let (found, outcome) = judged(WEAK).await;
    assert_eq!(
        (found, outcome.as_str()),
        (vec!["fail".to_owned()], "5.7.26"),
        "RFC 8301 3.2: at least 1024 bits"
    );
}

#[tokio::test]
async fn a_field_that_was_signed_as_missing_must_not_be_added() {
    let world = World::new(KEYS);
    let signed = [RSA.as_bytes(), b"From: b@author.test\r\n", &message("a@author.test")].concat();
    let judgement = world.judge("x@sender.test", signed).await;
    assert_eq!((results(&judgement, "dkim"), outcome(&judgement)), (vec!["fail"], "5.7.26"));
}
