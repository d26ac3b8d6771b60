//! Locks with names over the admin API.

use ekitei_api::{Client, ClientError, NewLock, PageQuery, ProblemCode};

use crate::support::Service;

fn by(holder: &str, seconds: u64) -> NewLock {
    NewLock { holder: holder.to_owned(), seconds }
}

fn problem<T: std::fmt::Debug>(result: Result<T, ClientError>) -> ekitei_api::Problem {
    match result {
        Err(ClientError::Problem(problem)) => problem,
        other => panic!("{other:?}"),
    }
}

async fn names(client: &Client) -> Vec<String> {
    let page = client.list_locks(&PageQuery { limit: Some(2), ..PageQuery::default() }).await.unwrap();
    let mut names: Vec<String> = page.items.into_iter().map(|lock| lock.name).collect();
    if let Some(after) = page.next {
        let rest =
            client.list_locks(&PageQuery { after: Some(after), ..PageQuery::default() }).await.unwrap();
        names.extend(rest.items.into_iter().map(|lock| lock.name));
    }
    names
}

#[tokio::test]
async fn a_lock_is_taken_renewed_refused_and_given_back() {
    let service = Service::start().await;
    let client = service.client();
    let name = "dns:example.test";
    let taken = client.put_lock(name, &by("tokyo", 10)).await.unwrap();
    assert_eq!((taken.name.as_str(), taken.holder.as_str()), (name, "tokyo"));
    assert_eq!(client.put_lock(name, &by("tokyo", 15)).await.unwrap().token, taken.token);
    let held = problem(client.put_lock(name, &by("singapore", 10)).await);
    assert_eq!((held.status, held.code), (409, ProblemCode::InUse));
    assert!(held.detail.contains("held by tokyo"), "{}", held.detail);
    assert_eq!(problem(client.delete_lock(name, "singapore").await).code, ProblemCode::InUse);
    assert_eq!(client.lock(name).await.unwrap().holder, "tokyo");
    client.delete_lock(name, "tokyo").await.unwrap();
    client.delete_lock(name, "tokyo").await.unwrap();
    assert_eq!(problem(client.lock(name).await).code, ProblemCode::NotFound);
    assert!(client.put_lock(name, &by("singapore", 10)).await.unwrap().token > taken.token);
}

#[tokio::test]
async fn locks_are_listed_and_bounded() {
    let service = Service::start().await;
    let client = service.client();
    for name in ["b", "a", "c"] {
        client.put_lock(name, &by("me", 10)).await.unwrap();
    }
    assert_eq!(names(&client).await, ["a", "b", "c"]);
    for (name, lock) in
        [("d", by("me", 10)), ("a", by("me", 16)), ("a", by("me", 0)), ("a", by("", 1)), ("a b", by("me", 1))]
    {
        assert_eq!(problem(client.put_lock(name, &lock).await).code, ProblemCode::Invalid, "{name} {lock:?}");
    }
}
