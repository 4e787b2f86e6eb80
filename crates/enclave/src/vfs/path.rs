//! Paths: joined to a directory, normalised, and followed through symbolic links (path_resolution(7)).

use alloc::borrow::ToOwned as _;
use alloc::string::String;
use alloc::vec::Vec;

use casemate_enclave_abi::Errno;

/// Longest path with its NUL (`PATH_MAX`).
pub const PATH_MAX: usize = 4096;

/// Longest name in a directory.
pub const NAME_MAX: usize = 255;

/// How many symbolic links one path may lead through (`MAXSYMLINKS`).
const MAX_LINKS: usize = 40;

/// What the last component of a path is, for calls that make or remove a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// A name.
    Name,
    /// `.`
    Dot,
    /// `..`
    Parent,
    /// There is none: the root.
    Root,
}

/// An absolute path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// Without `.`, `..`, double and trailing slashes; `..` taken away by the letter.
    pub normal: String,
    /// As written, behind the directory that it starts from.
    pub written: String,
    /// Whether there is a `..`, so that symbolic links decide where the path leads.
    pub has_parent: bool,
    /// Whether only a directory will do: it ends in a slash, `.` or `..`.
    pub directory: bool,
    /// What the last component is.
    pub last: Last,
}

impl Path {
    /// The path `path` as seen from the absolute path `base`.
    ///
    /// # Errors
    /// ENOENT: it is empty. ENAMETOOLONG: the path or a name in it is too long. EILSEQ: it is not UTF-8, which this kernel
    /// has no names for.
    pub fn new(base: &str, path: &[u8]) -> Result<Self, Errno> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        if path.len() >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let path = core::str::from_utf8(path).map_err(|_| Errno::EILSEQ)?;
        if path.split('/').any(|name| name.len() > NAME_MAX) {
            return Err(Errno::ENAMETOOLONG);
        }
        let written = if path.starts_with('/') { path.to_owned() } else { join(base, path) };
        let mut names: Vec<&str> = Vec::new();
        let mut has_parent = false;
        for name in written.split('/') {
            match name {
                "" | "." => {}
                ".." => {
                    has_parent = true;
                    names.pop();
                }
                name => names.push(name),
            }
        }
        let mut normal = String::new();
        for name in &names {
            normal.push('/');
            normal.push_str(name);
        }
        if normal.is_empty() {
            normal.push('/');
        }
        let last = match path.rsplit('/').find(|name| !name.is_empty()) {
            None => Last::Root,
            Some(".") => Last::Dot,
            Some("..") => Last::Parent,
            Some(_) => Last::Name,
        };
        let directory = path.ends_with('/') || last != Last::Name;
        Ok(Self { normal, written, has_parent, directory, last })
    }

    /// The directory that the last component is looked up in.
    ///
    /// # Errors
    /// As [`Path::new`] has them.
    pub fn parent(&self) -> Result<Self, Errno> {
        let trimmed = self.written.trim_end_matches('/');
        let end = trimmed.rfind('/').map_or(0, |slash| slash + 1);
        let parent = trimmed.get(..end).filter(|parent| !parent.is_empty()).unwrap_or("/");
        Self::new("/", parent.as_bytes())
    }

    /// The same name, whatever it has to be: for calls that do not follow a link for the sake of a slash behind it.
    #[must_use]
    pub fn name_only(&self) -> Self {
        let written = match self.written.trim_end_matches('/') {
            "" => "/",
            written => written,
        };
        Self { directory: false, written: written.to_owned(), ..self.clone() }
    }
}

/// `name` in the directory `base`.
#[must_use]
pub fn join(base: &str, name: &str) -> String {
    let mut joined = String::with_capacity(base.len() + name.len() + 1);
    joined.push_str(base);
    if !base.ends_with('/') {
        joined.push('/');
    }
    joined.push_str(name);
    joined
}

/// Directory and name of a normal path; `None` for the root.
#[must_use]
pub fn split(normal: &str) -> Option<(&str, &str)> {
    let (parent, name) = normal.rsplit_once('/')?;
    if name.is_empty() {
        return None;
    }
    Some((if parent.is_empty() { "/" } else { parent }, name))
}

