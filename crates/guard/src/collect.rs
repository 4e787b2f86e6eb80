//! Namespaces that a container made for itself stay in the map when it ends: the agent collects them.

use std::collections::HashSet;

use libbpf_rs::MapCore;

use crate::bpf::{GuardMaps, NamespaceKey, decode};
use crate::error::{Error, bpf_error};

/// Removes the namespaces of containers that are no more.
pub(crate) fn dead_namespaces(maps: &GuardMaps<'_>) -> Result<(), Error> {
    let keys: Vec<Vec<u8>> = maps.namespaces.keys().collect();
    // Read after the keys: a container born in between is alive here.
    let alive: HashSet<Vec<u8>> = maps.containers.keys().collect();
    for key in keys {
        let Some(namespace) = decode::<NamespaceKey>(&key) else { continue };
        if namespace.cid != 0 && !alive.contains(namespace.cid.to_ne_bytes().as_slice()) {
            match maps.namespaces.delete(&key) {
                Err(e) if e.kind() != libbpf_rs::ErrorKind::NotFound => {
                    return Err(bpf_error("clean the maps of")(e));
                }
                _ => {}
            }
        }
    }
    Ok(())
}
