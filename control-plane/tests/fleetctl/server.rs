//! An operator's API over a fabricated fleet.

use super::*;

/// What was asked of the server to change.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) fleet: Arc<Fabricated>,
    pub(crate) changes: Arc<Mutex<Vec<String>>>,
    pub(crate) address: String,
}

type Fleet = Shared<Server>;

fn missing(what: &str) -> Response {
    let problem = ProblemDetails {
        kind: "not-found".to_owned(),
        title: "not found".to_owned(),
        status: 404,
        detail: format!("there is no {what}"),
        problems: Vec::new(),
        since: None,
        request_id: None,
    };
    (StatusCode::NOT_FOUND, Json(problem)).into_response()
}

/// As the operator: what a partial view lacks is not missing.
fn found<T: serde::Serialize>(server: &Server, view: Option<T>, what: &str) -> Response {
    match view {
        Some(view) => Json(view).into_response(),
        None if server.fleet.recovery().converged => missing(what),
        None => {
            let problem = ProblemDetails {
                kind: "recovering".to_owned(),
                title: "the operator does not know the whole fleet at this moment".to_owned(),
                status: 503,
                detail: "recovering: still reading device-info".to_owned(),
                problems: Vec::new(),
                since: None,
                request_id: None,
            };
            (StatusCode::SERVICE_UNAVAILABLE, Json(problem)).into_response()
        }
    }
}

/// What a terminal would act on: control characters of both kinds, and what reorders or hides a text.
pub(crate) const HOSTILE: &str =
    "\u{1b}[2J\u{7f}\u{9b}2J\u{85}\u{202e}\u{2066}\u{200e}\u{61c} said \"\u{200b}\u{e0041}\" and \\ or é";

/// What a lint of tomorrow finds.
fn a_newer_servers_warning() -> Warning {
    Warning {
        path: "spec.score.podman_v0.init_containers[0].args[0]".to_owned(),
        line: 1,
        rule: "of-tomorrow".to_owned(),
        found: HOSTILE.to_owned(),
        why: "it happens twice".to_owned(),
        fix: "do it once".to_owned(),
    }
}

async fn put(
    Shared(server): Fleet,
    Path(name): Path<String>,
    Query(query): Query<ChangeQuery>,
    Json(body): Json<PutDeployment>,
) -> Response {
    server
        .changes
        .lock()
        .unwrap()
        .push(format!("put {name} dry_run={}", query.dry_run));
    let (outcome, generation) = match name.as_str() {
        "meter" => (Outcome::Unchanged, 2),
        "web" => (Outcome::Changed, 7),
        // As a server that ends in the midst: the connection breaks without an answer.
        "cut" => panic!("this request is not answered"),
        "refused" => {
            let problem = ProblemDetails {
                kind: "invalid".to_owned(),
                title: "the specification is refused".to_owned(),
                status: 422,
                detail: "it asks for what no device can do".to_owned(),
                problems: Vec::new(),
                since: None,
                request_id: None,
            };
            return (StatusCode::UNPROCESSABLE_ENTITY, Json(problem)).into_response();
        }
        _ => (Outcome::Created, 1),
    };
    Json(ChangeAnswer {
        outcome,
        dry_run: query.dry_run,
        warnings: lint_score(&body.spec.score)
            .into_iter()
            .map(|warning| warning.under("spec"))
            .chain((name == "newer").then(a_newer_servers_warning))
            .collect(),
        name,
        generation,
        devices: 12,
    })
    .into_response()
}

async fn delete(Shared(server): Fleet, Path(name): Path<String>) -> Response {
    if server.fleet.deployment(&name).is_none() {
        return missing(&format!("deployment {name:?}"));
    }
    server.changes.lock().unwrap().push(format!("delete {name}"));
    Json(ChangeAnswer {
        outcome: Outcome::Deleted,
        dry_run: false,
        name,
        generation: 6,
        devices: 12,
        warnings: Vec::new(),
    })
    .into_response()
}