/// What of `path` lies below `prefix`, without a slash in front; `None` where it does not lie there. Both are normal.
#[must_use]
pub fn below<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    if prefix == "/" {
        return path.strip_prefix('/');
    }
    let rest = path.strip_prefix(prefix)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
}

/// What lies at a path, as far as following it needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A symbolic link with this target.
    Link(String),
    /// A directory.
    Directory,
    /// Anything else.
    Other,
}

/// Follows a path through symbolic links. `look` says what lies at an absolute path whose directory has no links any more;
/// its second argument says whether that is the path's end. Returns the path without links. Its end need not exist.
///
/// # Errors
/// ELOOP: too many links. ENAMETOOLONG: the path became too long. ENOENT: a link with an empty target. ENOTDIR: something
/// that is no directory, and is no end. Those of `look`, but for an ENOENT at the end.
pub fn follow(
    path: &Path,
    follow_last: bool,
    mut look: impl FnMut(&str, bool) -> Result<Step, Errno>,
) -> Result<String, Errno> {
    let mut rest: Vec<String> = names(&path.written);
    let mut at = String::from("/");
    let mut in_directory = true;
    let mut links = 0;
    while let Some(name) = rest.pop() {
        if !in_directory {
            return Err(Errno::ENOTDIR);
        }
        match name.as_str() {
            "." => continue,
            ".." => {
                let parent = split(&at).map_or("/", |(parent, _)| parent).to_owned();
                at = parent;
                continue;
            }
            _ => {}
        }
        let here = join(&at, &name);
        if here.len() >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let end = rest.is_empty();
        match look(&here, end) {
            Ok(Step::Link(target)) if !end || follow_last => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::ELOOP);
                }
                if target.is_empty() {
                    return Err(Errno::ENOENT);
                }
                if target.starts_with('/') {
                    at = String::from("/");
                }
                rest.extend(names(&target));
            }
            Ok(step) => {
                in_directory = step == Step::Directory;
                at = here;
            }
            Err(Errno::ENOENT) if end => return Ok(here),
            Err(errno) => return Err(errno),
        }
    }
    Ok(at)
}

