//! Real servers: Debian's nginx and docker-registry.
//!
//! `Fixture` unpacks their packages. They are not installed, so no service stays on the machine
//! that runs the tests.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fixture::Fixture;
use crate::ordinary_user::{as_root, is_root};
use crate::tied;

/// Longest wait until a server answers.
const START: Duration = Duration::from_secs(20);

/// A server that ends with its owner.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
    /// nginx's log, with a line for each request.
    log: PathBuf,
}

/// One request in nginx's log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// Path.
    pub path: String,
    /// Status.
    pub status: u16,
    /// Bytes that went to the client, headers included.
    pub bytes: u64,
    /// The header `Range`, or `-`.
    pub range: String,
}

/// The place where a server runs.
#[derive(Clone, Debug)]
pub struct Place {
    /// The network namespace; `None`: this one.
    pub namespace: Option<String>,
    /// The address that the server listens on.
    pub address: IpAddr,
}

impl Place {
    /// Returns this machine's loopback.
    #[must_use]
    pub fn here() -> Self {
        Self { namespace: None, address: IpAddr::V4(Ipv4Addr::LOCALHOST) }
    }

    /// Returns a command that runs in that place.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        match &self.namespace {
            None => tied::command(program),
            Some(namespace) => {
                let mut command = as_root("/usr/sbin/ip");
                command.args(["netns", "exec", namespace]).arg(program);
                command
            }
        }
    }
}

impl Server {
    /// Starts nginx, which serves the folder `root`. `rate` is in bytes per second on each
    /// connection.
    ///
    /// # Errors
    /// The package cannot be downloaded, or nginx does not answer.
    pub fn nginx(
        fixture: &Fixture,
        place: &Place,
        root: &Path,
        dir: &Path,
        rate: Option<u64>,
    ) -> Result<Self> {
        let program = fixture.debian_package("nginx")?.join("usr/sbin/nginx");
        fs::create_dir_all(dir)?;
        let log = dir.join("access.log");
        // nginx would append to an existing log.
        let _ = fs::remove_file(&log);
        let address = SocketAddr::new(place.address, free_port()?);
        let limit = rate.map(|rate| format!("limit_rate {rate};")).unwrap_or_default();
        // nginx counts what it has handed to its kernel. With a small buffer there, that is what
        // the client's kernel has taken, however slow the client is.
        let buffer = if rate.is_some() { " sndbuf=32k" } else { "" };
        let (root, at, log_at) = (root.display(), dir.display(), log.display());
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {at}/{kind};\n"))
            .concat();
        let user = if is_root() { "user root;" } else { "" };
        let config = format!(
            "daemon off;\nmaster_process off;\n{user}\npid {at}/pid;\nerror_log \
                {at}/error.log;\nevents {{}}\n\
             http {{\nlog_format requests '$uri $status $bytes_sent \"$http_range\"';\n{temporary}\
             access_log {log_at} requests;\nserver {{\nlisten {address}{buffer};\nroot {root};\n\
             autoindex off;\n\
             default_type application/octet-stream;\n{limit}\n}}\n}}\n"
        );
        let file = dir.join("nginx.conf");
        fs::write(&file, config)?;
        let mut command = place.command(&program);
        command.arg("-p").arg(dir).arg("-e").arg(dir.join("error.log")).arg("-c").arg(&file);
        Self::start(command, place, address, log)
    }

    /// Starts Debian's registry of container images. It is empty and keeps its blobs in `dir`.
    ///
    /// # Errors
    /// As [`Server::nginx`].
    pub fn registry(fixture: &Fixture, dir: &Path) -> Result<Self> {
        let program = fixture.debian_package("docker-registry")?.join("usr/bin/docker-registry");
        fs::create_dir_all(dir)?;
        let place = Place::here();
        let address = SocketAddr::new(place.address, free_port()?);
        let at = dir.display();
        let config = format!(
            "version: 0.1\nlog:\n  level: warn\nstorage:\n  filesystem:\n    rootdirectory: \
                {at}/blobs\n\
             http:\n  addr: {address}\n"
        );
        let file = dir.join("config.yml");
        fs::write(&file, config)?;
        let mut command = place.command(&program);
        command.arg("serve").arg(&file).stderr(fs::File::create(dir.join("registry.log"))?);
        Self::start(command, &place, address, dir.join("registry.log"))
    }

    fn start(
        mut command: Command,
        place: &Place,
        address: SocketAddr,
        log: PathBuf,
    ) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let shown = format!("{command:?}");
        let mut server = Self { child: tied::spawn(command)?, address, log };
        let deadline = Instant::now() + START;
        while !server.answers(place) {
            ensure!(server.child.try_wait()?.is_none(), "{shown} has ended");
            ensure!(Instant::now() < deadline, "{shown} does not listen on {address}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// Returns true if the server is ready. No server reports that, so this function connects to
    /// it. In another namespace, the file of the socket shows it.
    fn answers(&self, place: &Place) -> bool {
        match &place.namespace {
            None => TcpStream::connect(self.address).is_ok(),
            Some(_) => {
                let listening = fs::read_to_string(format!("/proc/{}/net/tcp", self.child.id()));
                let port = format!(":{:04X} 00000000:0000 0A", self.address.port());
                listening.is_ok_and(|table| table.contains(&port))
            }
        }
    }

    /// Returns the address that the server listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the address of a file in the served folder.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// Ends nginx and returns all its requests, in the order in which they ended.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn requests(mut self) -> Result<Vec<Request>> {
        // A broken connection is in the log once nginx has seen the break. nginx's end is the
        // latest moment for that.
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGTERM)?;
        self.child.wait()?;
        let text = fs::read_to_string(&self.log)?;
        text.lines()
            .map(|line| {
                let (request, range) =
                    line.split_once(" \"").with_context(|| format!("log line {line:?}"))?;
                let [path, status, bytes] = request.split(' ').collect::<Vec<_>>()[..] else {
                    anyhow::bail!("log line {line:?}");
                };
                let range = range.trim_end_matches('"').to_owned();
                Ok(Request {
                    path: path.to_owned(),
                    status: status.parse()?,
                    bytes: bytes.parse()?,
                    range,
                })
            })
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error only means that the server has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a port that was free a moment ago.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
