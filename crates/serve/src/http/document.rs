//! The description of the protocol, for programs and for people.

use std::fmt::Write;
use std::sync::LazyLock;

use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use serde_json::Value;

use super::problem::reply;

/// The description in OpenAPI 3.1; a test holds it against the list of routes.
pub(crate) const OPENAPI: &str = include_str!("openapi.json");

/// The same as a page that needs nothing from elsewhere.
pub(crate) fn page() -> Response<Body> {
    static PAGE: LazyLock<String> = LazyLock::new(|| {
        let document = serde_json::from_str(OPENAPI).expect("the document is part of the program, and a test reads it");
        rendered(&document)
    });
    let mut response = reply(200, "text/html; charset=utf-8", PAGE.as_str());
    let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

fn rendered(document: &Value) -> String {
    let mut page = String::from(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Acclimate</title><style>body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}\
         pre{background:#f4f4f4;padding:.8em;overflow:auto}h2{margin-top:2em;font-family:monospace}dt{font-family:monospace;margin-top:.5em}</style><h1>Acclimate</h1>",
    );
    paragraph(&mut page, &document["info"]["description"]);
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            write!(page, "<h2>{} {}</h2>", escaped(&method.to_uppercase()), escaped(path)).expect("a string takes any text");
            paragraph(&mut page, &operation["summary"]);
            paragraph(&mut page, &operation["description"]);
            let content = &operation["requestBody"]["content"]["application/json"];
            if let Value::Object(_) = &content["example"] {
                let body = content["example"].to_string();
                let line = format!("curl -H 'Authorization: Bearer KEY' http://HOST{path} -d '{body}'");
                write!(page, "<pre>{}</pre>", escaped(&line)).expect("a string takes any text");
            }
            let name = content["schema"]["$ref"].as_str().and_then(|name| name.rsplit('/').next()).unwrap_or_default();
            keys(&mut page, &document["components"]["schemas"][name]["properties"]);
        }
    }
    page.push_str("<p>All of it: <a href=\"/openapi.json\">/openapi.json</a>.</p></html>\n");
    page
}

fn paragraph(page: &mut String, text: &Value) {
    if let Some(text) = text.as_str() {
        write!(page, "<p>{}</p>", escaped(text)).expect("a string takes any text");
    }
}

fn keys(page: &mut String, properties: &Value) {
    let Some(properties) = properties.as_object() else { return };
    page.push_str("<dl>");
    for (key, schema) in properties {
        let about = schema["description"].as_str().unwrap_or_default();
        write!(page, "<dt>{}</dt><dd>{}</dd>", escaped(key), escaped(about)).expect("a string takes any text");
    }
    page.push_str("</dl>");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
