//! A change and its line in the history.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// A store whose next write waits until it is let go, and whose history can be away.
struct Slow {
    store: MemoryStore,
    begun: tokio::sync::Notify,
    go: tokio::sync::Notify,
    history_away: AtomicBool,
    /// A write that was made, and whose answer was lost.
    answers_lost: AtomicBool,
}

impl Slow {
    fn over(store: &MemoryStore) -> Arc<Self> {
        Arc::new(Self {
            store: store.clone(),
            begun: tokio::sync::Notify::new(),
            go: tokio::sync::Notify::new(),
            history_away: AtomicBool::new(false),
            answers_lost: AtomicBool::new(false),
        })
    }
}

fn away(target: &str) -> crate::store::WriteError {
    crate::store::WriteError::Unavailable {
        target: target.to_owned(),
        source: "away".into(),
    }
}

fn state_over(rig: &Rig, store: &Arc<Slow>) -> ApiState {
    let never = watch::channel(false).1;
    ApiState::new(
        rig.fleet.clone(),
        store.clone(),
        Arc::<crate::fixture::Answering>::default(),
        Arc::new(Metrics::default()),
        never,
    )
}

fn ada(path: &str) -> Request<Body> {
    Request::put(path)
        .header("x-fleet-actor", "ada")
        .body(Body::from(web("lyon").to_string()))
        .unwrap()
}

fn lines(rig: &Rig, kind: &str) -> usize {
    let of_kind = |event: &&Value| event["actor"] == "ada" && event["kind"] == kind;
    rig.history().iter().filter(of_kind).count()
}

impl crate::store::Writes for Slow {
    fn put<'a>(
        &'a self,
        bucket: BucketId,
        key: &'a str,
        expected: u64,
        value: bytes::Bytes,
    ) -> futures_util::future::BoxFuture<'a, Result<u64, crate::store::WriteError>> {
        Box::pin(async move {
            if bucket == BucketId::Deployments {
                self.begun.notify_one();
                self.go.notified().await;
            }
            let stored = self.store.put(bucket, key, expected, value).await;
            if self.answers_lost.load(Ordering::SeqCst) {
                return Err(away(key));
            }
            stored
        })
    }

    fn delete<'a>(
        &'a self,
        bucket: BucketId,
        key: &'a str,
        expected: u64,
    ) -> futures_util::future::BoxFuture<'a, Result<u64, crate::store::WriteError>> {
        self.store.delete(bucket, key, expected)
    }

    fn append<'a>(
        &'a self,
        subject: &'a str,
        id: &'a str,
        value: bytes::Bytes,
    ) -> futures_util::future::BoxFuture<'a, Result<u64, crate::store::WriteError>> {
        if self.history_away.load(Ordering::SeqCst) {
            return Box::pin(std::future::ready(Err(away(subject))));
        }
        self.store.append(subject, id, value)
    }
}

#[tokio::test]
async fn a_client_that_goes_away_takes_neither_the_change_nor_its_line_in_the_history_with_it() {
    let rig = rig().await;
    let slow = Slow::over(&rig.store);
    let state = state_over(&rig, &slow);
    let answer = tokio::spawn(router(state.clone()).oneshot(ada("/api/v0/deployments/web")));
    slow.begun.notified().await;
    answer.abort();
    assert!(answer.await.is_err(), "the client is gone before its answer");
    assert_eq!(
        state.settled(Duration::from_millis(10)).await,
        1,
        "the end of the process waits for the change that is on its way"
    );
    slow.go.notify_one();
    assert_eq!(state.settled(Duration::from_secs(20)).await, 0);
    assert_eq!(lines(&rig, "deployment-created"), 1, "as soon as nothing is open");
    assert_eq!(rig.get("/api/v0/deployments/web").await.0, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_told_done_before_the_history_tells_of_it_and_it_does_as_soon_as_it_can() {
    let rig = rig().await;
    let slow = Slow::over(&rig.store);
    slow.go.notify_one();
    slow.history_away.store(true, Ordering::SeqCst);
    let state = state_over(&rig, &slow);
    let answer = router(state.clone())
        .oneshot(ada("/api/v0/deployments/web"))
        .await;
    let (status, error) = parts(answer.expect("it answers")).await;
    assert_eq!(
        (status, &error["kind"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("history-late")),
        "{error}"
    );
    let detail = error["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("generation 1 of web stands"), "{detail}");
    assert_eq!(
        rig.get("/api/v0/deployments/web").await.0,
        StatusCode::OK,
        "it was made"
    );
    assert_eq!(lines(&rig, "deployment-created"), 0);
    slow.history_away.store(false, Ordering::SeqCst);
    assert_eq!(state.settled(Duration::from_secs(60)).await, 0);
    assert_eq!(lines(&rig, "deployment-created"), 1);
}

#[tokio::test]
async fn a_write_without_an_answer_is_in_the_history_as_that() {
    let rig = rig().await;
    let slow = Slow::over(&rig.store);
    slow.go.notify_one();
    slow.answers_lost.store(true, Ordering::SeqCst);
    let state = state_over(&rig, &slow);
    let answer = router(state.clone())
        .oneshot(ada("/api/v0/deployments/web"))
        .await;
    let (status, error) = parts(answer.expect("it answers")).await;
    assert_eq!(
        (status, &error["kind"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("store-unavailable")),
    );
    assert_eq!(state.settled(Duration::from_secs(20)).await, 0);
    assert_eq!(lines(&rig, "deployment-change-unconfirmed"), 1);
}
