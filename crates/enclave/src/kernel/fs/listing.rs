//! Directories that are not the host's alone: what is in them is put together when reading begins.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use casemate_enclave::vfs::path;
use casemate_enclave::vfs::tmpfs::{Change, Item, Node};
use casemate_enclave_abi::{Errno, Stat, StatFs};
use spin::Mutex;

use super::Carried;
use super::devices::now;
use super::file::{Each, File, Sink};
use super::host_file::HostFile;
use super::namespace;
use super::namespace::mounts::{self, MemoryMount};
use super::synthetic;

/// Where reading of a directory goes on.
pub(crate) type Cookie = u64;

/// Kind of a directory, as directories have it.
const DT_DIR: u8 = 4;

/// Whose directory it is.
pub(super) enum Owner {
    /// A tmpfs; names of the host's directory at the same path may show through.
    Memory { node: Arc<Node>, mount: &'static MemoryMount },
    /// The host's, if it has it, with mounts below.
    Host(Option<Arc<HostFile>>),
    /// `/proc`, `/sys`, `/dev`.
    Synthetic,
}

/// A directory, opened.
pub(super) struct Listing {
    pub(super) owner: Owner,
    /// Normal, without links.
    pub(super) path: String,
    pub(super) items: Mutex<Arc<Vec<Item>>>,
}

impl Listing {
    pub(super) fn new(owner: Owner, path: String) -> Self {
        Self { owner, path, items: Mutex::new(Arc::default()) }
    }

    fn items(&self) -> Result<Vec<Item>, Errno> {
        let parent = path::split(&self.path).map_or("/", |(parent, _)| parent);
        let dot = |name: &str, path: &str| {
            let ino = namespace::ino(path).unwrap_or(1);
            Item { name: name.into(), ino, kind: DT_DIR }
        };
        let mut items = alloc::vec![dot(".", &self.path), dot("..", parent)];
        match &self.owner {
            Owner::Memory { node, mount } => {
                items.append(&mut node.list());
                if mount.shows(&self.path) {
                    let mut below = namespace::through_items(mount, &self.path);
                    below.retain(|item| items.iter().all(|known| known.name != item.name));
                    items.append(&mut below);
                }
            }
            Owner::Host(Some(file)) => namespace::read_items(file, &mut items),
            Owner::Host(None) => {}
            Owner::Synthetic => items.append(&mut synthetic::list(&self.path)),
        }
        for name in mounts::names_below(&self.path) {
            if items.iter().all(|item| item.name != name) {
                items.push(dot(name, &path::join(&self.path, name)));
            }
        }
        Ok(items)
    }
}

impl File for Listing {
    fn carry(&self) -> Result<Carried, Errno> {
        Ok(Carried::Again)
    }

    fn stat(&self) -> Result<Stat, Errno> {
        match &self.owner {
            Owner::Memory { node, mount } => Ok(node.stat(mount.device)),
            Owner::Host(Some(file)) => file.stat(),
            Owner::Host(None) => Ok(namespace::synthetic_directory(&self.path)),
            Owner::Synthetic => synthetic::stat(&self.path),
        }
    }

    fn stat_fs(&self) -> Result<StatFs, Errno> {
        match &self.owner {
            Owner::Memory { .. } | Owner::Host(None) => Ok(mounts::stat_fs()),
            Owner::Host(Some(file)) => file.stat_fs(),
            Owner::Synthetic => Ok(synthetic::stat_fs(&self.path)),
        }
    }

    fn seekable(&self) -> bool {
        true
    }

    fn read(&self, _position: u64, _to: &mut Sink<'_>, _nonblock: bool) -> Result<usize, Errno> {
        Err(Errno::EISDIR)
    }

    fn read_dir(&self, from: Cookie, each: &mut Each<'_>) -> Result<(), Errno> {
        if from == 0 {
            let items = Arc::new(self.items()?);
            *self.items.lock() = items;
        }
        let items = Arc::clone(&self.items.lock());
        let skip = usize::try_from(from).unwrap_or(usize::MAX);
        for (next, item) in (1..).zip(items.iter()).skip(skip) {
            if !each(next, item.ino, item.kind, item.name.as_bytes()) {
                break;
            }
        }
        Ok(())
    }

    fn pollable(&self) -> bool {
        false
    }

    fn sync(&self, _data_only: bool) -> Result<(), Errno> {
        Ok(())
    }

    fn change(&self, change: Change) -> Result<(), Errno> {
        match &self.owner {
            Owner::Memory { node, .. } => {
                node.change(change, now());
                Ok(())
            }
            Owner::Host(Some(file)) => file.change(change),
            Owner::Host(None) => Err(Errno::EROFS),
            Owner::Synthetic => Err(Errno::EPERM),
        }
    }
}
