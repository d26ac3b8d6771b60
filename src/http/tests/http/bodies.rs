//! The status of bodies, packing and checking them on request.

use bytes::Bytes;
use ekitei_blob::{Group, Packer, Scrubbed, Scrubber};
use ekitei_kv::clock::Clock;
use ekitei_mailstore::{AccountId, Delivery, Flags, Folder, Target};
use std::time::Duration;

use crate::support::Service;

#[tokio::test]
async fn hot_bodies_are_packed_and_checked_when_somebody_asks() {
    let service = Service::start().await;
    let client = service.client();
    let delivery = Delivery {
        message: Bytes::from_static(b"Subject: x\r\n\r\nhello\r\n"),
        received: ekitei_kv::clock::SystemClock.now(),
        targets: vec![Target {
            account: AccountId::new(1),
            folder: Folder::Inbox,
            flags: Flags::NONE,
            quota: None,
            header: Bytes::new(),
        }],
        companions: Vec::new(),
        fence: None,
    };
    service.mailstore.deliver(delivery).await.unwrap();
    let status = client.blob_status().await.unwrap();
    assert!(status.packing && !status.away);
    assert_eq!((status.hot_bodies, status.segments, status.live_bodies), (1, 0, 0));
    assert_eq!(status.groups.iter().map(|group| group.hot_bodies).sum::<u64>(), 1);

    client.pack_blobs().await.unwrap();
    client.scrub_blobs().await.unwrap();
    let packing = service.leases.join(Packer::LEASES, Group::all().map(Group::lease_name));
    let scrubbing = service.leases.join(Scrubber::LEASES, [Scrubber::LEASE.to_owned()]);
    service.leases.renew().await.unwrap();
    let packer = Packer::new(service.blobs.clone());
    for lease in packing.held() {
        packer.round(&lease).await.unwrap();
    }
    let scrubber = Scrubber::new(service.blobs.clone(), Duration::from_secs(1000));
    let lease = scrubbing.held().remove(0);
    while !matches!(scrubber.step(&lease).await.unwrap(), Scrubbed::Finished(_)) {}
    let status = client.blob_status().await.unwrap();
    assert_eq!((status.hot_bodies, status.segments, status.live_bodies), (0, 1, 1));
    assert_eq!(
        (status.scrub.phase.as_str(), status.scrub.bodies),
        ("idle", 2),
        "in its segment, and its rows"
    );
    assert!(status.scrub.ended.is_some() && status.scrub.findings.is_empty());
}
