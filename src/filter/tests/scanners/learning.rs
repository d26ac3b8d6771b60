//! Lessons: they are taught one after the other, in the background, as many as may wait, and again when they fail for a while.

use std::future::ready;
use std::time::Duration;

use bytes::Bytes;
use ekitei_filter::learn::{Learn as _, Lesson};
use ekitei_telemetry::Registry;

use crate::rspamd::{http, http_script};
use crate::support::{MAIL, in_time, nobody, scanners, scanners_and_registry};

async fn counted(registry: &Registry, line: &str) {
    in_time(async {
        while !registry.render().contains(line) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn lessons_reach_the_controller() {
    let (controller, seen) = http("200 OK", r#"{"success":true}"#).await;
    let yaml = format!("rspamd: {{learning: {{controllers: ['{controller}'], password: q2}}}}");
    let (scanners, registry) = scanners_and_registry(&yaml);
    let learner = scanners.learner();
    assert_eq!(learner.limit(), 100);
    learner.offer(Lesson::Spam, 100, Box::pin(ready(Some(Bytes::from_static(MAIL)))));
    learner.offer(Lesson::Ham, 100, Box::pin(ready(Some(Bytes::from_static(MAIL)))));
    learner.offer(Lesson::Ham, 100, Box::pin(ready(None)));
    counted(&registry, "ekitei_filter_lessons_total{lesson=\"ham\",outcome=\"gone\"} 1").await;
    let metrics = registry.render();
    assert!(metrics.contains("{lesson=\"spam\",outcome=\"learned\"} 1"), "{metrics}");
    let requests: Vec<(String, Vec<u8>)> =
        seen.lock().unwrap().drain(..).map(|(_, request)| request).collect();
    assert!(requests[0].0.starts_with("post /learnspam http/1.1\r\n"), "{}", requests[0].0);
    assert!(requests[1].0.starts_with("post /learnham http/1.1\r\n"), "{}", requests[1].0);
    assert!(requests.iter().all(|(head, body)| head.contains("\r\npassword: q2\r\n") && body == MAIL));
}

#[tokio::test]
async fn a_message_that_was_taught_before_is_no_failure() {
    let old = r#"{"error":"<a@b> has been already learned as spam, ignore it"}"#;
    for (status, body) in [("208 Already Reported", "{}"), ("404 already learned", old)] {
        let (controller, _) = http(status, body).await;
        let (scanners, registry) =
            scanners_and_registry(&format!("rspamd: {{learning: {{controllers: ['{controller}']}}}}"));
        scanners.learner().offer(Lesson::Spam, 100, Box::pin(ready(Some(Bytes::from_static(MAIL)))));
        counted(&registry, "{lesson=\"spam\",outcome=\"known\"} 1").await;
    }
}

#[tokio::test]
async fn a_full_queue_drops_lessons_and_never_waits() {
    let yaml = "rspamd: {learning: {controllers: ['127.0.0.1:1'], queue: 2}}";
    let (scanners, registry) = scanners_and_registry(yaml);
    let learner = scanners.learner();
    // The first one is being taught, and takes for ever.
    learner.offer(Lesson::Spam, 100, Box::pin(std::future::pending()));
    tokio::task::yield_now().await;
    for _ in 0..5 {
        learner.offer(Lesson::Spam, 100, Box::pin(std::future::pending()));
    }
    let metrics = registry.render();
    assert!(metrics.contains("{lesson=\"spam\",outcome=\"dropped\"} 3"), "{metrics}");
}

#[tokio::test]
async fn a_controller_that_is_away_fails_lessons_and_the_next_one_is_tried() {
    let (controller, _) = http("200 OK", "{}").await;
    let away = nobody().await;
    let yaml = format!("rspamd: {{learning: {{controllers: ['{away}', '{controller}']}}}}");
    let (both, registry) = scanners_and_registry(&yaml);
    both.learner().offer(Lesson::Ham, 100, Box::pin(ready(Some(Bytes::from_static(MAIL)))));
    counted(&registry, "{lesson=\"ham\",outcome=\"learned\"} 1").await;
    let (away, registry) =
        scanners_and_registry(&format!("rspamd: {{learning: {{controllers: ['{away}'], {QUICK}}}}}"));
    away.learner().offer(Lesson::Ham, 100, Box::pin(ready(Some(Bytes::from_static(MAIL)))));
    counted(&registry, "{lesson=\"ham\",outcome=\"failed\"} 1").await;
    counted(&registry, "filter_lesson_retries_total{lesson=\"ham\"} 2").await;
}

/// Three attempts, one right after the other.
const QUICK: &str = "attempts: 3, retryDelay: 1ms, maxRetryDelay: 2ms";

/// What rspamd says when its files were locked at the end of a lesson.
const LOCKED: (&str, &str) = ("500 Error", r#"{"error":"cannot commit checkpoint: database is locked"}"#);
const DONE: (&str, &str) = ("200 OK", r#"{"success":true}"#);
const KNOWN: (&str, &str) =
    ("208 Already Reported", r#"{"error":"<a@b> has been already learned as spam, ignore it"}"#);

/// Offers a lesson to a controller that answers with these, one after the other; how often it was asked when the outcome was counted.
async fn taught(answers: &'static [(&'static str, &'static str)], outcome: &str) -> usize {
    let (controller, seen) = http_script(answers).await;
    let yaml = format!("rspamd: {{learning: {{controllers: ['{controller}'], {QUICK}}}}}");
    let (scanners, registry) = scanners_and_registry(&yaml);
    scanners.learner().offer(Lesson::Spam, 100, Box::pin(ready(Some(Bytes::from_static(MAIL)))));
    counted(&registry, &format!("{{lesson=\"spam\",outcome=\"{outcome}\"}} 1")).await;
    let requests = seen.lock().unwrap();
    assert!(requests.iter().all(|(_, (_, body))| body == MAIL));
    requests.len()
}

#[tokio::test]
async fn a_lesson_that_fails_for_a_while_is_taught_again() {
    assert_eq!(taught(&[LOCKED, LOCKED, DONE], "learned").await, 3);
    assert_eq!(taught(&[("429 Too Many Requests", "{}"), DONE], "learned").await, 2);
}

#[tokio::test]
async fn a_lesson_that_was_learned_in_spite_of_an_error_counts_as_learned() {
    assert_eq!(taught(&[LOCKED, KNOWN], "learned").await, 2);
    assert_eq!(taught(&[KNOWN], "known").await, 1);
}

#[tokio::test]
async fn a_lesson_is_given_up_after_the_configured_attempts() {
    assert_eq!(taught(&[LOCKED], "failed").await, 3);
}

#[tokio::test]
async fn a_lesson_that_is_refused_for_good_is_not_taught_again() {
    for answers in [
        &[("401 Unauthorized", "{}"), DONE],
        &[("403 Forbidden", "{}"), DONE],
        &[("413 Too Large", "{}"), DONE],
        &[("204 No tokens", ""), DONE],
    ] {
        assert_eq!(taught(answers, "failed").await, 1, "{}", answers[0].0);
    }
}

#[tokio::test]
async fn the_next_lesson_waits_for_the_one_that_is_taught_again() {
    let (controller, seen) = http_script(&[LOCKED, DONE]).await;
    let yaml = format!("rspamd: {{learning: {{controllers: ['{controller}'], {QUICK}}}}}");
    let (scanners, registry) = scanners_and_registry(&yaml);
    let learner = scanners.learner();
    for lesson in [Lesson::Spam, Lesson::Ham] {
        learner.offer(lesson, 100, Box::pin(ready(Some(Bytes::from_static(MAIL)))));
    }
    counted(&registry, "{lesson=\"ham\",outcome=\"learned\"} 1").await;
    let requests = seen.lock().unwrap();
    let paths: Vec<&str> = requests.iter().filter_map(|(_, (head, _))| head.split(' ').nth(1)).collect();
    assert_eq!(paths, ["/learnspam", "/learnspam", "/learnham"]);
}

#[tokio::test]
async fn a_message_that_is_too_large_is_not_even_read() {
    let yaml = "rspamd: {learning: {controllers: ['127.0.0.1:1'], maxMessageSize: 99}}";
    let (scanners, registry) = scanners_and_registry(yaml);
    scanners.learner().offer(Lesson::Spam, 100, Box::pin(async { panic!("it is read") }));
    counted(&registry, "{lesson=\"spam\",outcome=\"too large\"} 1").await;
}

#[tokio::test]
async fn nothing_is_learned_without_a_controller() {
    assert_eq!(scanners("").learner().limit(), 0);
}