/// The names in a path, the last one first. A slash at the end is a `.`: a directory has to be there.
fn names(path: &str) -> Vec<String> {
    let end = if path.ends_with('/') { Some(".") } else { None };
    let names = path.split('/').filter(|name| !name.is_empty());
    end.into_iter().chain(names.rev()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use alloc::vec;

    fn path(base: &str, path: &str) -> Path {
        Path::new(base, path.as_bytes()).unwrap()
    }

    #[test]
    fn paths_are_normalised() {
        for (base, given, normal, parent, directory, last) in [
            ("/", "/", "/", false, true, Last::Root),
            ("/", "a", "/a", false, false, Last::Name),
            ("/usr", "lib//x/", "/usr/lib/x", false, true, Last::Name),
            ("/usr", "./.", "/usr", false, true, Last::Dot),
            ("/usr", "../../..", "/", true, true, Last::Parent),
            ("/usr", "/a/../b", "/b", true, false, Last::Name),
            ("/usr", "..a", "/usr/..a", false, false, Last::Name),
        ] {
            let got = path(base, given);
            assert_eq!(
                (got.normal.as_str(), got.has_parent, got.directory, got.last),
                (normal, parent, directory, last),
                "{base} {given}"
            );
        }
    }

    #[test]
    fn paths_that_cannot_be_are_refused() {
        assert_eq!(Path::new("/", b"").unwrap_err(), Errno::ENOENT);
        assert_eq!(Path::new("/", &[b'a'; 256]).unwrap_err(), Errno::ENAMETOOLONG);
        assert!(Path::new("/", &[b'a'; 255]).is_ok());
        assert_eq!(Path::new("/", &b"a/".repeat(2048)).unwrap_err(), Errno::ENAMETOOLONG);
        assert_eq!(Path::new("/", b"\xff").unwrap_err(), Errno::EILSEQ);
    }

    #[test]
    fn parents_are_as_written() {
        for (given, parent) in
            [("/a/b/", "/a/"), ("/a//b", "/a//"), ("/a", "/"), ("/", "/"), ("/a/..", "/a/"), ("x", "/d/")]
        {
            assert_eq!(path("/d", given).parent().unwrap().written, parent, "{given}");
        }
    }

    #[test]
    fn prefixes_end_at_slashes() {
        assert_eq!(below("/tmp/a/b", "/tmp"), Some("a/b"));
        assert_eq!(below("/tmp", "/tmp"), Some(""));
        assert_eq!(below("/tmpfs", "/tmp"), None);
        assert_eq!(below("/tmp", "/"), Some("tmp"));
        assert_eq!(split("/a/b"), Some(("/a", "b")));
        assert_eq!(split("/a"), Some(("/", "a")));
        assert_eq!(split("/"), None);
    }

    fn walk(links: &[(&str, &str)], given: &str, last: bool) -> Result<String, Errno> {
        let links: BTreeMap<_, _> = links.iter().copied().collect();
        let exists = ["/", "/usr", "/usr/lib", "/usr/lib/x", "/run", "/a"];
        follow(&path("/", given), last, |at, _| match links.get(at) {
            Some(target) => Ok(Step::Link((*target).to_owned())),
            None if at == "/usr/lib/x" => Ok(Step::Other),
            None if exists.contains(&at) => Ok(Step::Directory),
            None => Err(Errno::ENOENT),
        })
    }

    #[test]
    fn links_are_followed() {
        let links = [("/lib", "usr/lib"), ("/var", "/run"), ("/l1", "l2"), ("/l2", "l1"), ("/e", "")];
        assert_eq!(walk(&links, "/lib/../lib/x", true), Ok("/usr/lib/x".to_owned()));
        assert_eq!(walk(&links, "/lib", false), Ok("/lib".to_owned()));
        assert_eq!(walk(&links, "/lib/", false), Ok("/usr/lib".to_owned()));
        assert_eq!(walk(&links, "/var/new", true), Ok("/run/new".to_owned()));
        assert_eq!(walk(&links, "/var/new/x", true), Err(Errno::ENOENT));
        assert_eq!(walk(&links, "/l1", true), Err(Errno::ELOOP));
        assert_eq!(walk(&links, "/e", true), Err(Errno::ENOENT));
        assert_eq!(walk(&links, "/../..", true), Ok("/".to_owned()));
        assert_eq!(walk(&links, "/usr/lib/x/", true), Err(Errno::ENOTDIR));
        assert_eq!(walk(&links, "/usr/lib/x/..", true), Err(Errno::ENOTDIR));
        assert_eq!(walk(&links, "/usr/lib/x", true), Ok("/usr/lib/x".to_owned()));
        assert_eq!(walk(&links, "/usr/new/", true), Err(Errno::ENOENT));
        assert_eq!(walk(&links, "/usr/new", true), Ok("/usr/new".to_owned()));
    }

    proptest::proptest! {
        #[test]
        fn normal_paths_are_normal(names in proptest::collection::vec("[a./]{0,6}", 0..8)) {
            let given = names.join("/");
            if let Ok(path) = Path::new("/base/dir", given.as_bytes()) {
                proptest::prop_assert!(path.normal.starts_with('/'));
                proptest::prop_assert!(!path.normal.contains("//"));
                let parts: Vec<_> = path.normal.split('/').collect();
                proptest::prop_assert!(!parts.contains(&".") && !parts.contains(&".."));
                let again = Path::new("/", path.normal.as_bytes()).unwrap();
                proptest::prop_assert_eq!(&again.normal, &path.normal);
                // Without links, following and normalising are the same.
                let followed = follow(&path, true, |_, _| Ok(Step::Directory)).unwrap();
                proptest::prop_assert_eq!(followed, path.normal);
            }
        }
    }

    #[test]
    fn names_come_backwards() {
        assert_eq!(names("/a/./b//c"), vec!["c", "b", ".", "a"]);
        assert_eq!(names("a//"), vec![".", "a"]);
    }
}
