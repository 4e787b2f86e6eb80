//! `--mount` and `--tmpfs`: what is where in the program's file tree, besides its root directory.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A directory or file of the host's that the program may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// On the host.
    pub host: PathBuf,
    /// For the program: absolute, without `.`, `..` and double slashes.
    pub guest: String,
    /// Nothing there can be changed.
    pub read_only: bool,
}

/// Why a mount cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{given}': {problem}")]
pub struct BadMount {
    given: String,
    problem: &'static str,
}

/// A path of the program's that something can be mounted at.
///
/// # Errors
/// It is relative, the root, or has `..` in it.
pub fn mount_point(path: &str) -> Result<String, BadMount> {
    let bad = |problem| BadMount { given: path.to_owned(), problem };
    if !path.starts_with('/') {
        return Err(bad("the program's path must be absolute"));
    }
    let names: Vec<&str> = path.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
    match names.as_slice() {
        [] => Err(bad("the root directory is --rootfs")),
        names if names.contains(&"..") => Err(bad("the program's path must not have '..' in it")),
        names => Ok(format!("/{}", names.join("/"))),
    }
}

impl FromStr for Mount {
    type Err = BadMount;

    fn from_str(given: &str) -> Result<Self, BadMount> {
        let bad = |problem| BadMount { given: given.to_owned(), problem };
        let mut parts = given.split(':');
        let (host, guest, option) = (parts.next(), parts.next(), parts.next());
        let (Some(host), Some(guest)) = (host.filter(|host| !host.is_empty()), guest) else {
            return Err(bad("a mount is HOST:GUEST or HOST:GUEST:ro"));
        };
        let read_only = match (option, parts.next()) {
            (None | Some("rw"), None) => false,
            (Some("ro"), None) => true,
            _ => return Err(bad("behind the paths there can be ro or rw")),
        };
        Ok(Self { host: host.into(), guest: mount_point(guest)?, read_only })
    }
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host.display(), self.guest)?;
        if self.read_only { f.write_str(":ro") } else { Ok(()) }
    }
}

/// Mounts as the start-up block has them.
pub(crate) fn strings(mounts: &[Mount], tmpfs: &[String]) -> Vec<Vec<u8>> {
    let host = mounts.iter().map(|mount| {
        let kind = if mount.read_only { "ro" } else { "rw" };
        format!("{kind}:{}", mount.guest).into_bytes()
    });
    host.chain(tmpfs.iter().map(|place| format!("tmpfs:{place}").into_bytes())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_parsed() {
        let mount = |host: &str, guest: &str, read_only| {
            Ok(Mount { host: host.into(), guest: guest.to_owned(), read_only })
        };
        assert_eq!("/a:/b".parse(), mount("/a", "/b", false));
        assert_eq!("a/b:/c//d/.:ro".parse(), mount("a/b", "/c/d", true));
        assert_eq!("a:/c:rw".parse(), mount("a", "/c", false));
        for wrong in ["", "/a", ":/b", "/a:b", "/a:/", "/a:/b/../c", "/a:/b:rx", "/a:/b:ro:x"] {
            let error = wrong.parse::<Mount>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("'{wrong}'")) || wrong.contains(':'), "{error}");
        }
    }
}
