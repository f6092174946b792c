//! A publisher with keys and a repository. It has only those credentials that a test gives.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bundle::{BundleWriter, ImageInput, SecretKey, Sha256, Update, Verity};

/// A folder with the keys `root`, `channel`, `release`, and a repository in `repo` with a root
/// document.
pub(crate) struct Publisher {
    dir: tempfile::TempDir,
    auth: Option<&'static str>,
}

impl Publisher {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (n, name) in ["root", "channel", "release"].iter().enumerate() {
            let key = SecretKey::from_seed([n as u8 + 1; 32]);
            key.save(&dir.path().join(format!("{name}.key.pem"))).unwrap();
            fs::write(dir.path().join(format!("{name}.pub.pem")), key.public().to_pem().unwrap())
                .unwrap();
        }
        fs::create_dir(dir.path().join("ring")).unwrap();
        fs::copy(dir.path().join("release.pub.pem"), dir.path().join("ring/release.pub.pem"))
            .unwrap();
        Self { dir, auth: None }
    }

    /// Returns a publisher with version 1.0.0 in the channel `stable`.
    pub(crate) fn with_release() -> Self {
        let this = Self::new();
        this.runs(
            "root new --repo repo --add root=root.pub.pem --add channel=channel.pub.pem \
            --add release=release.pub.pem",
        );
        this.runs("root sign repo/next.root.json --key root.key.pem");
        this.runs("root finish --repo repo");
        this.publish("1.0.0");
        this
    }

    /// Sets `$DARUMA_REGISTRY_AUTH` for all later calls.
    pub(crate) fn log_in(&mut self, auth: &'static str) {
        self.auth = Some(auth);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn publish(&self, version: &str) {
        self.bundle(version);
        self.runs(&format!("publish {version}.daruma --repo repo --key channel.key.pem"));
    }

    pub(crate) fn bundle(&self, version: &str) {
        let (boot, root) = (self.path("boot"), self.path("root"));
        fs::write(&boot, [1; 4096]).unwrap();
        let content: Vec<u8> = (0..3_u32 << 18)
            .flat_map(|n| (n ^ u32::from(version.as_bytes()[0])).to_le_bytes())
            .collect();
        fs::write(&root, content).unwrap();
        let verity = Verity { hash: Sha256([3; 32]), salt: bundle::Salt([4; 32]), size: 2 << 20 };
        let keys = [SecretKey::load(&self.path("release.key.pem")).unwrap()];
        BundleWriter {
            update: Update {
                compatible: "router".parse().unwrap(),
                version: version.parse().unwrap(),
                build: "b1".parse().unwrap(),
                description: String::new(),
                min_version: "0.0.0".parse().unwrap(),
            },
            images: vec![
                ImageInput { name: "boot".parse().unwrap(), path: &boot, verity: None },
                ImageInput { name: "root".parse().unwrap(), path: &root, verity: Some(verity) },
            ],
            meta: BTreeMap::new(),
            keys: &keys,
        }
        .write(&self.path(&format!("{version}.daruma")))
        .unwrap();
    }

    pub(crate) fn run(&self, line: &str) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_daruma-bundler"));
        command.args(line.split(' ')).current_dir(self.dir.path());
        command.env_remove("DARUMA_REGISTRY_AUTH").env("DOCKER_CONFIG", self.dir.path());
        if let Some(auth) = self.auth {
            command.env("DARUMA_REGISTRY_AUTH", auth);
        }
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }

    #[track_caller]
    pub(crate) fn runs(&self, line: &str) -> String {
        let (code, out, err) = self.run(line);
        assert_eq!(code, 0, "{line}: {err}");
        out
    }

    /// Runs a command that must fail with this code. The last line must contain `part` and name the
    /// registry.
    #[track_caller]
    pub(crate) fn fails(&self, line: &str, code: i32, part: &str) {
        let (got, _, err) = self.run(line);
        let said = err.lines().last().unwrap_or_default();
        assert_eq!(got, code, "{line}: {err}");
        assert!(
            said.starts_with("daruma-bundler: pu")
                && said.contains("oci://")
                && said.contains(part),
            "{line}: {err}"
        );
    }

    /// Returns the files in a folder and below, by path, without hidden files.
    pub(crate) fn files(&self, folder: &str) -> BTreeMap<String, Vec<u8>> {
        fn walk(dir: &Path, prefix: &str, into: &mut BTreeMap<String, Vec<u8>>) {
            for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
                let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
                if entry.path().is_dir() {
                    walk(&entry.path(), &format!("{name}/"), into);
                } else if !entry.file_name().to_string_lossy().starts_with('.') {
                    into.insert(name, fs::read(entry.path()).unwrap());
                }
            }
        }
        let mut files = BTreeMap::new();
        walk(&self.path(folder), "", &mut files);
        files
    }
}