async fn pairs(Shared(server): Fleet, Query(query): Query<PairQuery>) -> Response {
    let fleet = &server.fleet;
    let all = ListQuery {
        limit: Some(usize::MAX),
        ..ListQuery::default()
    };
    let devices = fleet.devices(&all).unwrap().items;
    let mut items: Vec<_> = devices
        .iter()
        .filter_map(|device| fleet.device(&device.id))
        .flat_map(|device| device.deployments)
        .filter(|pair| {
            query
                .deployment
                .as_ref()
                .is_none_or(|name| pair.deployment == *name)
        })
        .filter(|pair| query.phase.is_none_or(|state| pair.state == state))
        .filter(|pair| query.state.is_none_or(|state| pair.device_state == state))
        .collect();
    let total = items.len() as u64;
    let name = |pair: &PairView| format!("{}.{}", pair.device, pair.deployment);
    items.sort_by_key(name);
    items.retain(|pair| query.after.as_ref().is_none_or(|after| name(pair) > *after));
    // Small pages, so that a client that does not go on is found out.
    let more = items.len() > 5;
    items.truncate(5);
    let next = items.last().filter(|_| more).map(name);
    Json(PairList {
        recovery: fleet.recovery(),
        total,
        items,
        next,
    })
    .into_response()
}

async fn watch(Shared(server): Fleet) -> Response {
    let first = stream::iter([Ok::<_, std::convert::Infallible>(
        Event::default().event("snapshot-end").data("{}"),
    )]);
    let later = stream::unfold(server.fleet.changes(), |mut changes| async move {
        changes.changed().await.ok()?;
        Some((Ok(Event::default().event("pair").data("{}")), changes))
    });
    Sse::new(first.chain(later)).into_response()
}

/// As the operator, for what a terminal can see of it.
async fn logs(
    Shared(server): Fleet,
    Path((name, id)): Path<(String, String)>,
    Query(query): Query<LogsQuery>,
) -> Response {
    server.changes.lock().unwrap().push(format!("logs {query:?}"));
    let of = LogsOf {
        placed: Placed {
            device: id.parse().unwrap(),
            deployment: name.parse().unwrap(),
        },
        init: query.init.clone(),
        previous: query.previous,
        timestamps: query.timestamps,
    };
    match server.fleet.logs(of, query.lines.unwrap_or(200) as usize).await {
        Ok(chunk) => {
            let view = server.fleet.pair(&name, &id);
            Json(LogAnswer {
                deployment: name,
                device: id,
                init: query.init,
                previous: query.previous,
                note: view.as_ref().and_then(words::lines_of_older),
                chunk,
            })
            .into_response()
        }
        Err(error) => ApiError::from(error).into_response(),
    }
}

fn routes(server: Server) -> Router {
    let api =
        Router::new()
            .route(
                "/devices",
                get(|Shared(s): Fleet, Query(q): Query<ListQuery>| async move {
                    Json(s.fleet.devices(&q).unwrap())
                }),
            )
            .route(
                "/devices/{id}",
                get(|Shared(s): Fleet, Path(id): Path<String>| async move {
                    found(&s, s.fleet.device(&id), &format!("device {id:?}"))
                }),
            )
            .route(
                "/deployments",
                get(|Shared(s): Fleet, Query(q): Query<ListQuery>| async move {
                    Json(s.fleet.deployments(&q).unwrap())
                }),
            )
            .route(
                "/deployments/{name}",
                get(|Shared(s): Fleet, Path(name): Path<String>| async move {
                    found(&s, s.fleet.deployment(&name), &format!("deployment {name:?}"))
                })
                .put(put)
                .delete(delete),
            )
            .route(
                "/deployments/{name}/devices/{id}",
                get(
                    |Shared(s): Fleet, Path((name, id)): Path<(String, String)>| async move {
                        found(&s, s.fleet.pair(&name, &id), "pair")
                    },
                ),
            )
            .route("/deployments/{name}/devices/{id}/logs", get(logs))
            .route("/pairs", get(pairs))
            .route(
                "/events",
                get(|Shared(s): Fleet, Query(q): Query<EventQuery>| async move {
                    Json(s.fleet.events(q).await.unwrap())
                }),
            )
            .route("/watch", get(watch));
    Router::new().nest("/api/v0", api).with_state(server)
}

/// Starts a server on a free port; it ends with the process of the test.
pub(crate) fn serve(state: State) -> Server {
    serve_after(Duration::ZERO, state)
}

/// Holds the port at once and answers later.
pub(crate) fn serve_after(delay: Duration, state: State) -> Server {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    // A port that nobody holds refuses, as that of an operator that starts anew.
    let place = listener.local_addr().unwrap();
    let mut listener = Some(listener).filter(|_| delay.is_zero());
    let server = Server {
        fleet: Arc::new(Fabricated::still(state)),
        changes: Arc::default(),
        address,
    };
    let app = routes(server.clone());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            tokio::time::sleep(delay).await;
            let listener = listener.take().unwrap_or_else(|| {
                let listener = std::net::TcpListener::bind(place).unwrap();
                listener.set_nonblocking(true).unwrap();
                listener
            });
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, app).await.unwrap();
        });
    });
    server
}
