//! docs/serving.md, done as a reader would: from the demo's data to a served, promoted and rolled-back patch, with the commands of the page.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A server that is ended with the test.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// The commands of the page's blocks of shell, each with its continuation lines.
fn commands(page: &str) -> Vec<String> {
    let mut commands = Vec::new();
    for block in page.split("```sh\n").skip(1) {
        let block = block.split("```").next().unwrap();
        let mut lines: Vec<String> = Vec::new();
        for line in block.lines() {
            match lines.last_mut() {
                // A quote that is still open goes on.
                Some(last) if last.matches('\'').count() % 2 == 1 => write!(last, "\n{line}").unwrap(),
                _ => lines.push(line.to_owned()),
            }
        }
        commands.extend(lines);
    }
    commands
}

fn shell(folder: &Path, path: &str, command: &str) -> String {
    let output =
        Command::new("sh").current_dir(folder).env("PATH", path).env_remove("ACCLIMATE_DATA").args(["-c", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_page_on_serving_can_be_followed() {
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("skipped: there is no curl, and the page's requests are its");
        return;
    }
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/serving.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_acclimate"));
    let path = format!("{}:{}", binary.parent().unwrap().display(), std::env::var("PATH").unwrap());
    shell(folder.path(), &path, "acclimate demo --out my-demo --quiet");
    let at = folder.path().join("my-demo/data");
    // A port that is free; the page says 8787 and 8788.
    let ports: Vec<u16> = [(); 2]
        .map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap())
        .iter()
        .map(|socket| socket.local_addr().unwrap().port())
        .collect();
    let mut served: Option<Served> = None;
    let mut answers: Vec<(String, Value)> = Vec::new();
    for command in commands(&page) {
        let command = command.replace("localhost:8787", &format!("127.0.0.1:{}", ports[0]));
        if command == "cd my-demo/data" {
            continue;
        }
        if command.starts_with("acclimate serve") {
            let own = format!("exec {command} --listen 127.0.0.1:{} --admin 127.0.0.1:{}", ports[0], ports[1]);
            let child = Command::new("sh")
                .current_dir(&at)
                .env("PATH", &path)
                .args(["-c", &own])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            served = Some(Served(child));
            wait_until(|| get(&at, ports[0], "/readyz").is_some_and(|ready| ready["ready"] == true));
            continue;
        }
        let said = shell(&at, &path, &command);
        if command.starts_with("curl") {
            let answer: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{command}: {error}: {said}"));
            assert!(answer.get("error").is_none(), "{command}: {said}");
            answers.push((command, answer));
        }
    }
    let [(_, by_domain), (_, new_user), (_, event)] = &answers[..] else { panic!("three requests, not {answers:?}") };
    let served_by = |answer: &Value| {
        (answer["served"]["patch"]["name"].clone(), answer["served"]["kind"].clone(), answer["served"]["fallback"].clone())
    };
    assert_eq!(served_by(by_domain), ("films-target".into(), "epilogue".into(), Value::Null));
    assert_eq!((by_domain["scores"].as_array().unwrap().len(), &by_domain["served"]["state"]["position"]), (3, &0.into()));
    assert_eq!((&by_domain["served"]["patch"]["verdict"], &by_domain["served"]["patch"]["forced"]), (&"promoted".into(), &false.into()));
    assert_eq!(served_by(new_user), ("films-users".into(), "personal".into(), Value::Null), "{new_user}");
    assert_eq!((&new_user["served"]["adapted"]["form"], &new_user["served"]["adapted"]["rows"]), (&"inner_steps".into(), &4.into()));
    assert_eq!((&event["recorded"], &event["state"]["position"]), (&1.into(), &1.into()), "{event}");
    // The patch was swapped and taken back; the server has followed.
    wait_until(|| get(&at, ports[0], "/v1/patches").is_some_and(|found| found.to_string().contains("\"champion\":\"v000001\"")));
    assert!(served.is_some());
}

fn get(folder: &Path, port: u16, route: &str) -> Option<Value> {
    let output = Command::new("curl").current_dir(folder).args(["-s", &format!("http://127.0.0.1:{port}{route}")]).output().ok()?;
    serde_json::from_slice(&output.stdout).ok()
}

fn wait_until(mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "it does not come");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Every key of the settings that `serve --config` reads.
#[test]
fn the_page_on_serving_has_every_setting() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/serving.md")).unwrap();
    let limits = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/serving-limits.md")).unwrap();
    let table = |heading: &str| {
        let after =
            page.split_once(&format!("| `[{heading}]` | meaning | default |\n")).unwrap_or_else(|| panic!("no table of [{heading}]")).1;
        after.split("\n\n").next().unwrap().to_owned()
    };
    let keys = |value: Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let server = serde_json::to_value(acclimate_serve::http::ServerConfig::default()).unwrap();
    let engine = serde_json::to_value(acclimate_serve::engine::EngineConfig::default()).unwrap();
    let events = engine["events"].clone();
    for (heading, value) in [("server", server.clone()), ("engine", engine), ("engine.events", events)] {
        let table = table(heading);
        for key in keys(value).iter().filter(|key| *key != "events") {
            assert!(table.contains(&format!("`{key}`")), "[{heading}] {key} stands not in docs/serving.md");
        }
    }
    for key in keys(server["limits"].clone()) {
        assert!(limits.contains(&format!("`{key}`")), "limits.{key} stands not in docs/serving-limits.md");
    }
}
