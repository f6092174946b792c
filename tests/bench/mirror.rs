//! A Debian mirror on loopback that fetches each file once.
//!
//! `build` lets all its contenders take their packages from here. So they get the same packages at
//! the same speed, and the archive cannot change between two runs.
//!
//! A file comes from the archive of this host's apt the first time that somebody asks for it, and
//! then lies in a folder. A file that the archive does not have is remembered too.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};

use crate::process::{command, run};

/// The mirror. It serves as long as this program runs.
#[derive(Debug)]
pub(crate) struct Mirror {
    /// Its address, without a slash at the end.
    pub(crate) url: String,
}

/// What the threads of the connections share.
struct Files {
    archive: String,
    dir: PathBuf,
    /// Names that the archive does not have. The lock is held while a file is fetched.
    missing: Mutex<BTreeSet<String>>,
}

impl Mirror {
    /// Starts the mirror, with its files in the folder `dir`.
    ///
    /// # Errors
    /// This host's apt has no Debian archive.
    pub(crate) fn start(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let mut apt = command("apt-get");
        apt.args(["indextargets", "--format", "$(ORIGIN) $(RELEASE) $(REPO_URI)"]);
        let archive = archive(&run(&mut apt)?).context("this host's apt has no Debian archive")?;
        let missing = Mutex::new(BTreeSet::new());
        let files = Arc::new(Files { archive, dir: dir.to_owned(), missing });
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}", listener.local_addr()?);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let files = Arc::clone(&files);
                std::thread::spawn(move || {
                    if let Err(error) = serve(stream, &files) {
                        eprintln!("bench: the mirror on loopback: {error:#}");
                    }
                });
            }
        });
        Ok(Self { url })
    }
}

/// Returns the address of the first Debian archive in what apt lists.
fn archive(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (origin, release, address) = (words.next()?, words.next()?, words.next()?);
        let fits = origin == "Debian" && !release.ends_with("-security");
        fits.then(|| address.trim_end_matches('/').to_owned())
    })
}

/// Answers the requests of one connection, one after the other.
fn serve(stream: TcpStream, files: &Files) -> Result<()> {
    // Or the end of a small file waits for the client's acknowledgement of its head.
    stream.set_nodelay(true)?;
    let mut out = stream.try_clone()?;
    let mut lines = BufReader::new(stream);
    while let Some(path) = request(&mut lines)? {
        let sent = match files.find(&path)? {
            Some(file) => {
                let length = file.metadata()?.len();
                let mut content = fs::File::open(file)?;
                write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")
                    .and_then(|()| std::io::copy(&mut content, &mut out).map(drop))
            }
            None => write!(out, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
        };
        match sent {
            // A client may stop when it has seen enough.
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe) => return Ok(()),
            sent => sent?,
        }
    }
    Ok(())
}

/// Reads a request, and returns its path. `None`: the client has ended the connection.
fn request(lines: &mut impl BufRead) -> Result<Option<String>> {
    let mut path = None;
    loop {
        let mut line = String::new();
        match lines.read_line(&mut line) {
            Ok(0) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
            read => drop(read?),
        }
        let line = line.trim_end();
        if path.is_none() {
            let mut words = line.split(' ');
            match (words.next(), words.next()) {
                (Some("GET"), Some(asked)) => path = Some(asked.to_owned()),
                _ => bail!("the request {line:?}"),
            }
        } else if line.is_empty() {
            return Ok(path);
        }
    }
}

impl Files {
    /// Returns the file of a path. `None`: the archive does not have it.
    fn find(&self, path: &str) -> Result<Option<PathBuf>> {
        // A flat folder is enough, and no name can lead out of it.
        let file = self.dir.join(path.replace('/', ","));
        if file.exists() {
            return Ok(Some(file));
        }
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        if missing.contains(path) {
            return Ok(None);
        }
        // Another connection may have asked for the same file.
        if file.exists() {
            return Ok(Some(file));
        }
        let part = self.dir.join("part");
        let mut helper = command("/usr/lib/apt/apt-helper");
        helper.args(["download-file", &format!("{}{path}", self.archive)]).arg(&part);
        if run(&mut helper).is_err() {
            missing.insert(path.to_owned());
            return Ok(None);
        }
        fs::rename(&part, &file)?;
        Ok(Some(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_debians_and_not_that_of_security() {
        let text = "Docker bookworm ftp://x.test/\nDebian bookworm-security ftp://s.test/\n\
                    Debian bookworm ftp://a.test/debian/\n";
        assert_eq!(archive(text).as_deref(), Some("ftp://a.test/debian"));
    }

    #[test]
    fn requests_follow_each_other_on_one_connection() {
        let text = "GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\n\r\n";
        let mut lines = std::io::Cursor::new(text);
        let mut next = || request(&mut lines).unwrap();
        assert_eq!([next(), next(), next()], [Some("/a".into()), Some("/b".into()), None]);
    }
}
