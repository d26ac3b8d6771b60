//! Processes and features over the API.

use ekitei_api::{ClientError, NodeState, ProblemCode};

use crate::support::Service;

#[tokio::test]
async fn a_process_tells_who_it_is_and_what_it_leads() {
    let service = Service::start().await;
    let client = service.client();
    service.leases.join("queue", ["00".to_owned(), "01".to_owned()]);
    service.leases.join("signing", ["signing".to_owned()]);
    service.leases.renew().await.unwrap();
    let nodes = client.list_nodes().await.unwrap().items;
    assert_eq!(nodes.len(), 1);
    let node = &nodes[0];
    assert_eq!((node.host.as_str(), node.pid, node.state, node.answers), ("mx1", 7, NodeState::Alive, true));
    let leads: Vec<(&str, usize)> =
        node.leads.iter().map(|work| (work.group.as_str(), work.names.len())).collect();
    assert_eq!(leads, [("queue", 2), ("signing", 1)]);
    assert_eq!(client.node(&node.id[..6]).await.unwrap(), *node, "the beginning of an id stands for it");
    for (id, code) in [("ffff0000", ProblemCode::NotFound), ("ab", ProblemCode::Invalid)] {
        let refused = client.node(id).await.unwrap_err();
        assert!(matches!(&refused, ClientError::Problem(problem) if problem.code == code), "{refused}");
    }
}

#[tokio::test]
async fn a_process_that_is_alone_has_every_feature() {
    let service = Service::start().await;
    let features = service.client().list_features().await.unwrap().items;
    assert!(features.iter().any(|feature| feature.name == "segmented-bodies"));
    for feature in features {
        assert!(feature.active && feature.since.is_some() && feature.waits_for.is_empty(), "{feature:?}");
    }
}
