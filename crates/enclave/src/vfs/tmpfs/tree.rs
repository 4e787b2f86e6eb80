//! Names in memory. Paths here are relative to the tree's root, normal and without links: `a/b`, and `` for the root.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;

use casemate_enclave_abi::Errno;
use casemate_enclave_abi::stat::FileTime;
use spin::Mutex;

use super::contents::Budget;
use super::node::{Body, Change, Make, Node};

/// Of renameat2(2): not over anything.
pub const RENAME_NOREPLACE: u32 = 1;
/// Of renameat2(2): the two change places.
pub const RENAME_EXCHANGE: u32 = 2;

/// How deep directories may be: dropping a tree recurses.
const MAX_DEPTH: usize = 128;

/// A tree of files.
#[derive(Debug)]
pub struct Tree {
    root: Arc<Node>,
    /// Held while names change.
    changes: Mutex<()>,
}

type Names = BTreeMap<String, Arc<Node>>;

/// Directory and name of a path; `None` for the root.
fn split(path: &str) -> Option<(&str, &str)> {
    match path.rsplit_once('/') {
        Some(parts) => Some(parts),
        None if path.is_empty() => None,
        None => Some(("", path)),
    }
}

/// Runs `f` on the names of a directory.
fn with_names<T>(node: &Node, f: impl FnOnce(&mut Names) -> Result<T, Errno>) -> Result<T, Errno> {
    match &mut node.state().body {
        Body::Directory(names) => f(names),
        _ => Err(Errno::ENOTDIR),
    }
}

impl Tree {
    /// An empty tree.
    ///
    /// # Errors
    /// ENOSPC.
    pub fn new(budget: &Arc<Budget>, make: Make) -> Result<Self, Errno> {
        Ok(Self { root: Node::directory(budget, make)?, changes: Mutex::new(()) })
    }

