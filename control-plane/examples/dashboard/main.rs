//! Serves the dashboard of a fleet that exists only in memory, to look at its pages:
//! `cargo run -p fleet-control-plane --example dashboard -- busy 8490` (or `calm`, `empty`, `recovering`, `hostile`, `large`).

mod fabricated;

use std::sync::Arc;

use anyhow::{Context, bail};
use fabricated::Fabricated;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let scene = args.next().unwrap_or_else(|| "busy".to_owned());
    let port: u16 = args
        .next()
        .unwrap_or_else(|| "8490".to_owned())
        .parse()
        .context("the port is no number")?;
    let make = match scene.as_str() {
        "busy" => fabricated::busy,
        "calm" => fabricated::calm,
        "empty" => fabricated::empty,
        "recovering" => fabricated::recovering,
        "hostile" => fabricated::hostile,
        "large" => fabricated::large,
        other => bail!("{other:?} is none of busy, calm, empty, recovering, hostile, large"),
    };
    let fleet = Arc::new(Fabricated::running(make, fabricated::fixed_now()));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port))
        .await
        .with_context(|| format!("port {port}"))?;
    println!("http://127.0.0.1:{port}/ shows a {scene} fleet");
    let never = tokio::sync::watch::channel(false).1;
    let app = fleet_control_plane::web::router(fleet, never).fallback(fleet_control_plane::web::not_found);
    axum::serve(listener, app).await.context("serving")
}
