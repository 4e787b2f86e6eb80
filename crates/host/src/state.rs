//! What Casemate keeps between runs: a development key, the emulated platform's secret, signatures made with the key.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use casemate_sgx::arch::Sigstruct;
use casemate_sgx::sign::SigningKey;
use zerocopy::{FromBytes as _, IntoBytes as _};

use crate::error::RunError;

const KEY: &str = "signing-key.pem";
const SECRET: &str = "platform-secret";
/// Readable by the owner alone.
const PRIVATE: u32 = 0o600;
/// The longest key file that is read.
const MOST: u64 = 1 << 16;

/// The folder where all of it is.
#[derive(Clone, Debug)]
pub struct State {
    folder: PathBuf,
}

impl State {
    /// In `$XDG_STATE_HOME/casemate`; without that variable in `/var/lib/casemate` for root, and in
    /// `~/.local/state/casemate` for others.
    ///
    /// # Errors
    /// There is no home directory.
    pub fn open() -> Result<Self, RunError> {
        // Relative paths there are to be ignored, says the specification of XDG base directories.
        let absolute = |path: OsString| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
        let folder = if let Some(state) = std::env::var_os("XDG_STATE_HOME").and_then(absolute) {
            state.join("casemate")
        } else if rustix::process::geteuid().is_root() {
            "/var/lib/casemate".into()
        } else {
            let home = std::env::var_os("HOME").and_then(absolute).ok_or_else(|| {
                RunError::file("make", "~/.local/state/casemate", io::Error::from(io::ErrorKind::NotFound))
            })?;
            home.join(".local/state/casemate")
        };
        Ok(Self::at(folder))
    }

    /// In this folder, which is made when there is something to keep.
    #[must_use]
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The development key, made at the first use.
    ///
    /// # Errors
    /// It cannot be read or made, or others can read it.
    pub fn key(&self) -> Result<SigningKey, RunError> {
        let path = self.folder.join(KEY);
        let wrong = |source| RunError::Key { path: path.clone(), source };
        let pem = self.get_or_make(KEY, || {
            let pem = SigningKey::generate().and_then(|key| key.to_pkcs8_pem()).map_err(wrong)?;
            Ok(pem.as_bytes().to_vec())
        })?;
        SigningKey::from_pem(&String::from_utf8_lossy(&pem)).map_err(wrong)
    }

    /// The secret of the emulated platform, made at the first use: what fuses are to a processor.
    ///
    /// # Errors
    /// It cannot be read or made, or others can read it.
    pub fn secret(&self) -> Result<[u8; 16], RunError> {
        let bytes = self.get_or_make(SECRET, || {
            let mut secret = [0; 16];
            let failed =
                |error: getrandom::Error| RunError::system("random numbers", io::Error::other(error));
            getrandom::fill(&mut secret).map_err(failed)?;
            Ok(secret.to_vec())
        })?;
        let wrong_length = |_| {
            let source = io::Error::other("it has another length than 16 bytes");
            RunError::file("use", self.folder.join(SECRET), source)
        };
        bytes.try_into().map_err(wrong_length)
    }

    /// A signature that was kept; `None` where there is none, or none that can be read.
    #[must_use]
    pub fn signature(&self, name: &str) -> Option<Sigstruct> {
        let bytes = fs::read(self.folder.join(name)).ok()?;
        Sigstruct::read_from_bytes(&bytes).ok()
    }

    /// Keeps a signature. That this fails costs time later, nothing else.
    pub fn keep_signature(&self, name: &str, sigstruct: &Sigstruct) {
        let path = self.folder.join(name);
        // Another run of the same image may be first: it has written the same.
        let _ = fs::remove_file(&path);
        let _ = self.make_folder().and_then(|()| publish(&path, sigstruct.as_bytes()));
    }

    fn make_folder(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)
    }

    /// The contents of a private file, which is made at its first use. Two that make it at once get the same.
    fn get_or_make(
        &self,
        name: &str,
        make: impl FnOnce() -> Result<Vec<u8>, RunError>,
    ) -> Result<Vec<u8>, RunError> {
        let path = self.folder.join(name);
        let fail = |source| RunError::file("read", &path, source);
        match read_private(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => return result.map_err(fail),
        }
        let contents = make()?;
        let written = self.make_folder().and_then(|()| publish(&path, &contents));
        written.map_err(|source| RunError::file("write", &path, source))?;
        read_private(&path).map_err(fail)
    }
}

fn read_private(path: &Path) -> io::Result<Vec<u8>> {
    let file = fs::File::open(path)?;
    let mode = file.metadata()?.mode();
    if mode & 0o077 != 0 {
        let message = format!("others can read it (mode {:o}, want {PRIVATE:o})", mode & 0o777);
        return Err(io::Error::other(message));
    }
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Makes a private file with these contents, whole or not at all. One that is there is left as it is.
fn publish(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", std::process::id()));
    let draft = PathBuf::from(draft);
    let write = || {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(PRIVATE).open(&draft)?;
        // A draft that was left behind may have other permissions.
        file.set_permissions(Permissions::from_mode(PRIVATE))?;
        file.write_all(contents)?;
        file.sync_all()?;
        match fs::hard_link(&draft, path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    };
    let result = write();
    let removed = fs::remove_file(&draft);
    result.and(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_is_made_once_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::at(folder.path().join("a/b"));
        let secret = state.secret().unwrap();
        assert_eq!(state.secret().unwrap(), secret);
        let path = folder.path().join("a/b").join(SECRET);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, PRIVATE);
        assert_eq!(fs::read_dir(folder.path().join("a/b")).unwrap().count(), 1, "no draft is left");
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let error = state.secret().unwrap_err().to_string();
        assert!(error.contains("others can read it (mode 640, want 600)"), "{error}");
    }

    #[test]
    fn broken_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::at(folder.path());
        publish(&folder.path().join(SECRET), b"short").unwrap();
        publish(&folder.path().join(KEY), b"no key").unwrap();
        assert!(state.secret().unwrap_err().to_string().contains(SECRET));
        assert!(state.key().unwrap_err().to_string().contains(KEY));
        assert!(state.signature("none").is_none());
    }
}
