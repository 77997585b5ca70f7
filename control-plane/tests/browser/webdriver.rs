//! A browser, driven by the WebDriver protocol (W3C) through `chromedriver`: just what the tests ask, over the HTTP client that
//! `fleetctl` uses anyway.

#![allow(unreachable_pub, reason = "a module of one test")]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ureq::Agent;

/// Longest wait for anything on a page.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// One headless browser with an empty profile. Dropping it ends it and its driver.
pub struct Browser {
    driver: Child,
    agent: Agent,
    session: String,
    _profile: tempfile::TempDir,
}

/// How a page is looked at.
#[derive(Clone, Copy)]
pub struct Look {
    pub width: u32,
    pub dark: bool,
    pub script: bool,
}

impl Browser {
    /// Starts a browser.
    ///
    /// # Panics
    /// When `chromedriver` or `chromium` is not installed: a test that needs one fails, it is never skipped.
    #[allow(clippy::disallowed_methods, reason = "a test's own process, ended on drop")]
    pub fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is installed: apt-get install chromium chromium-driver");
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .build()
            .new_agent();
        let profile = tempfile::tempdir().unwrap();
        let mut browser = Self {
            driver,
            agent,
            session: format!("http://127.0.0.1:{port}"),
            _profile: profile,
        };
        let deadline = Instant::now() + PATIENCE;
        while browser
            .agent
            .get(format!("{}/status", browser.session))
            .call()
            .is_err()
        {
            assert!(Instant::now() < deadline, "chromedriver does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        let arguments = [
            "--headless".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-quic".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            "--disable-sync".to_owned(),
            "--hide-scrollbars".to_owned(),
            format!("--user-data-dir={}", browser._profile.path().display()),
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let session = browser.post("/session", &wanted);
        browser.session = format!(
            "{}/session/{}",
            browser.session,
            session["sessionId"].as_str().unwrap()
        );
        browser
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let text = serde_json::to_vec(body).unwrap();
        let request = self
            .agent
            .post(format!("{}{path}", self.session))
            .content_type("application/json");
        let mut response = request.send(&text).unwrap();
        let answer = response
            .body_mut()
            .with_config()
            .limit(64 << 20)
            .read_to_string()
            .unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert!(
            answer["value"].get("error").is_none(),
            "{path}: {}",
            answer["value"]
        );
        answer["value"].clone()
    }

    fn cdp(&self, command: &str, params: &Value) -> Value {
        self.post("/goog/cdp/execute", &json!({"cmd": command, "params": params}))
    }

    /// Sets how pages are looked at from the next [`Browser::open`] on.
    pub fn look(&self, look: Look) {
        let metrics =
            json!({"width": look.width, "height": 844, "deviceScaleFactor": 1, "mobile": look.width < 500});
        self.cdp("Emulation.setDeviceMetricsOverride", &metrics);
        let scheme = if look.dark { "dark" } else { "light" };
        self.cdp(
            "Emulation.setEmulatedMedia",
            &json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]}),
        );
        self.cdp(
            "Emulation.setScriptExecutionDisabled",
            &json!({"value": !look.script}),
        );
    }

    /// Opens a page and waits until it is loaded.
    pub fn open(&self, address: &str) {
        self.post("/url", &json!({"url": address}));
    }

    /// What a script returns. The script runs from outside the page, so it works under the page's policy and without the page's
    /// own script.
    pub fn ask(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({"script": script, "args": []}))
    }

    /// Waits until a script returns `true`.
    pub fn wait(&self, script: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.ask(script) != Value::Bool(true) {
            assert!(
                Instant::now() < deadline,
                "not in time: {script}\n{}",
                self.text()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The text that a person sees.
    pub fn text(&self) -> String {
        let body = self.post("/element", &json!({"using": "css selector", "value": "body"}));
        let id = body
            .as_object()
            .unwrap()
            .values()
            .next()
            .unwrap()
            .as_str()
            .unwrap()
            .to_owned();
        let mut response = self
            .agent
            .get(format!("{}/element/{id}/text", self.session))
            .call()
            .unwrap();
        let answer: Value = serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap();
        answer["value"].as_str().unwrap().to_owned()
    }

    /// Presses a key.
    pub fn press(&self, key: char) {
        let actions = json!({"actions": [{"type": "key", "id": "keyboard", "actions": [
            {"type": "keyDown", "value": key.to_string()}, {"type": "keyUp", "value": key.to_string()},
        ]}]});
        self.post("/actions", &actions);
    }

    /// What the console said since it was last asked.
    pub fn console(&self) -> Vec<String> {
        let entries = self.post("/se/log", &json!({"type": "browser"}));
        entries
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["message"].as_str().unwrap_or_default().to_owned())
            .collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.agent.delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