    /// What lies at a path.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR.
    pub fn lookup(&self, path: &str) -> Result<Arc<Node>, Errno> {
        let mut node = Arc::clone(&self.root);
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let child = with_names(&node, |names| names.get(name).cloned().ok_or(Errno::ENOENT))?;
            node = child;
        }
        Ok(node)
    }

    /// The directory of a path, and the name in it.
    fn parent<'a>(&self, path: &'a str) -> Result<(Arc<Node>, &'a str), Errno> {
        let (parent, name) = split(path).ok_or(Errno::EBUSY)?;
        if path.split('/').count() > MAX_DEPTH {
            return Err(Errno::ENOSPC);
        }
        let node = self.lookup(parent)?;
        if !node.is_directory() {
            return Err(Errno::ENOTDIR);
        }
        Ok((node, name))
    }

    fn insert(
        &self,
        path: &str,
        now: FileTime,
        make: impl FnOnce(&Arc<Budget>) -> Result<Arc<Node>, Errno>,
    ) -> Result<Arc<Node>, Errno> {
        let _changes = self.changes.lock();
        if path.is_empty() {
            return Err(Errno::EEXIST);
        }
        let (parent, name) = self.parent(path)?;
        with_names(&parent, |names| if names.contains_key(name) { Err(Errno::EEXIST) } else { Ok(()) })?;
        let node = make(parent.budget())?;
        let directory = node.is_directory();
        node.state().nlink += u32::from(!directory);
        with_names(&parent, |names| {
            names.insert(name.into(), Arc::clone(&node));
            Ok(())
        })?;
        parent.state().nlink += u32::from(directory);
        touch(&parent, now);
        Ok(node)
    }

    /// Makes an empty file.
    ///
    /// # Errors
    /// EEXIST, ENOENT, ENOTDIR, ENOSPC.
    pub fn create(&self, path: &str, make: Make) -> Result<Arc<Node>, Errno> {
        self.insert(path, make.now, |budget| Node::file(budget, make))
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// EEXIST, ENOENT, ENOTDIR, ENOSPC.
    pub fn make_directory(&self, path: &str, make: Make) -> Result<Arc<Node>, Errno> {
        self.insert(path, make.now, |budget| Node::directory(budget, make))
    }

    /// Makes a symbolic link.
    ///
    /// # Errors
    /// EEXIST, ENOENT, ENOTDIR, ENOSPC.
    pub fn symbolic_link(&self, path: &str, target: &str, make: Make) -> Result<Arc<Node>, Errno> {
        self.insert(path, make.now, |budget| Node::symbolic_link(budget, make, target))
    }

    /// Gives a node another name.
    ///
    /// # Errors
    /// EPERM: it is a directory. EEXIST, ENOENT, ENOTDIR.
    pub fn link(&self, node: &Arc<Node>, path: &str, now: FileTime) -> Result<(), Errno> {
        self.insert(path, now, |_| if node.is_directory() { Err(Errno::EPERM) } else { Ok(Arc::clone(node)) })
            .map(|_| ())
    }

    /// Removes the name of something that is no directory.
    ///
    /// # Errors
    /// EISDIR, ENOENT, ENOTDIR, EBUSY: the root.
    pub fn unlink(&self, path: &str, now: FileTime) -> Result<(), Errno> {
        let _changes = self.changes.lock();
        let (parent, name) = self.parent(path)?;
        let node = with_names(&parent, |names| names.get(name).cloned().ok_or(Errno::ENOENT))?;
        if node.is_directory() {
            return Err(Errno::EISDIR);
        }
        with_names(&parent, |names| Ok(names.remove(name)))?;
        unnamed(&node, now);
        touch(&parent, now);
        Ok(())
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// ENOTEMPTY, ENOENT, ENOTDIR, EBUSY: the root.
    pub fn remove_directory(&self, path: &str, now: FileTime) -> Result<(), Errno> {
        let _changes = self.changes.lock();
        let (parent, name) = self.parent(path)?;
        let node = with_names(&parent, |names| names.get(name).cloned().ok_or(Errno::ENOENT))?;
        with_names(&node, |names| if names.is_empty() { Ok(()) } else { Err(Errno::ENOTEMPTY) })?;
        with_names(&parent, |names| Ok(names.remove(name)))?;
        node.state().nlink = 0;
        parent.state().nlink -= 1;
        touch(&parent, now);
        Ok(())
    }

    /// Moves `old` to `new`, over what is there as rename(2) has it; `flags` of renameat2(2).
    ///
    /// # Errors
    /// ENOENT, ENOTDIR, EISDIR, ENOTEMPTY, EEXIST, EBUSY: the root. EINVAL: into itself.
    pub fn rename(&self, old: &str, new: &str, flags: u32, now: FileTime) -> Result<(), Errno> {
        let _changes = self.changes.lock();
        let (old_parent, old_name) = self.parent(old)?;
        let (new_parent, new_name) = self.parent(new)?;
        let node = with_names(&old_parent, |names| names.get(old_name).cloned().ok_or(Errno::ENOENT))?;
        let there = with_names(&new_parent, |names| Ok(names.get(new_name).cloned()))?;
        if flags & RENAME_NOREPLACE != 0 && there.is_some() {
            return Err(Errno::EEXIST);
        }
        if flags & RENAME_EXCHANGE != 0 && there.is_none() {
            return Err(Errno::ENOENT);
        }
        if lies_below(new, old) || flags & RENAME_EXCHANGE != 0 && lies_below(old, new) {
            return Err(Errno::EINVAL);
        }
        if lies_below(old, new) {
            return Err(Errno::ENOTEMPTY);
        }
        if flags & RENAME_EXCHANGE != 0 {
            let there = there.ok_or(Errno::ENOENT)?;
            put(&old_parent, old_name, &there)?;
            put(&new_parent, new_name, &node)?;
            let moved = [node.is_directory(), there.is_directory()];
            recount(&old_parent, moved[0], moved[1]);
            recount(&new_parent, moved[1], moved[0]);
        } else {
            if let Some(there) = &there {
                if Arc::ptr_eq(there, &node) {
                    // Two names of one file: rename(2) does nothing.
                    return Ok(());
                }
                may_replace(&node, there)?;
            }
            with_names(&old_parent, |names| Ok(names.remove(old_name)))?;
            put(&new_parent, new_name, &node)?;
            recount(&old_parent, node.is_directory(), false);
            let gone = there.as_ref().is_some_and(|there| there.is_directory());
            recount(&new_parent, gone, node.is_directory());
            if let Some(there) = &there {
                unnamed(there, now);
            }
        }
        touch(&old_parent, now);
        touch(&new_parent, now);
        Ok(())
    }
}

/// Whether `path` lies in `directory`, and is not it.
fn lies_below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

/// Whether a name of `there` may become a name of `node`.
fn may_replace(node: &Node, there: &Node) -> Result<(), Errno> {
    match (node.is_directory(), there.is_directory()) {
        (true, false) => Err(Errno::ENOTDIR),
        (false, true) => Err(Errno::EISDIR),
        (true, true) => {
            with_names(there, |names| if names.is_empty() { Ok(()) } else { Err(Errno::ENOTEMPTY) })
        }
        (false, false) => Ok(()),
    }
}

fn put(parent: &Node, name: &str, node: &Arc<Node>) -> Result<(), Errno> {
    // What was there is dropped without the directory's lock.
    with_names(parent, |names| Ok(names.insert(name.into(), Arc::clone(node)))).map(drop)
}

/// Keeps a directory's count of links: one for each directory in it.
fn recount(parent: &Node, gone: bool, come: bool) {
    let mut state = parent.state();
    state.nlink = state.nlink + u32::from(come) - u32::from(gone);
}

/// A node has lost a name.
fn unnamed(node: &Node, now: FileTime) {
    let mut state = node.state();
    let directory = matches!(state.body, Body::Directory(_));
    state.nlink = if directory { 0 } else { state.nlink.saturating_sub(1) };
    drop(state);
    node.change(Change::Times(None, None), now);
}

/// A directory has changed.
fn touch(directory: &Node, now: FileTime) {
    directory.change(Change::Times(None, Some(now)), now);
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn tree() -> (Arc<Budget>, Tree) {
        let budget = Arc::new(Budget::new(1 << 20));
        let tree = Tree::new(&budget, Make { mode: 0o1777, ..Make::default() }).unwrap();
        (budget, tree)
    }

    const MAKE: Make = Make { mode: 0o644, uid: 1, gid: 2, now: FileTime { seconds: 5, nanoseconds: 6 } };
    const NOW: FileTime = FileTime { seconds: 7, nanoseconds: 8 };

    fn nlink(tree: &Tree, path: &str) -> u64 {
        tree.lookup(path).unwrap().stat(1).nlink
    }

    #[test]
    fn names_come_and_go() {
        let (budget, tree) = tree();
        let empty = budget.used();
        tree.make_directory("d", MAKE).unwrap();
        assert_eq!(tree.make_directory("d", MAKE).unwrap_err(), Errno::EEXIST);
        assert_eq!(tree.create("x/f", MAKE).unwrap_err(), Errno::ENOENT);
        let file = tree.create("d/f", MAKE).unwrap();
        assert_eq!(tree.create("d/f/g", MAKE).unwrap_err(), Errno::ENOTDIR);
        assert_eq!(tree.lookup("d/f/g").unwrap_err(), Errno::ENOTDIR);
        tree.symbolic_link("d/l", "../t", MAKE).unwrap();
        assert_eq!(tree.lookup("d/l").unwrap().target().as_deref(), Some("../t"));
        tree.link(&file, "d/g", NOW).unwrap();
        assert_eq!(nlink(&tree, "d/f"), 2);
        assert_eq!(tree.remove_directory("d", NOW).unwrap_err(), Errno::ENOTEMPTY);
        assert_eq!(tree.unlink("d", NOW).unwrap_err(), Errno::EISDIR);
        assert_eq!(tree.remove_directory("d/f", NOW).unwrap_err(), Errno::ENOTDIR);
        let names: Vec<_> = tree.lookup("d").unwrap().list().into_iter().map(|i| (i.name, i.kind)).collect();
        assert_eq!(names, [("f".into(), 8), ("g".into(), 8), ("l".into(), 10)]);
        for name in ["d/f", "d/g", "d/l"] {
            tree.unlink(name, NOW).unwrap();
        }
        assert_eq!(file.stat(1).nlink, 0);
        assert_eq!((nlink(&tree, ""), nlink(&tree, "d")), (3, 2));
        tree.remove_directory("d", NOW).unwrap();
        assert_eq!(nlink(&tree, ""), 2);
        assert_eq!(tree.remove_directory("", NOW).unwrap_err(), Errno::EBUSY);
        // The file lives while it is open.
        assert_eq!(file.write(None, b"abc", NOW), Ok((3, 3)));
        drop(file);
        assert_eq!(budget.used(), empty);
    }

    #[test]
    fn rename_replaces_as_linux_does() {
        let (_, tree) = tree();
        for directory in ["a", "a/b", "full", "full/x"] {
            tree.make_directory(directory, MAKE).unwrap();
        }
        tree.create("f", MAKE).unwrap();
        let g = tree.create("g", MAKE).unwrap();
        assert_eq!(tree.rename("none", "f", 0, NOW), Err(Errno::ENOENT));
        assert_eq!(tree.rename("a", "a/b/c", 0, NOW), Err(Errno::EINVAL));
        assert_eq!(tree.rename("a", "f", 0, NOW), Err(Errno::ENOTDIR));
        assert_eq!(tree.rename("f", "a", 0, NOW), Err(Errno::EISDIR));
        assert_eq!(tree.rename("a", "full", 0, NOW), Err(Errno::ENOTEMPTY));
        assert_eq!(tree.rename("f", "g", RENAME_NOREPLACE, NOW), Err(Errno::EEXIST));
        assert_eq!(tree.rename("f", "h", RENAME_EXCHANGE, NOW), Err(Errno::ENOENT));
        tree.rename("f", "g", 0, NOW).unwrap();
        assert_eq!(g.stat(1).nlink, 0);
        assert_eq!(tree.lookup("f").unwrap_err(), Errno::ENOENT);
        tree.rename("g", "a", RENAME_EXCHANGE, NOW).unwrap();
        assert!(tree.lookup("g/b").is_ok());
        assert!(!tree.lookup("a").unwrap().is_directory());
        tree.rename("g/b", "moved", 0, NOW).unwrap();
        assert_eq!((nlink(&tree, ""), nlink(&tree, "g")), (5, 2));
        tree.rename("g", "moved", 0, NOW).unwrap();
        assert_eq!(nlink(&tree, ""), 4);
        let file = tree.lookup("a").unwrap();
        tree.link(&file, "a2", NOW).unwrap();
        tree.rename("a", "a2", 0, NOW).unwrap();
        assert_eq!(nlink(&tree, "a"), 2);
    }

    #[test]
    fn depth_is_bounded() {
        let (_, tree) = tree();
        let mut path = String::from("d");
        let mut depth = 1;
        while tree.make_directory(&path, MAKE).is_ok() {
            path.push_str("/d");
            depth += 1;
        }
        assert_eq!(depth, MAX_DEPTH + 1);
    }
}
