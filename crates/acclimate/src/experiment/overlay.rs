//! Layers of config keys.

/// `over` laid onto `under`: tables are merged key by key, everything else is replaced.
#[must_use]
pub fn overlay(under: &toml::Table, over: &toml::Table) -> toml::Table {
    let mut merged = under.clone();
    for (key, value) in over {
        let value = match (merged.get(key), value) {
            (Some(toml::Value::Table(under)), toml::Value::Table(over)) => toml::Value::Table(overlay(under, over)),
            _ => value.clone(),
        };
        merged.insert(key.clone(), value);
    }
    merged
}
