//! Random operations beside a map that says what must be there. `ACCLIMATE_SEED=N` replays a seed, `ACCLIMATE_OPERATIONS=N` asks for more.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use acclimate_registry::{AliasMove, Collection, Digest, Kind, Name, Pointer, Registry, RegistryError, Route, Verdict, Version};
use common::{in_memory, name, patch, to};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const NAMES: [&str; 3] = ["movies", "books", "music"];
const ALIASES: [&str; 3] = ["champion", "challenger", "blue"];
const DOMAINS: [&str; 3] = ["tab=1", "tab=2", "films"];

/// What an alias has named, the latest last, with whether it may serve; and its generation.
type Named = (Vec<(Version, bool)>, u64);

/// What the registry must hold.
#[derive(Default)]
struct Model {
    versions: BTreeMap<&'static str, BTreeMap<Version, Digest>>,
    aliases: BTreeMap<(&'static str, &'static str), Named>,
    routes: BTreeMap<&'static str, (&'static str, &'static str)>,
    generation: u64,
}

impl Model {
    fn serves(&self, key: (&str, &str)) -> bool {
        key.1 == "champion" || self.routes.values().any(|&route| route == key)
    }

    fn check(&self, registry: &Registry) {
        for of in NAMES {
            let expected: Vec<Version> = self.versions.get(of).into_iter().flat_map(|versions| versions.keys().copied()).collect();
            assert_eq!(registry.versions(Kind::Patch, &name(of)).unwrap(), expected);
        }
        for (&(of, alias), (named, generation)) in &self.aliases {
            let pointer: Pointer = registry.alias(Kind::Patch, &name(of), &name(alias)).unwrap().unwrap();
            let (version, _) = named[named.len() - 1];
            assert_eq!((pointer.target.version, pointer.generation), (version, *generation));
            assert_eq!(pointer.target.digest, self.versions[of][&version]);
            assert_eq!(pointer.earlier.len(), named.len() - 1);
        }
        for domain in DOMAINS {
            let found = registry.resolve(domain).unwrap().map(|resolved| (resolved.patch, resolved.alias));
            let expected = self.routes.get(domain).map(|&(of, alias)| (name(of), name(alias)));
            assert_eq!(found, expected);
        }
    }
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn refused<T>(result: &Result<T, RegistryError>) -> bool {
    matches!(result, Err(RegistryError::Refused { .. }))
}

#[test]
fn the_registry_is_what_a_map_says() {
    let (seed, operations) = (variable("ACCLIMATE_SEED", 1), variable("ACCLIMATE_OPERATIONS", 5_000));
    println!("seed {seed}, {operations} operations");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (_, registry) = in_memory();
    let mut model = Model::default();
    for operation in 0..operations {
        let (of, alias, domain) =
            (NAMES[random.random_range(0..3)], ALIASES[random.random_range(0..3)], DOMAINS[random.random_range(0..3)]);
        let (seen, key) = (model.aliases.get(&(of, alias)).map_or(0, |alias| alias.1), (of, alias));
        let wrong = u64::from(random.random_ratio(1, 10));
        match random.random_range(0..8) {
            0..=1 => {
                let stored = registry.publish(&patch(of, operation), None).unwrap();
                let versions = model.versions.entry(of).or_default();
                let next = versions.keys().last().map_or(Version::FIRST, |last| last.next().unwrap());
                assert_eq!(stored.manifest.version, next);
                versions.insert(next, stored.digest);
            }
            2..=4 => {
                let versions: Vec<Version> = model.versions.get(of).into_iter().flat_map(|v| v.keys().copied()).collect();
                let Some(&version) = versions.get(random.random_range(0..=versions.len())) else { continue };
                let (promoted, force) = (random.random_bool(0.5), random.random_bool(0.2));
                let verdict = if promoted { Verdict::Promoted } else { Verdict::Rejected };
                let wish = AliasMove { version, verdict, force, ..to(of, alias, 1, seen + wrong) };
                let moved = registry.move_alias(&wish);
                if wrong == 1 {
                    assert!(matches!(moved, Err(RegistryError::Stale { .. })));
                } else if model.serves(key) && !promoted && !force {
                    assert!(refused(&moved));
                } else {
                    moved.unwrap();
                    let (named, generation) = model.aliases.entry(key).or_default();
                    named.push((version, promoted || force));
                    named.drain(..named.len().saturating_sub(1 + Pointer::EARLIER));
                    *generation += 1;
                }
            }
            5 => {
                let back = registry.rollback(Kind::Patch, &name(of), &name(alias), seen, ("tests", "to see"));
                let earlier = model.aliases.get(&key).and_then(|(named, _)| named.iter().rev().nth(1).copied());
                match earlier {
                    None => assert!(matches!(back, Err(RegistryError::NothingEarlier { .. }))),
                    Some((_, false)) if model.serves(key) => assert!(refused(&back)),
                    Some(_) => {
                        back.unwrap();
                        let (named, generation) = model.aliases.get_mut(&key).unwrap();
                        named.pop();
                        *generation += 1;
                    }
                }
            }
            6 => {
                let route = random.random_bool(0.7).then(|| Route { patch: name(of), alias: name(alias) });
                let gone = route.is_none();
                let set = registry.set_route(domain, route, model.generation + wrong, ("tests", "to see"));
                let fits = model.aliases.get(&key).is_some_and(|(named, _)| named[named.len() - 1].1);
                if wrong == 1 {
                    assert!(matches!(set, Err(RegistryError::Stale { .. })));
                } else if !gone && model.routes.get(domain) != Some(&key) && !fits {
                    assert!(refused(&set));
                } else {
                    let before = if gone { model.routes.remove(domain) } else { model.routes.insert(domain, key) };
                    model.generation += u64::from(before != (!gone).then_some(key));
                    assert_eq!(set.unwrap().generation, model.generation);
                }
            }
            _ => {
                let collected = registry.collect(Collection { now: i64::MAX, grace: 0, dry_run: false }).unwrap();
                let gone: BTreeSet<(Name, Version)> = collected.versions.into_iter().map(|(_, name, version)| (name, version)).collect();
                for (&of, versions) in &mut model.versions {
                    let last = *versions.keys().last().unwrap();
                    let named: BTreeSet<Version> =
                        model.aliases.iter().filter(|(key, _)| key.0 == of).flat_map(|(_, (named, _))| named.iter().map(|n| n.0)).collect();
                    versions.retain(|&version, _| {
                        let kept = version == last || named.contains(&version);
                        assert_eq!(gone.contains(&(name(of), version)), !kept);
                        kept
                    });
                }
            }
        }
        model.check(&registry);
        if operation % 100 == 0 {
            assert!(registry.verify_all().unwrap().is_empty(), "operation {operation}");
        }
    }
}
