//! Layers of config keys.

/// `over` laid onto `under`: tables are merged key by key, everything else is replaced. A table of another `kind` is something else.
#[must_use]
pub fn overlay(under: &toml::Table, over: &toml::Table) -> toml::Table {
    let mut merged = under.clone();
    for (key, value) in over {
        let value = match (merged.get(key), value) {
            (Some(toml::Value::Table(under)), toml::Value::Table(over))
                if over.get("kind").is_none_or(|kind| under.get("kind") == Some(kind)) =>
            {
                toml::Value::Table(overlay(under, over))
            }
            _ => value.clone(),
        };
        merged.insert(key.clone(), value);
    }
    merged
}
